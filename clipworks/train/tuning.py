"""Everything that decides a fine-tuning, in one frozen dataclass."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from clipworks.errors import ConfigError
from clipworks.train.config import TrainPrecision, require_finite

Objective = Literal["classification", "contrastive"]
"""`classification`: pictures into one's own classes, from the head that the class names give;
`contrastive`: pictures and captions towards each other, as in training."""

PUBLISHED_RATE, PUBLISHED_WIDTH = 3e-5, 768
"""WiSE-FT's learning rate, for an image tower of this width; narrower towers take more."""

LORA_GAIN = 10.0
"""Low-rank updates begin at zero and take a higher rate."""

LARGEST_RATE, LARGEST_LORA_RATE = 1e-3, 2e-2
"""Above these a published model forgets everything in an epoch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TuneConfig:
    """A fine-tuning is a pure function of this, of the model, the pictures and the machine's arithmetic."""

    objective: Objective = "classification"
    """classification or contrastive."""
    lora_rank: int = 0
    """Rank of the updates of q, k, v and out; 0 trains every weight."""
    lora_alpha: float = 8.0
    """The updates are scaled by this over the rank, above 0."""
    learning_rate: float | None = None
    """Peak of the cosine schedule; none is 3e-5 * 768 / width, ten times that with LoRA."""
    epochs: int = 10
    """Passes over the training part at most, 1 or more."""
    batch_size: int = 128
    """Pictures per step, 2 or more."""
    warmup_share: float = 0.1
    """Share of the steps in which the rate rises, 0 to 1."""
    weight_decay: float = 0.1
    """Decoupled decay of matrices, 0 or more."""
    clip_norm: float = 1.0
    """Largest length of the whole gradient, above 0."""
    is_head_trained: bool = True
    """Whether the classifier moves as well; else it stays what the class names give."""
    zoom: float = 0.1
    """Largest random change of scale, as a share, 0 to below 1."""
    shift: float = 0.05
    """Largest random shift along each side, as a share of it, 0 to below 1."""
    flip_prob: float = 0.0
    """Chance that a picture is mirrored, 0 to 1; leave it at 0 where left and right matter."""
    patience: int = 3
    """Epochs without a better validation score after which training stops, 1 or more."""
    num_alphas: int = 11
    """Models measured between the one before and the tuned one, both included, 2 or more."""
    precision: TrainPrecision = "f32"
    """Arithmetic of the matrix products, f32 or bf16."""
    seed: int = 0
    """Of the parts cut off, the order, the moves and the low-rank updates."""

    def __post_init__(self) -> None:
        require_finite(self)
        if self.objective not in get_args(Objective):
            raise ConfigError(f"objective is {self.objective!r}; it must be classification or contrastive.")
        if self.precision not in ("f32", "bf16"):
            raise ConfigError(f"precision is {self.precision!r}; it must be f32 or bf16.")
        self._require(1, None, "epochs", "patience")
        self._require(2, None, "batch_size", "num_alphas")
        self._require(0, None, "lora_rank", "weight_decay", "seed")
        self._require(0, 1, "warmup_share", "zoom", "shift", "flip_prob")
        for name in ("lora_alpha", "clip_norm"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0.")
        if max(self.zoom, self.shift) == 1:
            raise ConfigError("zoom and shift must be below 1.")
        most = LARGEST_LORA_RATE if self.lora_rank else LARGEST_RATE
        if self.learning_rate is not None and not 0 < self.learning_rate <= most:
            raise ConfigError(
                f"learning_rate is {self.learning_rate}; it must be above 0 and at most {most:g}"
                f"{' with LoRA' if self.lora_rank else ''}.",
                "A higher one destroys what the model knows; leave it out for a sane one.",
            )

    def rate(self, width: int) -> float:
        """The peak of the learning rate for an image tower of this width."""
        if self.learning_rate is not None:
            return self.learning_rate
        return PUBLISHED_RATE * PUBLISHED_WIDTH / width * (LORA_GAIN if self.lora_rank else 1.0)

    def to_json(self) -> dict[str, Any]:
        """The plain dictionary written to a run's `finetune.json`."""
        return asdict(self)

    def _require(self, low: float, high: float | None, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not value >= low or (high is not None and value > high):
                bound = f"from {low} to {high}" if high is not None else f"at least {low}"
                raise ConfigError(f"{name} is {value}; it must be {bound}.")
