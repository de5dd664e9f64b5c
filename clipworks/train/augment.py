"""Pixels for training: transparent pictures on a ground, glyphs in an ink, small moves.

Everything drawn at random comes from the generator that is passed in, so that a step sees the same
pixels however often it is repeated.
"""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from clipworks.model.config import PreprocessConfig

_COLOURED_GROUND_PROB = 0.3
_BLACK_ON_WHITE_PROB = 0.3
_LEAST_CONTRAST = 0.35


def composite(
    rgba: npt.NDArray[np.uint8],
    is_glyph: npt.NDArray[np.bool_],
    rng: np.random.Generator,
    *,
    recolour: bool,
    jitter: float = 0.0,
    rows: slice = slice(None),
) -> npt.NDArray[np.float32]:
    """Lay transparent pictures on a ground.

    A glyph (one colour, its shape in the alpha channel) is drawn in a random ink on a random ground
    of clear contrast; any other picture lies on white, or sometimes on a random light ground.

    Args:
        rgba: uint8 [B, S, S, 4], the pictures of `rows`.
        is_glyph: bool [N], of the whole batch; B of them are wanted.
        rng: source of the colours.
        recolour: False lays everything on white and leaves glyphs in their own colour.
        jitter: largest gain of each channel of a picture, as a share; the ground has none.
        rows: which B of the N pictures are wanted. Colours are drawn for all, so that a part of a batch
            looks as it does in the whole.

    Returns:
        float32 [B, S, S, 3], 0..1.
    """
    count = len(is_glyph)
    alpha = rgba[..., 3:].astype(np.float32)
    alpha /= 255
    colour = rgba[..., :3].astype(np.float32)
    colour /= 255
    if jitter:
        colour *= rng.uniform(1 - jitter, 1 + jitter, (count, 1, 1, 3)).astype(np.float32)[rows]
        np.minimum(colour, 1, out=colour)
    ground = np.ones((len(rgba), 1, 1, 3), dtype=np.float32)
    if recolour:
        inks, grounds = _contrasting_colours(count, rng)
        light = 1 - 0.4 * rng.random((count, 1, 1, 3), dtype=np.float32)
        is_light = rng.random(count) < _COLOURED_GROUND_PROB
        is_drawn = (is_glyph & (rng.random(count) >= _BLACK_ON_WHITE_PROB))[rows]
        ground = np.where((is_light & ~is_glyph)[rows, None, None, None], light[rows], ground)
        ground = np.where(is_drawn[:, None, None, None], grounds[rows], ground)
        colour[is_drawn] = inks[rows][is_drawn]
    colour -= ground
    colour *= alpha
    colour += ground
    return colour


def draw_moves(count: int, rng: np.random.Generator, *, zoom: float, shift: float) -> npt.NDArray[np.float32]:
    """A random change of scale and place per picture.

    Args:
        count: number of pictures, B.
        rng: source of the moves.
        zoom: largest change of scale, as a share.
        shift: largest shift along each side, as a share of the side.

    Returns:
        float32 [B, 2, 3], affine maps from output to input places on the -1..1 grid.
    """
    moves = np.zeros((count, 2, 3), dtype=np.float32)
    scale = 1 + zoom * rng.uniform(-1, 1, count)
    moves[:, 0, 0] = scale
    moves[:, 1, 1] = scale
    moves[:, :, 2] = 2 * shift * rng.uniform(-1, 1, (count, 2))
    return moves


def move(images_BCHW: Tensor, moves_B23: Tensor) -> Tensor:
    """Apply `draw_moves` to float32 [B, C, S, S]; what comes in from outside repeats the border."""
    grid = F.affine_grid(moves_B23, list(images_BCHW.shape), align_corners=False)
    return F.grid_sample(images_BCHW, grid, padding_mode="border", align_corners=False)


def normalise(images_BCHW: Tensor, preprocess: PreprocessConfig) -> Tensor:
    """0..1 pixels -> what the network reads: (x - mean) / std per channel, in their place."""
    mean = torch.tensor(preprocess.mean, device=images_BCHW.device)[:, None, None]
    std = torch.tensor(preprocess.std, device=images_BCHW.device)[:, None, None]
    return images_BCHW.sub_(mean).div_(std)


def draw_kept_patches(
    count: int, patches: int, dropout: float, rng: np.random.Generator, *, rows: slice = slice(None)
) -> npt.NDArray[np.int64]:
    """Which patches some of `count` pictures show, int64 [rows, kept], rising in each row."""
    kept = max(1, round(patches * (1 - dropout)))
    order = rng.random((count, patches))[rows].argsort(axis=1)[:, :kept]
    return np.sort(order, axis=1)


def _contrasting_colours(
    count: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Two colours per picture, float32 [count, 1, 1, 3], whose brightness differs clearly."""
    inks = rng.random((count, 1, 1, 3), dtype=np.float32)
    grounds = rng.random((count, 1, 1, 3), dtype=np.float32)
    difference = grounds.mean(axis=-1, keepdims=True) - inks.mean(axis=-1, keepdims=True)
    push = np.where(difference >= 0, 1.0, -1.0) * np.clip(_LEAST_CONTRAST - np.abs(difference), 0, None)
    return (
        np.clip(inks - push / 2, 0, 1).astype(np.float32),
        np.clip(grounds + push / 2, 0, 1).astype(np.float32),
    )
