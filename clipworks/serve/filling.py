"""Batches of few sizes: what a model is asked is filled up to one of them."""

from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]
"""Pixels or rows of tokens, one item after another."""


def filled_size(count: int, most: int) -> int:
    """What `count` rows are filled up to, by less than half: 1, 2, 3, 4, 6, 8, 12, 16 ... `most`.

    A model compiles itself for every number of rows (ViT-B/32 in int8: 0.2 s and 12 MB for each), so few
    are used; the vectors of what fills up are dropped.
    """
    half = 1 << (count - 1).bit_length() >> 1
    sizes = (1, half, half + half // 2, 2 * half)
    return min(most, next(size for size in sizes if size >= count))


def fill_up(rows: Rows, most: int) -> Rows:
    """The rows, and the last of them again until there are `filled_size` many."""
    missing = filled_size(len(rows), most) - len(rows)
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)]) if missing > 0 else rows
