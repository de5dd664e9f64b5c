"""What shape a CLIP has: two towers, one shared space, one way to prepare pixels.

The dataclasses hold numbers only. Reading them from the three published file families is the
work of `published.py`; building executors from them is the work of `network.py` and `graph.py`.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from clipworks.errors import ConfigError

Activation = Literal["gelu", "quick_gelu"]
"""`gelu` is the exact erf form; `quick_gelu` is x * sigmoid(1.702 x), used by OpenAI and MetaCLIP."""

Tower = Literal["vision", "text"]
TOWERS: tuple[Tower, ...] = ("vision", "text")

HEAD_WIDTH = 64
"""Channels of an attention head wherever a file does not say it; true of all published CLIPs."""

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionConfig:
    """The image tower: a pre-norm vision transformer with a class token."""

    image_size: int
    """Side of the square input, pixels; a multiple of `patch_size`."""
    patch_size: int
    """Side of a patch, pixels."""
    width: int
    """Channels of the residual stream; a multiple of `heads`."""
    layers: int
    """Transformer blocks."""
    heads: int
    """Attention heads; 64 channels each in all published checkpoints."""
    mlp_width: int
    """Hidden channels of the MLP; 4 x width in all published checkpoints."""

    def __post_init__(self) -> None:
        _require_positive(self, "vision")
        _require_multiple("vision.width", self.width, "vision.heads", self.heads)
        _require_multiple("vision.image_size", self.image_size, "vision.patch_size", self.patch_size)

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """Sequence length: all patches and the class token."""
        return self.grid * self.grid + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """The text tower: a causal transformer read at the end-of-text token."""

    width: int
    """Channels of the residual stream; a multiple of `heads`."""
    layers: int
    """Transformer blocks."""
    heads: int
    """Attention heads."""
    mlp_width: int
    """Hidden channels of the MLP."""
    context_length: int = 77
    """Longest token sequence, start and end tokens included."""
    vocab_size: int = 49408
    """Rows of the token table; the published CLIP vocabulary has 49,408."""

    def __post_init__(self) -> None:
        _require_positive(self, "text")
        _require_multiple("text.width", self.width, "text.heads", self.heads)


@dataclass(frozen=True, kw_only=True, slots=True)
class PreprocessConfig:
    """How pixels become model input: (u8 / 255 - mean) / std per RGB channel, after the resize."""

    mean: tuple[float, float, float] = OPENAI_MEAN
    """Per-channel mean on the 0..1 scale, RGB order."""
    std: tuple[float, float, float] = OPENAI_STD
    """Per-channel standard deviation on the 0..1 scale, RGB order."""

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != 3 or not all(isinstance(v, int | float) for v in values):
                raise ConfigError(f"preprocess.{name} is {values!r}; it must be three numbers.")
        if min(self.std) <= 0:
            raise ConfigError(f"preprocess.std is {self.std}; every value must be above 0.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipConfig:
    """A whole CLIP model."""

    vision: VisionConfig
    text: TextConfig
    embed_dim: int
    """Dimension of the shared space."""
    activation: Activation
    """Activation of both towers' MLPs; no file family lets it be guessed from the weights."""
    preprocess: PreprocessConfig = PreprocessConfig()

    def __post_init__(self) -> None:
        if self.embed_dim < 1:
            raise ConfigError(f"embed_dim is {self.embed_dim}; it must be at least 1.")
        if self.activation not in get_args(Activation):
            raise ConfigError(
                f"activation is {self.activation!r}; it must be one of {', '.join(get_args(Activation))}."
            )

    def to_json(self) -> dict[str, Any]:
        """The plain dictionary written to a checkpoint's `config.json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ClipConfig":
        """Inverse of `to_json`.

        Raises:
            ConfigError: a field is missing, unknown or out of range.
        """
        _require_fields(cls, values, "config")
        _require_fields(VisionConfig, values["vision"], "config.vision")
        _require_fields(TextConfig, values["text"], "config.text")
        _require_fields(PreprocessConfig, values.get("preprocess", {}), "config.preprocess")
        preprocess = {k: tuple(v) for k, v in values.get("preprocess", {}).items()}
        return cls(
            vision=VisionConfig(**values["vision"]),
            text=TextConfig(**values["text"]),
            embed_dim=values["embed_dim"],
            activation=values["activation"],
            preprocess=PreprocessConfig(**preprocess),
        )


def _require_positive(config: Any, where: str) -> None:
    for field in fields(config):
        value = getattr(config, field.name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{where}.{field.name} is {value!r}; it must be a whole number of at least 1.")


def _require_multiple(name: str, value: int, other_name: str, other: int) -> None:
    if value % other:
        raise ConfigError(f"{name} is {value}; it must be a multiple of {other_name} ({other}).")


def _require_fields(cls: Any, values: Any, where: str) -> None:
    if not isinstance(values, dict):
        raise ConfigError(f"{where} is {type(values).__name__}; it must be an object with named fields.")
    known = {field.name for field in fields(cls)}
    optional = {"preprocess", "context_length", "vocab_size", "mean", "std"}
    for name in sorted(values.keys() - known):
        raise ConfigError(f"{where} has the unknown field {name!r}; known are {', '.join(sorted(known))}.")
    for name in sorted(known - values.keys() - optional):
        raise ConfigError(f"{where} lacks the field {name!r}.")
