"""Another picture size for a model: its table of places, one row per patch, interpolated to another grid.

The result is that of open_clip's `resize_pos_embed`: bicubic with antialiasing, pixel centres at one
half, the class token's row left as it is. The table of the text tower is never touched.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import ConfigError
from clipworks.model.config import ClipConfig

Tensors = dict[str, NDArray[np.float32]]

MAX_IMAGE_SIZE = 2048
"""Longest side in pixels: attention over its patches already takes gigabytes."""

_TABLE = "vision.position_embedding"
_SHARPNESS = -0.5
"""The `a` of Keys' cubic convolution, as Pillow and torch's antialiased bicubic have it."""


def resized(config: ClipConfig, tensors: Tensors, image_size: int) -> tuple[ClipConfig, Tensors]:
    """The same model for square pictures of another size.

    Args:
        config: shape of the model.
        tensors: native names, as in `weights.Checkpoint`.
        image_size: side in pixels, a multiple of the patch size.

    Raises:
        ConfigError: image_size is no multiple of the patch size, or more than MAX_IMAGE_SIZE.
    """
    vision = config.vision
    is_number = isinstance(image_size, int) and 1 <= image_size <= MAX_IMAGE_SIZE
    if not is_number or image_size % vision.patch_size:
        raise ConfigError(
            f"image_size is {image_size!r}; for this model it must be a multiple of {vision.patch_size}, the "
            f"side of a patch, and at most {MAX_IMAGE_SIZE}."
        )
    if image_size == vision.image_size:
        return config, tensors
    table = tensors[_TABLE]
    patches = interpolated(table[1:], image_size // vision.patch_size)
    new = replace(config, vision=replace(vision, image_size=image_size))
    return new, {**tensors, _TABLE: np.concatenate([table[:1], patches])}


def interpolated(places: NDArray[np.float32], grid: int) -> NDArray[np.float32]:
    """Bring a square table to another number of patches along a side.

    Args:
        places: float32 [old * old, width], row by row from the top left.
        grid: patches along a side.

    Returns:
        float32 [grid * grid, width].
    """
    old = round(len(places) ** 0.5)
    weights = _weights(old, grid)
    table = places.astype(np.float64).reshape(old, old, -1)
    wide: NDArray[np.float64] = np.einsum("ip,jq,pqc->ijc", weights, weights, table, optimize=True)
    return wide.reshape(grid * grid, -1).astype(np.float32)


def _weights(old: int, new: int) -> NDArray[np.float64]:
    """float64 [new, old]: how much of each old place goes into a new one; rows sum to 1."""
    scale = old / new
    stretch = max(scale, 1.0)  # where the grid shrinks, the filter is stretched, or places would be skipped
    centres = scale * (np.arange(new) + 0.5)
    places = np.arange(old) + 0.5
    weights = _cubic((places[None, :] - centres[:, None]) / stretch)
    unit: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return unit


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' kernel, zero beyond 2."""
    x = np.abs(x)
    near = ((_SHARPNESS + 2) * x - (_SHARPNESS + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * _SHARPNESS
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
