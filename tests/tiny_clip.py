"""The tiny CLIP: two layers per tower, seeded weights, the real vocabulary; the fixture of most tests.

The weights are large, so that exact and quick GELU, or a wrong mask, change the features clearly.
Only the token rows below 8,192 and the two special ones are filled; the rest are zero.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipworks.model.config import Activation, ClipConfig, TextConfig, VisionConfig
from clipworks.model.formats import Family, Tensors, native_shapes
from clipworks.model.weights import write_checkpoint

SEED = 20211
FILLED_TOKENS = 8192
FAMILIES: tuple[Family, ...] = ("native", "openai", "open_clip", "hf")

# "a photo of a cat", "a dog", and a row that fills all 77 places: start, words, end.
TOKENS = (
    (49406, 320, 1125, 539, 320, 2368, 49407),
    (49406, 320, 1929, 49407),
    (49406, *range(300, 375), 49407),
)


@dataclass(frozen=True)
class TinyClip:
    """The tiny CLIP of one activation."""

    config: ClipConfig
    weights: Tensors
    folders: dict[Family, Path]

    @property
    def native(self) -> str:
        """What to give to `clipworks.load`."""
        return str(self.folders["native"])


def tiny_config(activation: Activation) -> ClipConfig:
    return ClipConfig(
        vision=VisionConfig(image_size=32, patch_size=8, width=128, layers=2, heads=2, mlp_width=512),
        text=TextConfig(width=64, layers=2, heads=1, mlp_width=256),
        embed_dim=32,
        activation=activation,
    )


def tiny_weights(config: ClipConfig, seed: int = SEED) -> Tensors:
    """float32 arrays under native names; the same for both activations."""
    random = np.random.default_rng(seed)
    weights: Tensors = {}
    for name, shape in native_shapes(config).items():
        values = random.standard_normal(shape)
        if name == "logit_scale":
            values = np.array(3.0)
        elif ".ln_" in name and name.endswith("weight"):
            values = 1 + 0.2 * values
        elif name.endswith("up.bias"):
            values = 0.5 * values - 2  # where the two activations differ most
        elif name.endswith("token_embedding.weight"):
            values[FILLED_TOKENS:-2] = 0
        elif len(shape) > 1 and not name.endswith("position_embedding"):
            gain = 12 if name.endswith("down.weight") else 2
            values = gain * values / np.sqrt(np.prod(shape[1:]))
        else:
            values = 0.5 * values
        weights[name] = values.astype(np.float32)
    return weights


def tiny_pixels(count: int = 4, seed: int = SEED) -> NDArray[np.uint8]:
    """uint8 [count, 32, 32, 3]: coarse coloured squares with noise."""
    random = np.random.default_rng(seed)
    squares = random.integers(0, 200, (count, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return (squares + random.integers(0, 56, (count, 32, 32, 3))).astype(np.uint8)


def tiny_tokens() -> NDArray[np.int64]:
    """int64 [3, 77]: TOKENS padded with zeros."""
    rows = np.zeros((len(TOKENS), 77), dtype=np.int64)
    for row, ids in zip(rows, TOKENS, strict=True):
        row[: len(ids)] = ids
    return rows


def write_tiny(folder: Path, activation: Activation) -> dict[Family, Path]:
    """Write the tiny CLIP in every family's form, one folder each."""
    config = tiny_config(activation)
    weights = tiny_weights(config)
    for family in FAMILIES:
        write_checkpoint(folder / family, config, weights, family=family)
    return {family: folder / family for family in FAMILIES}
