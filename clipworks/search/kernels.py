"""The loops of an exact search in compiled code; `exact.py` imports this file where numba is installed.

They run without the interpreter's lock, so threads share the cores.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clipworks.compiled import adding_freely, half_as_float, keep_machine_code

ROWS_PER_GROUP = 64
"""Rows whose best score is noted, to find the best of all without sorting."""


@adding_freely
def score_rows(
    rows: npt.NDArray[Any],
    mask: npt.NDArray[Any],
    query: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    best: npt.NDArray[Any],
) -> None:
    """Cosine of one query with every row that is among those searched.

    Args:
        rows: float16 [N, D] as uint16.
        mask: bool [N]; other rows get -2 and are not read.
        query: float32 [D].
        scores: float32 [N], written.
        best: float32 [ceil(N / ROWS_PER_GROUP)], written: the best score of each group of rows.
    """
    num_rows, dim = rows.shape
    for group in range(len(best)):
        highest = np.float32(-2.0)
        for row in range(group * ROWS_PER_GROUP, min(num_rows, (group + 1) * ROWS_PER_GROUP)):
            total = np.float32(-2.0)
            if mask[row]:
                total = np.float32(0.0)
                for place in range(dim):
                    total += half_as_float(rows[row, place]) * query[place]
            scores[row] = total
            highest = max(highest, total)
        best[group] = highest


@adding_freely
def sign_distances(
    words: npt.NDArray[Any],
    mask: npt.NDArray[Any],
    query: npt.NDArray[Any],
    far: int,
    distances: npt.NDArray[Any],
    counts: npt.NDArray[Any],
) -> None:
    """How many signs differ from those of a query.

    Args:
        words: uint64 [N, D / 64], a bit per number.
        mask: bool [N].
        query: uint64 [D / 64].
        far: what is written where the mask is False.
        distances: uint16 [N], written.
        counts: int64 [far], added to: how many rows of the mask have each distance.
    """
    num_rows, num_words = words.shape
    for row in range(num_rows):
        total = np.uint64(0)
        for place in range(num_words):
            total += _ones(words[row, place] ^ query[place])
        distances[row] = total
    for row in range(num_rows):
        if mask[row]:
            counts[distances[row]] += 1
        else:
            distances[row] = far


@adding_freely
def _ones(bits: Any) -> Any:
    """How many bits are set; compilers know this form as one instruction."""
    bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> np.uint64(2)) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (bits * np.uint64(0x0101010101010101)) >> np.uint64(56)


@adding_freely
def widen(rows: npt.NDArray[Any], wide: npt.NDArray[Any]) -> None:
    """float16 [N, D] as uint16 -> float32 [N, D]."""
    for row in range(rows.shape[0]):
        for place in range(rows.shape[1]):
            wide[row, place] = half_as_float(rows[row, place])


@adding_freely
def merge_block(
    scores: npt.NDArray[Any],
    mask: npt.NDArray[Any],
    first_slot: int,
    best_slots: npt.NDArray[Any],
    best_scores: npt.NDArray[Any],
) -> None:
    """Take the scores of a block of rows into the best found so far, which stay in falling order.

    Args:
        scores: float32 [Q, B].
        mask: bool [B].
        first_slot: slot of the block's first row.
        best_slots: int64 [Q, limit], changed.
        best_scores: float32 [Q, limit], changed.
    """
    limit = best_slots.shape[1]
    for query in range(scores.shape[0]):
        least = best_scores[query, limit - 1]
        for row in range(scores.shape[1]):
            score = scores[query, row]
            if score > least and mask[row]:
                place = limit - 1
                while place > 0 and best_scores[query, place - 1] < score:
                    best_scores[query, place] = best_scores[query, place - 1]
                    best_slots[query, place] = best_slots[query, place - 1]
                    place -= 1
                best_scores[query, place] = score
                best_slots[query, place] = first_slot + row
                least = best_scores[query, limit - 1]


def keep_code(place: Callable[[], Path]) -> None:
    """Let later processes find what is compiled here."""
    keep_machine_code(place, score_rows, sign_distances, widen, merge_block)
