"""Subset files, DataComp's way to say which pictures are kept: sorted ids of 16 bytes, memory-mapped.

A file is an `.npy` of dtype `u8,u8` or the bare numbers (`np.memmap`); an id that stands there n times is
wanted n times. Files are read in place and written in pieces, so that memory does not grow with them.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from clipworks.curate.uids import UID, Uids, from_halves, order_of
from clipworks.errors import DataError, reason_of
from clipworks.files import atomic_write

MAGIC = b"\x93NUMPY"
ROWS_PER_PIECE = 1 << 20

Combine = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]
"""How often an id stands in one file and in the other -> how often it stands in the result."""


def read_subset(path: Path) -> Uids:
    """A subset file of either form, as a read-only memory map, UID [N].

    Raises:
        DataError: it is missing, of another dtype or shape, cut, or not sorted.
    """
    try:
        with path.open("rb") as file:
            is_npy = file.read(len(MAGIC)) == MAGIC
        size = path.stat().st_size
        if is_npy:
            uids: Uids = np.load(path, mmap_mode="r", allow_pickle=False)
        elif size % UID.itemsize:
            raise ValueError(f"its {size} bytes are no multiple of {UID.itemsize}")
        else:
            uids = np.memmap(path, UID, mode="r") if size else np.empty(0, UID)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as a subset file: {reason_of(error)}.") from error
    if uids.dtype != UID or uids.ndim != 1:
        raise DataError(f"{path} is a table of {uids.dtype} {list(uids.shape)}, not of 'u8,u8' [N].")
    if not _is_sorted(uids):
        raise DataError(f"{path} is not sorted.", "Sort it: numpy.sort of its ids, saved again.")
    return uids


def write_subset(path: Path, uids: Uids, *, raw: bool = False) -> None:
    """Write ids in ascending order, atomically.

    Args:
        uids: UID [N] in any order; repeats are kept.
        raw: the bare numbers instead of `.npy`.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    with atomic_write(path) as file:
        _begin(file, len(uids), raw)
        file.write(np.ascontiguousarray(uids[order_of(uids)]).tobytes())


def merge_subsets(paths: Sequence[Path], out: Path, *, raw: bool = False) -> int:
    """All ids of several subset files in one, repeats and all; how many they are.

    Raises:
        DataError: as in `read_subset`.
        OSError: the disk is full or cannot be written.
    """
    parts = [read_subset(path) for path in paths]
    total = sum(map(len, parts))
    with atomic_write(out) as file:
        _begin(file, total, raw)
        for pieces in _aligned(parts):
            joined = np.concatenate(pieces)
            file.write(joined[order_of(joined)].tobytes())
    return total


def combine_subsets(first: Path, second: Path, out: Path, combine: Combine, *, raw: bool = False) -> int:
    """A subset file from two, id by id; how many ids it holds.

    Args:
        combine: `union` (the larger count), `intersection` (the smaller), `difference` (what the second
            takes away) or `addition`.

    Raises:
        DataError: as in `read_subset`.
        OSError: the disk is full or cannot be written.
    """
    pair = [read_subset(first), read_subset(second)]
    total = sum(len(piece) for piece in _combined(pair, combine))
    with atomic_write(out) as file:
        _begin(file, total, raw)
        for piece in _combined(pair, combine):
            file.write(piece.tobytes())
    return total


def union(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """The larger of two counts."""
    return np.maximum(first, second)


def intersection(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """The smaller of two counts."""
    return np.minimum(first, second)


def difference(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """What of the first count the second leaves, at least 0."""
    left: NDArray[np.int64] = np.maximum(first - second, 0)
    return left


def addition(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Both counts together."""
    return first + second


def counts_in(subset: Uids, uids: Uids) -> NDArray[np.int64]:
    """How often each id stands in a sorted subset, int64 [N]; reads the few places it looks at."""
    return _bound(subset, uids, above=True) - _bound(subset, uids, above=False)


def place_in(listed: Uids, uids: Uids) -> NDArray[np.int64]:
    """Where each id first stands in sorted records with the fields of an id, int64 [N]; -1: nowhere."""
    places = _bound(listed, uids, above=False)
    found = places < len(listed)
    there = listed[places[found]]
    found[found] = (there["f0"] == uids["f0"][found]) & (there["f1"] == uids["f1"][found])
    return np.where(found, places, -1)


def _bound(subset: Uids, uids: Uids, *, above: bool) -> NDArray[np.int64]:
    """First position whose id is not below (or is above) each of `uids`, by bisection of all at once."""
    low = np.zeros(len(uids), np.int64)
    high = np.full(len(uids), len(subset), np.int64)
    active = np.arange(len(uids)) if len(subset) else np.empty(0, np.int64)
    while len(active):
        middle = (low[active] + high[active]) // 2
        found, wanted = np.asarray(subset[middle]), uids[active]
        is_below = (found["f0"] < wanted["f0"]) | (
            (found["f0"] == wanted["f0"])
            & ((found["f1"] <= wanted["f1"]) if above else (found["f1"] < wanted["f1"]))
        )
        low[active] = np.where(is_below, middle + 1, low[active])
        high[active] = np.where(is_below, high[active], middle)
        active = active[low[active] < high[active]]
    return low


def _begin(file: IO[bytes], total: int, raw: bool) -> None:
    if not raw:
        header: dict[str, Any] = {
            "descr": np.lib.format.dtype_to_descr(UID),
            "fortran_order": False,
            "shape": (total,),
        }
        np.lib.format.write_array_header_1_0(file, header)


def _aligned(parts: Sequence[Uids]) -> Iterator[list[Uids]]:
    """The same range of ids of every part, range after range; equal ids are never torn apart."""
    total = sum(map(len, parts))
    num_ranges = max(1, -(-total // ROWS_PER_PIECE))
    starts = [0] * len(parts)
    for number in range(1, num_ranges + 1):
        ends = [len(part) for part in parts]
        if number < num_ranges:
            edge = np.full(1, number * 2**64 // num_ranges, np.uint64)
            wanted = from_halves(edge, np.zeros(1, np.uint64))
            ends = [int(_bound(part, wanted, above=False)[0]) for part in parts]
        yield [np.asarray(p[s:e]) for p, s, e in zip(parts, starts, ends, strict=True)] or [np.empty(0, UID)]
        starts = ends


def _combined(pair: Sequence[Uids], combine: Combine) -> Iterator[Uids]:
    for first, second in _aligned(pair):
        both = np.unique(np.concatenate([first, second]))
        counts = combine(counts_in(first, both), counts_in(second, both))
        yield np.repeat(both, counts)


def _is_sorted(uids: Uids) -> bool:
    for start in range(0, len(uids), ROWS_PER_PIECE):
        piece = np.asarray(uids[start : start + ROWS_PER_PIECE + 1])
        high, low = piece["f0"], piece["f1"]
        falls = (high[1:] < high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] < low[:-1]))
        if falls.any():
            return False
    return True
