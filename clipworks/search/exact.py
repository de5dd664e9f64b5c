"""The exact search: every vector is compared with the query. Nothing to build, nothing to miss.

One query reads the float16 rows once, which the memory's speed limits; many queries are a matrix product
per block of rows. All cores take part. With numba (extra `fast`) the loops are compiled; without it, and
for few rows, numpy does the same.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from clipworks.files import cache_folder
from clipworks.model.pipeline import num_cores
from clipworks.search.matrix import Matrix
from clipworks.search.store import NOWHERE, Change, Halves, Mask, Selection, Slots, Vectors

WORTH_COMPILING = 32_768
"""Rows from which on compiled loops win back the time to load them, about."""

_BLOCK_ROWS = 4096
_MARGIN = 16
"""Rows looked at more closely than by a plain product; lengths differ in the fourth digit."""
_NOT_THERE = np.float32(-2.0)


class ExactStore:
    """A `VectorStore` that looks at every vector: those of a library's own file, or rows of its own."""

    keeps_vectors: bool
    """Whether changes must bring vectors."""

    def __init__(self, dim: int, matrix: Matrix | None = None) -> None:
        self.keeps_vectors = matrix is None
        self._dim = dim
        self._matrix = matrix
        self._own: Halves = np.empty((0, dim), dtype=np.float16)
        self._alive: Mask = np.zeros(0, dtype=np.bool_)
        self._revision = 0

    def revision(self) -> int:
        """As `VectorStore.revision`."""
        return self._revision

    def apply(self, change: Change) -> None:
        """As `VectorStore.apply`."""
        top = int(change.slots[-1]) + 1 if len(change.slots) else 0
        alive = np.zeros(max(top, len(self._alive)), dtype=np.bool_)
        alive[: len(self._alive)] = self._alive
        alive[change.gone[change.gone < len(alive)]] = False
        alive[change.slots] = True
        if self.keeps_vectors:
            if top > len(self._own):
                own = np.zeros((max(top, 2 * len(self._own)), self._dim), dtype=np.float16)
                own[: len(self._own)] = self._own
                self._own = own
            self._own[change.slots] = change.vectors
        self._alive, self._revision = alive, change.revision

    def nearest(self, queries: Vectors, limit: int, within: Selection | None = None) -> tuple[Slots, Vectors]:
        """As `VectorStore.nearest`."""
        alive = self._alive
        rows = self._own[: len(alive)] if self._matrix is None else self._matrix.rows(len(alive))
        return exactly_nearest(rows, narrowed(alive, within), queries, limit)

    def count(self) -> int:
        """As `VectorStore.count`."""
        return int(self._alive.sum())

    def close(self) -> None:
        """As `VectorStore.close`."""


def narrowed(alive: Mask, within: Selection | None) -> Mask:
    """The pictures of a mask that are in a selection, too; bool [len(alive)]."""
    if within is None:
        return alive
    mask = np.zeros(len(alive), dtype=np.bool_)
    both = min(len(alive), len(within.mask))
    np.logical_and(alive[:both], within.mask[:both], out=mask[:both])
    return mask


def exactly_nearest(rows: Halves, mask: Mask, queries: Vectors, limit: int) -> tuple[Slots, Vectors]:
    """As `scan`, by cosines of rows brought to unit length, which rounding to half floats took from them."""
    found, _ = scan(rows, mask, queries, limit + _MARGIN)
    best = [
        ranked(rows, slots[slots >= 0], query, limit) for slots, query in zip(found, queries, strict=True)
    ]
    return np.stack([slots for slots, _ in best]), np.stack([scores for _, scores in best])


def ranked(rows: Halves, slots: Slots, query: Vectors, limit: int) -> tuple[Slots, Vectors]:
    """The best of some rows by their cosines: int64 [limit] and float32 [limit], padded."""
    if not len(slots):
        return np.full(limit, NOWHERE, dtype=np.int64), np.full(limit, -2.0, dtype=np.float32)
    places, scores = best_of(unit(rows[slots]) @ query, limit)
    return np.where(places == NOWHERE, NOWHERE, slots[places]), scores


def scan(rows: Halves, mask: Mask, queries: Vectors, limit: int) -> tuple[Slots, Vectors]:
    """The rows nearest to each query, among those of a mask; equal scores in the order of the rows.

    Args:
        rows: float16 [N, D].
        mask: bool [N].
        queries: float32 [Q, D], unit length.
        limit: at least 1.

    Returns:
        Rows, int64 [Q, limit], and cosines, float32 [Q, limit]; `NOWHERE` and -2 where there are no more.
    """
    chosen = np.flatnonzero(mask)
    if len(chosen) * 16 < len(mask) or len(chosen) < _BLOCK_ROWS:
        found, scores = _scan_all(rows[chosen], queries, limit)
        return np.where(found < 0, NOWHERE, chosen[found] if len(chosen) else NOWHERE), scores
    kernels = compiled_loops(len(chosen))
    if kernels is None:
        found, scores = _scan_all(rows, queries, limit, mask)
    elif len(queries) == 1:
        found, scores = _scan_one(kernels, rows, mask, queries[0], limit)
    else:
        found, scores = _scan_many(kernels, rows, mask, queries, limit)
    return found, scores


