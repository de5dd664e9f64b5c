"""Everything that decides a training run, in one frozen dataclass."""

import math
from dataclasses import asdict, dataclass, fields
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

TrainPrecision = Literal["f32", "bf16", "fp16"]
"""`bf16` and `fp16` multiply matrices in 16 bits and keep weights, optimizer and loss in float32; `fp16`
scales the loss so that small gradients do not vanish. On a processor without bfloat16 instructions
`bf16` computes in float32."""

Reading = Literal["memory", "stream"]
"""`memory` holds all pictures decoded, `stream` reads and decodes them while training."""

Schedule = Literal["cosine", "constant", "cooldown"]
"""After the warm-up: half a cosine to 0, the peak to the end, or the peak and then a line to 0."""


FREE_SETTINGS = (
    *("parallel", "compiled", "accumulation", "loss_rows", "save_every_steps", "save_every_seconds"),
    *("keep_states", "keep_every_steps", "eval_every_steps", "recompute"),
    *("stuck_steps", "collapsed_steps", "most_wait", "most_skipped", "check_rate"),
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
    clip_norm: float | None = 1.0
    """Largest length of the whole gradient, above 0; none for any, as in the published runs."""
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
    """Arithmetic of the matrix products, f32, bf16 or fp16."""
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
    reading: Reading = "memory"
    """Whether all pictures are decoded into memory first (memory) or while training (stream)."""
    resampled: bool = True
    """In a stream, draw shards with replacement as open_clip does; else each sample comes once an epoch."""
    crop_least: float = 0.9
    """In a stream, smallest share of a picture's area that is cut out (RandomResizedCrop), above 0 to 1."""
    largest_pixels: int = 50_000_000
    """In a stream, pictures with more pixels by their header are skipped, 1 to 50,000,000."""
    schedule: Schedule = "cosine"
    """How the rate goes after the warm-up: cosine, constant or cooldown."""
    cooldown_steps: int = 0
    """Steps at the end of a cooldown schedule in which the rate falls in a line to 0."""
    largest_scale: float = 100.0
    """What the factor on the cosines is clamped to, above 1."""
    ema_decay: float = 0.0
    """Decay of the running mean of the weights, which is then what is exported; 0 keeps none, below 1."""
    recompute: bool = False
    """Compute each block again in the backward pass instead of keeping what is in it (less memory)."""
    layer_decay: float = 1.0
    """Rate of each block of a tower relative to the one above it, above 0 to 1."""
    start: str | None = None
    """Checkpoint that training starts from; none for random weights. `--from` sets it and the shape."""
    lock_image: bool = False
    """Leave the image tower as it is (LiT, arXiv:2111.07991)."""
    image_unlocked: int = 0
    """With lock_image, groups from the top that are trained after all: 1 the projection, 2 a block too."""
    lock_text: bool = False
    """Leave the text tower as it is."""
    text_unlocked: int = 0
    """With lock_text, groups from the top that are trained nevertheless."""
    stuck_steps: int = 1000
    """Steps behind the warm-up after which a loss still at ln(batch) stops the run; 0 never."""
    collapsed_steps: int = 200
    """Steps behind the warm-up with all features alike after which the run stops; 0 never."""
    most_wait: float = 0.9
    """Share of the time of 200 steps spent on waiting for data above which the run stops; 1 never."""
    most_skipped: float = 0.2
    """Share of the samples of 200 steps that could not be used above which the run stops; 1 never."""
    check_rate: bool = True
    """Refuse a learning rate that is out of the sane range for training on from a checkpoint."""

    def __post_init__(self) -> None:
        require_finite(self)
        _require_range(self, 1, None, "steps", "save_every_steps")
        _require_range(self, 1, None, "accumulation", "loss_rows", "keep_states")
        _require_range(self, 0, None, "save_every_seconds", "keep_every_steps", "eval_every_steps")
        _require_range(self, 2, None, "batch_size")
        _require_range(self, 0, None, "warmup_steps", "unmasked_steps", "weight_decay", "seed")
        _require_range(self, 0, None, "cooldown_steps", "image_unlocked", "text_unlocked")
        _require_range(self, 0, None, "stuck_steps", "collapsed_steps")
        _require_range(self, 0, 1, "beta1", "beta2", "patch_dropout", "first_text_prob")
        _require_range(self, 0, 1, "zoom", "shift", "jitter", "ema_decay", "most_wait", "most_skipped")
        _require_range(self, 0, 1, "crop_least", "layer_decay")
        _require_range(self, 1, 50_000_000, "largest_pixels")
        for name in ("learning_rate", "epsilon", "distillation", "crop_least", "layer_decay"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0.")
        for name in ("matrix_learning_rate", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}; it must be none or above 0.")
        for name in ("beta1", "beta2", "patch_dropout", "zoom", "shift", "jitter", "ema_decay"):
            if getattr(self, name) == 1:
                raise ConfigError(f"{name} is 1; it must be below 1.")
        if not self.largest_scale > 1:
            raise ConfigError(f"largest_scale is {self.largest_scale}; it must be above 1.")
        _require_known_words(self)
        _require_no_contradiction(self)

    def to_json(self) -> dict[str, Any]:
        """The plain dictionary written to a run's `train.json`."""
        return asdict(self)


def require_finite(config: Any) -> None:
    """Refuse a configuration with a number that is not finite.

    Raises:
        ConfigError: a field is infinite or not a number.
    """
    for one in fields(config):
        value = getattr(config, one.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{one.name} is {value}; it must be finite.")


def _require_range(config: TrainConfig, low: float, high: float | None, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not value >= low or (high is not None and value > high):
            bound = f"from {low} to {high}" if high is not None else f"at least {low}"
            raise ConfigError(f"{name} is {value}; it must be {bound}.")


def _require_known_words(config: TrainConfig) -> None:
    for name, kind in (
        *(("precision", TrainPrecision), ("loss", Loss), ("shared_captions", SharedCaptions)),
        *(("parallel", Parallel), ("reading", Reading), ("schedule", Schedule)),
    ):
        if getattr(config, name) not in get_args(kind):
            known = ", ".join(get_args(kind))
            raise ConfigError(f"{name} is {getattr(config, name)!r}; it must be one of {known}.")


def _require_no_contradiction(config: TrainConfig) -> None:
    """Settings that would have no effect are refused: nothing that is asked for is left out in silence."""
    if config.reading == "stream":
        for name in ("zoom", "shift", "jitter", "recolour"):
            if getattr(config, name):
                raise ConfigError(
                    f"{name} is {getattr(config, name)}, which a stream of pictures does not do.",
                    f"Set {name}={str(False).lower() if name == 'recolour' else 0}, or reading=memory.",
                )
    if bool(config.cooldown_steps) != (config.schedule == "cooldown"):
        raise ConfigError(
            f"schedule is {config.schedule} and cooldown_steps {config.cooldown_steps}.",
            "Set schedule=cooldown and cooldown_steps=N, or neither.",
        )
    if config.warmup_steps + config.cooldown_steps > config.steps:
        cooldown = f" and cooldown_steps {config.cooldown_steps}" if config.cooldown_steps else ""
        raise ConfigError(
            f"warmup_steps is {config.warmup_steps}{cooldown}, more than all {config.steps} steps.",
            "Lower them, or raise steps.",
        )
    for name in ("image", "text"):
        if getattr(config, f"lock_{name}") and config.start is None:
            raise ConfigError(
                f"lock_{name} is true, and the run starts from random weights, which would stay random.",
                "Give --from.",
            )
        if getattr(config, f"{name}_unlocked") and not getattr(config, f"lock_{name}"):
            raise ConfigError(f"{name}_unlocked needs lock_{name}=true.")
    if config.matrix_learning_rate is not None and (config.layer_decay < 1 or config.precision == "fp16"):
        raise ConfigError("matrix_learning_rate goes neither with layer_decay nor with precision=fp16.")
