"""Flat drawings lit as if they were solid.

A drawing stands out from its ground, and its light parts from its dark ones: the blurred outline is taken
for a height, a light falls on it from a random side, and one side of everything becomes lighter and the other
darker. Icons and emoji are flat in most sets; who has seen them lit knows them again in a set that is not.
"""

import numpy as np
from numpy.typing import NDArray

LIT_PROB = 0.5
RELIEF = 10.0
"""Change of brightness by the slope of the height, at most."""
GLOW = 0.5
"""Change of brightness from side to side of the whole picture, at most."""
RADII = (2, 4)
"""Of the blur, in pixels of 64; one of them for a batch."""
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32) / 255


def shade(rgba: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Light half of the pictures, as far as they have a ground: photographs stay as they are.

    Args:
        rgba: uint8 [B, S, S, 4].
        rng: source of the lights.

    Returns:
        uint8 [B, S, S, 4], the same alpha.
    """
    count, side = rgba.shape[:2]
    is_lit = (rng.random(count) < LIT_PROB) & (rgba[..., 3].min(axis=(1, 2)) < 255)
    direction = 2 * np.pi * rng.random((count,), dtype=np.float32)
    strength = rng.random((2, count), dtype=np.float32)
    radius = max(1, round(int(rng.choice(RADII)) * side / 64))
    lit = np.flatnonzero(is_lit)
    if not len(lit):
        return rgba
    out = rgba.copy()
    colour = rgba[lit, ..., :3].astype(np.float32)
    alpha = rgba[lit, ..., 3].astype(np.float32) / np.float32(255)
    height: NDArray[np.float32] = (0.7 + 0.3 * (colour @ _LUMA)) * alpha
    for _ in range(2):
        height = _blur(_blur(height, radius, 1), radius, 2)
    across, down = np.cos(direction[lit])[:, None, None], np.sin(direction[lit])[:, None, None]
    slope = np.gradient(height, axis=2) * across + np.gradient(height, axis=1) * down
    place = np.linspace(-1, 1, side, dtype=np.float32)
    light = RELIEF * strength[0, lit, None, None] * slope
    light += (
        GLOW * strength[1, lit, None, None] * (place[None, None, :] * across + place[None, :, None] * down)
    )
    light = light[..., None]
    colour += np.where(light > 0, 0.6 * light * (255 - colour), light * colour)
    out[lit, ..., :3] = np.clip(colour, 0, 255).astype(np.uint8)
    return out


def _blur(values: NDArray[np.float32], radius: int, axis: int) -> NDArray[np.float32]:
    """The mean over 2 radius + 1 places along an axis; what lies outside is 0."""
    pad = [(0, 0)] * 3
    pad[axis] = (radius + 1, radius)
    sums = np.pad(values, pad).cumsum(axis=axis, dtype=np.float32)
    width = 2 * radius + 1
    long = sums.shape[axis]
    mean: NDArray[np.float32] = (
        sums.take(range(width, long), axis=axis) - sums.take(range(long - width), axis=axis)
    ) / width
    return mean
