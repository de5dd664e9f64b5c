"""The five published models at their full width with drawn weights, and what is shown to them.

Every number is made of the raw output of numpy's PCG64 by exact arithmetic, tensor by tensor, so that
`scripts/golden_full_width.py` and the tests have the same bytes on every machine and nothing large lies
in the repository. The weights are large: attention looks at few places, and exact and quick GELU differ
clearly.
"""

import math
import zlib

import numpy as np
from numpy.typing import NDArray

from clipworks.model.catalogue import CatalogueRow, rows
from clipworks.model.config import ClipConfig
from clipworks.model.formats import Tensors, native_shapes

SEED = 20261122
LOGIT_SCALE = math.log(100)
"""Where training clamps it, and where published models stand."""

CAPTIONS = (
    "a cat",
    "a photo of a dog, a type of pet.",
    "Two children in RED coats run across a snowy field; behind them the lights of a town.",
    "crème brûlée 😀 für 4,50 €",
    "夕暮れの東京タワー",
    "a very long description of one and the same thing, " * 12,
)
"""From 4 to 77 tokens; the last one is cut."""

_ALL = 65536
"""Number of values of the 16 bits that one weight is made of."""


def published_rows() -> tuple[CatalogueRow, ...]:
    """The catalogue's five published models."""
    return tuple(row for row in rows() if row.source == "hub")


def full_width_weights(config: ClipConfig, name: str) -> Tensors:
    """float32 arrays under native names, others for every `name`, the same for both activations."""
    return {
        tensor: _tensor(tensor, shape, zlib.crc32(name.encode()))
        for tensor, shape in native_shapes(config).items()
    }


def checksum(weights: Tensors) -> int:
    """One number for all bytes of a model."""
    total = 0
    for name in sorted(weights):
        total = zlib.crc32(weights[name].reshape(-1).view(np.uint8).data, total)
    return total


def full_width_pixels(side: int = 224) -> NDArray[np.uint8]:
    """Four pictures, uint8 [4, side, side, 3]: noise, coarse squares, a ramp of colours, rings."""
    y, x = np.mgrid[:side, :side]
    noise = _raw("noise", side * side * 3, 0).reshape(side, side, 3) >> 8
    squares = (_raw("squares", 49 * 3, 0).reshape(7, 7, 3) >> 8).repeat(-(-side // 7), 0)
    squares = squares.repeat(-(-side // 7), 1)[:side, :side]
    ramp = np.stack([255 * x // side, 255 * y // side, 255 - 255 * (x + y) // (2 * side)], axis=-1)
    distance = (2 * x - side) ** 2 + (2 * y - side) ** 2
    rings = np.stack([(distance // step) % 256 for step in (16, 29, 53)], axis=-1)
    return np.stack([picture.astype(np.uint8) for picture in (noise, squares, ramp, rings)])


def _tensor(name: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    if name == "logit_scale":
        return np.array(LOGIT_SCALE, dtype=np.float32)
    gain, offset = _gain_and_offset(name, shape)
    values = _raw(name, math.prod(shape), seed).astype(np.float32)
    values -= np.float32((_ALL - 1) / 2)
    values *= np.float32(gain * math.sqrt(12) / _ALL)
    values += np.float32(offset)
    values = values.reshape(shape)
    if name.endswith("projection.weight"):
        # The first numbers of a vector are larger than the last, so that cosines spread as in trained models.
        fading = 1 + 15 * np.arange(shape[0], dtype=np.float32) / np.float32(shape[0])
        values /= fading[:, None]
    return values


def _gain_and_offset(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Standard deviation and mean of a tensor."""
    if ".ln_" in name:
        return (0.2, 1.0) if name.endswith("weight") else (0.1, 0.0)
    if name.endswith("up.bias"):
        return 0.5, -1.5  # where the two activations differ most
    if name.endswith("bias"):
        return 0.1, 0.0
    if len(shape) == 1 or name.endswith("_embedding"):
        return 0.5, 0.0
    if name.endswith("token_embedding.weight"):
        return 1.0, 0.0
    gains = {"qkv": 1.5, "out": 1.5, "down": 3.0}
    return gains.get(name.split(".")[-2], 1.0) / math.sqrt(math.prod(shape[1:])), 0.0


def _raw(name: str, count: int, seed: int) -> NDArray[np.uint16]:
    """uint16 [count]: the bits of PCG64, which numpy promises never to change."""
    bits = np.random.PCG64([SEED, seed, zlib.crc32(name.encode())])
    raw: NDArray[np.uint16] = bits.random_raw(-(-count // 4)).astype("<u8").view("<u2")[:count]
    return raw
