"""Everything that decides a training run, in one frozen dataclass."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from clipworks.errors import ConfigError
from clipworks.model.config import ClipConfig

TrainPrecision = Literal["f32", "bf16"]
"""`bf16` multiplies matrices in bfloat16 and keeps weights, optimizer and loss in float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """A run is a pure function of this, of the shards and of the machine's arithmetic."""

    model: ClipConfig
    """The shape to train, from random weights."""
    steps: int
    """Optimizer steps, 1 or more."""
    batch_size: int
    """Pairs per step, 2 or more: each is the other's negative."""
    learning_rate: float = 1e-3
    """Peak of the cosine schedule, above 0."""
    matrix_learning_rate: float | None = None
    """Peak for the matrices inside the towers, which Muon then trains, above 0; none leaves them to AdamW."""
    warmup_steps: int = 0
    """Steps of linear rise to the peak."""
    weight_decay: float = 0.1
    """Decoupled decay of matrices; vectors and the temperature have none."""
    beta1: float = 0.9
    """AdamW's decay of the mean gradient, 0 to 1."""
    beta2: float = 0.98
    """AdamW's decay of the mean squared gradient, 0 to 1."""
    epsilon: float = 1e-6
    """AdamW's floor of the denominator, above 0."""
    clip_norm: float = 1.0
    """Largest length of the whole gradient, above 0."""
    patch_dropout: float = 0.0
    """Share of patches left out while training (arXiv:2212.00794), 0 to below 1."""
    unmasked_steps: int = 0
    """Steps at the end that see all patches."""
    first_text_prob: float = 0.5
    """Chance of the first caption of a sample; the others share the rest, 0 to 1."""
    zoom: float = 0.0
    """Largest random change of scale, as a share: 0.2 draws 0.8 to 1.2, 0 to below 1."""
    shift: float = 0.0
    """Largest random shift along each side, as a share of it, 0 to below 1."""
    recolour: bool = True
    """Draw one-colour glyphs in a random ink on a random ground, and others on a random ground at times."""
    jitter: float = 0.0
    """Largest random gain of each colour channel of a picture, as a share, 0 to below 1."""
    precision: TrainPrecision = "f32"
    """Arithmetic of the matrix products, f32 or bf16."""
    seed: int = 0
    """Of the weights, the order of samples, the captions drawn and the augmentation."""
    save_every_steps: int = 200
    """Steps between two resumable states, 1 or more."""

    def __post_init__(self) -> None:
        _require_range(self, 1, None, "steps", "save_every_steps")
        _require_range(self, 2, None, "batch_size")
        _require_range(self, 0, None, "warmup_steps", "unmasked_steps", "weight_decay", "seed")
        _require_range(self, 0, 1, "beta1", "beta2", "patch_dropout", "first_text_prob")
        _require_range(self, 0, 1, "zoom", "shift", "jitter")
        for name in ("learning_rate", "epsilon", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0.")
        if self.matrix_learning_rate is not None and not self.matrix_learning_rate > 0:
            raise ConfigError(
                f"matrix_learning_rate is {self.matrix_learning_rate}; it must be none or above 0."
            )
        for name in ("beta1", "beta2", "patch_dropout", "zoom", "shift", "jitter"):
            if getattr(self, name) == 1:
                raise ConfigError(f"{name} is 1; it must be below 1.")
        if self.precision not in get_args(TrainPrecision):
            raise ConfigError(
                f"precision is {self.precision!r}; it must be one of {', '.join(get_args(TrainPrecision))}."
            )

    def to_json(self) -> dict[str, Any]:
        """The plain dictionary written to a run's `train.json`."""
        return asdict(self)


def _require_range(config: TrainConfig, low: float, high: float | None, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value < low or (high is not None and value > high):
            bound = f"from {low} to {high}" if high is not None else f"at least {low}"
            raise ConfigError(f"{name} is {value}; it must be {bound}.")
