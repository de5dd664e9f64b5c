"""The n-th largest of numbers that are read in pieces, exactly, whatever they are and how many.

DataComp keeps a fraction by the value at place int(N * fraction) of the numbers in descending order. A
float's bits, turned so that they count upwards, are its place among all floats; a histogram over their
first 16 bits finds the bin in which the place lies, the next pass looks into that bin alone. Two passes do
for float32; memory is one histogram, or the last candidates.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import ConfigError

BITS_PER_PASS = 16
MAX_CANDIDATES = 1 << 18
"""So few are kept and sorted instead of counted once more."""

Pieces = Callable[[], Iterable[NDArray[Any]]]
"""Reads the numbers anew, in pieces of floating numbers; of several widths the widest counts."""


def threshold_of_fraction(pieces: Pieces, fraction: float) -> float:
    """The element at place int(N * fraction), from 0, of all numbers sorted in descending order.

    As in `-numpy.sort(-x)[int(N * fraction)]`: NaN stands last and counts in N. Rows at or above it are
    those that DataComp keeps: one more than int(N * fraction), and ties.

    Raises:
        ConfigError: the fraction is not in [0, 1), or there is no number.
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"The fraction {fraction} is out of range: 0 or more, below 1.")
    total, kinds = 0, set[np.dtype[Any]]()
    for piece in pieces():
        total += len(piece)
        kinds.add(piece.dtype)
    if not total:
        raise ConfigError("There is no number to take a fraction of.")
    widest = max(kinds, key=lambda kind: kind.itemsize)

    def alike() -> Iterable[NDArray[Any]]:
        return (piece.astype(widest, copy=False) for piece in pieces())

    return nth_largest(alike, int(total * fraction), widest)


def nth_largest(pieces: Pieces, place: int, kind: np.dtype[Any]) -> float:
    """The element at `place`, from 0, in descending order with NaN last; it must exist."""
    bits = kind.itemsize * 8
    prefix, known = 0, 0
    while known < bits:
        histogram = np.zeros(1 << BITS_PER_PASS, np.int64)
        for keys in _candidates(pieces, bits, prefix, known):
            step = (keys >> np.uint64(bits - known - BITS_PER_PASS)) & np.uint64(0xFFFF)
            histogram += np.bincount(step.astype(np.int64), minlength=len(histogram))
        above = np.cumsum(histogram) - histogram
        chosen = int(np.searchsorted(above, place, side="right")) - 1
        place -= int(above[chosen])
        prefix, known = (prefix << BITS_PER_PASS) | chosen, known + BITS_PER_PASS
        if known < bits and histogram[chosen] <= MAX_CANDIDATES:
            rest = np.concatenate(list(_candidates(pieces, bits, prefix, known)))
            return _value(int(np.partition(rest, place)[place]), kind)
    return _value(prefix, kind)


def _candidates(pieces: Pieces, bits: int, prefix: int, known: int) -> Iterable[NDArray[np.uint64]]:
    """Keys whose first `known` bits are the prefix."""
    for piece in pieces():
        keys = _keys(piece, bits)
        yield keys[keys >> np.uint64(bits - known) == np.uint64(prefix)] if known else keys


def _keys(values: NDArray[Any], bits: int) -> NDArray[np.uint64]:
    """uint64 [N], ascending where the values descend; NaN last, both zeros equal."""
    values = values + values.dtype.type(0)  # -0.0 becomes 0.0
    raw = values.view(f"u{bits // 8}").astype(np.uint64)
    sign, full = np.uint64(1 << (bits - 1)), np.uint64((1 << bits) - 1)
    keys = np.where(raw & sign != 0, raw, full & ~(raw | sign))
    keys[np.isnan(values)] = full
    return keys


def _value(key: int, kind: np.dtype[Any]) -> float:
    bits = kind.itemsize * 8
    if key == (1 << bits) - 1:
        return float("nan")
    sign = 1 << (bits - 1)
    raw = key if key & sign else ~(key | sign) & ((1 << bits) - 1)
    return float(np.array([raw], f"u{bits // 8}").view(kind)[0])