def cosines(rows: Halves, query: Vectors) -> Vectors:
    """Cosine of each row with a query, float32 [N], as every search gives them in the end."""
    found: Vectors = unit(rows) @ query
    return found.clip(-1.0, 1.0)


def unit(rows: Halves) -> Vectors:
    """float16 [N, D] as float32 with rows of unit length, which rounding took from them."""
    wide = rows.astype(np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
    found: Vectors = wide / np.maximum(lengths, np.float32(1e-6))
    return found


def compiled_loops(num_rows: int) -> Any:
    """The compiled loops where so many rows are worth it and numba is installed, else None."""
    return _kernels() if num_rows >= WORTH_COMPILING else None


@cache
def _kernels() -> Any:
    """The compiled loops, or None where numba is not installed. The first call takes seconds."""
    if find_spec("numba") is None:
        return None
    kernels = import_module("clipworks.search.kernels")
    kernels.keep_code(cache_folder)
    return kernels


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_cores(), thread_name_prefix="clipworks-scan")


def _scan_all(rows: Halves, queries: Vectors, limit: int, mask: Mask | None = None) -> tuple[Slots, Vectors]:
    scores = np.empty((len(queries), len(rows)), dtype=np.float32)
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS].astype(np.float32)
        scores[:, start : start + _BLOCK_ROWS] = queries @ block.T
    if mask is not None:
        scores[:, ~mask] = _NOT_THERE
    found = [best_of(one, limit) for one in scores]
    return np.stack([slots for slots, _ in found]), np.stack([best for _, best in found])


def best_of(scores: Vectors, limit: int, floor: float = -2.0) -> tuple[Slots, Vectors]:
    """Places of the largest of float32 [N], best first, equal ones in their order; padded to `limit`.

    Args:
        floor: a number that at least `limit` of the scores reach, where one is known.
    """
    places = np.flatnonzero(scores >= max(floor, -1.5))
    values = scores[places]
    if len(places) > limit:
        cut = np.partition(values, len(values) - limit)[len(values) - limit]
        above, equal = np.flatnonzero(values > cut), np.flatnonzero(values == cut)
        kept = np.concatenate([above, equal])[:limit]
        places, values = places[kept], values[kept]
    order = np.lexsort((places, -values))
    slots = np.full(limit, NOWHERE, dtype=np.int64)
    best = np.full(limit, _NOT_THERE, dtype=np.float32)
    slots[: len(order)], best[: len(order)] = places[order], values[order]
    return slots, best


def _scan_one(kernels: Any, rows: Halves, mask: Mask, query: Vectors, limit: int) -> tuple[Slots, Vectors]:
    group = kernels.ROWS_PER_GROUP
    bits, wanted = rows.view(np.uint16), np.ascontiguousarray(query)
    scores = np.empty(len(rows), dtype=np.float32)
    best = np.empty(-(-len(rows) // group), dtype=np.float32)

    def part(start: int, end: int) -> None:
        place = slice(start * group, end * group)
        kernels.score_rows(bits[place], mask[place], wanted, scores[place], best[start:end])

    in_parts(part, len(best))
    floor = float(np.partition(best, len(best) - limit)[len(best) - limit]) if limit <= len(best) else -2.0
    slots, found = best_of(scores, limit, floor)
    return slots[None], found[None]


def _scan_many(kernels: Any, rows: Halves, mask: Mask, queries: Vectors, limit: int) -> tuple[Slots, Vectors]:
    bits = rows.view(np.uint16)
    found: list[tuple[Slots, Vectors]] = []

    def part(start: int, end: int) -> None:
        slots = np.full((len(queries), limit), NOWHERE, dtype=np.int64)
        best = np.full((len(queries), limit), _NOT_THERE, dtype=np.float32)
        wide = np.empty((_BLOCK_ROWS, rows.shape[1]), dtype=np.float32)
        for first in range(start * _BLOCK_ROWS, min(end * _BLOCK_ROWS, len(rows)), _BLOCK_ROWS):
            block = bits[first : first + _BLOCK_ROWS]
            kernels.widen(block, wide[: len(block)])
            scores = queries @ wide[: len(block)].T
            kernels.merge_block(scores, mask[first : first + _BLOCK_ROWS], first, slots, best)
        found.append((slots, best))

    in_parts(part, -(-len(rows) // _BLOCK_ROWS))
    return merged([slots for slots, _ in found], [best for _, best in found], limit)


def merged(slots: list[Slots], scores: list[Vectors], limit: int) -> tuple[Slots, Vectors]:
    """Several answers to the same queries as one: int64 and float32 [Q, any] each -> [Q, limit]."""
    all_slots, all_scores = np.concatenate(slots, axis=1), np.concatenate(scores, axis=1)
    order = np.lexsort((all_slots, -all_scores))[:, :limit]
    return np.take_along_axis(all_slots, order, axis=1), np.take_along_axis(all_scores, order, axis=1)


def in_parts(part: Callable[[int, int], None], count: int) -> None:
    """Run `part(start, end)` over 0..count, a share for each core."""
    num_parts = min(num_cores(), count)
    edges = [count * number // num_parts for number in range(num_parts + 1)]
    jobs = [_pool().submit(part, *ends) for ends in zip(edges, edges[1:], strict=False)]
    for job in jobs:
        job.result()
