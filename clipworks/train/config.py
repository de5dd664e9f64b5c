"""Everything that decides a training run, in one frozen dataclass."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from clipworks.errors import ConfigError
from clipworks.model.config import ClipConfig

Loss = Literal["softmax", "sigmoid"]
"""`softmax` is CLIP's contrastive loss, `sigmoid` is SigLIP's, with a bias that is trained."""

SharedCaptions = Literal["leave_out", "positive", "negative"]
"""What a text is to a picture of another pair that it describes as well: neither, one more positive,
or a negative as any other."""

Parallel = Literal["ddp", "fsdp"]
"""`ddp`: every process holds the whole model. `fsdp`: each holds a part of every weight (FSDP2)."""

TrainPrecision = Literal["f32", "bf16"]
"""`bf16` multiplies matrices in bfloat16 and keeps weights, optimizer and loss in float32."""


FREE_SETTINGS = (
    *("parallel", "compiled", "accumulation", "loss_rows", "save_every_steps", "save_every_seconds"),
    *("keep_states", "keep_every_steps", "eval_every_steps"),
)
"""Settings that a run may be resumed with another value of: they decide how and when, not what."""


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
    loss: Loss = "softmax"
    """What a batch is scored by, softmax or sigmoid."""
    shared_captions: SharedCaptions = "leave_out"
    """What a caption is to another picture that has it too: leave_out, positive or negative."""
    accumulation: int = 1
    """Parts in which each process runs its share of a batch, exactly and in less memory, 1 or more."""
    loss_rows: int = 512
    """Rows of the batch's logits that exist at a time, 1 or more."""
    teacher: str | None = None
    """Checkpoint whose choices the model learns to repeat; none for none."""
    distillation: float = 1.0
    """Weight of the teacher's part of the loss, above 0."""
    parallel: Parallel = "ddp"
    """How several processes share the model: ddp or fsdp."""
    compiled: bool = False
    """Compile the blocks of both towers with torch.compile."""
    save_every_seconds: float = 0.0
    """Seconds between two resumable states, whichever of both comes first; 0 saves by steps only."""
    keep_states: int = 2
    """Newest states that are kept, 1 or more."""
    keep_every_steps: int = 0
    """States of steps that this divides are kept for good; 0 keeps none."""
    eval_every_steps: int = 0
    """Steps between two evaluations; 0 only at the end."""

    def __post_init__(self) -> None:
        _require_range(self, 1, None, "steps", "save_every_steps")
        _require_range(self, 1, None, "accumulation", "loss_rows", "keep_states")
        _require_range(self, 0, None, "save_every_seconds", "keep_every_steps", "eval_every_steps")
        _require_range(self, 2, None, "batch_size")
        _require_range(self, 0, None, "warmup_steps", "unmasked_steps", "weight_decay", "seed")
        _require_range(self, 0, 1, "beta1", "beta2", "patch_dropout", "first_text_prob")
        _require_range(self, 0, 1, "zoom", "shift", "jitter")
        for name in ("learning_rate", "epsilon", "clip_norm", "distillation"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0.")
        if self.matrix_learning_rate is not None and not self.matrix_learning_rate > 0:
            raise ConfigError(
                f"matrix_learning_rate is {self.matrix_learning_rate}; it must be none or above 0."
            )
        for name in ("beta1", "beta2", "patch_dropout", "zoom", "shift", "jitter"):
            if getattr(self, name) == 1:
                raise ConfigError(f"{name} is 1; it must be below 1.")
        for name, kind in (
            *(("precision", TrainPrecision), ("loss", Loss)),
            *(("shared_captions", SharedCaptions), ("parallel", Parallel)),
        ):
            if getattr(self, name) not in get_args(kind):
                known = ", ".join(get_args(kind))
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be one of {known}.")

    def to_json(self) -> dict[str, Any]:
        """The plain dictionary written to a run's `train.json`."""
        return asdict(self)


def _require_range(config: TrainConfig, low: float, high: float | None, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value < low or (high is not None and value > high):
            bound = f"from {low} to {high}" if high is not None else f"at least {low}"
            raise ConfigError(f"{name} is {value}; it must be {bound}.")
