"""Search by the signs of the numbers: 64 bytes for a vector of 512, then the best by their cosines.

How many signs differ says roughly how far two vectors are from each other. All signs are compared, the
nearest few hundred pictures are looked at exactly. The signs stay in memory and are made anew, in about a
second for a million pictures, when a library is opened.
"""

import numpy as np
import numpy.typing as npt

from clipworks.search.exact import compiled_loops, in_parts, narrowed, ranked
from clipworks.search.matrix import Matrix
from clipworks.search.store import Change, Halves, Mask, Selection, Slots, Vectors

LOOKED_AT = 400
"""Pictures whose cosines are computed, at least, for each search."""

LOOKED_AT_PER_HIT = 10

Signs = npt.NDArray[np.uint64]
"""uint64 [N, D / 64], D rounded up."""

_AT_ONCE = 65_536


class SignStore:
    """A `VectorStore` over the signs of a library's vectors, which it reads to rank the best."""

    def __init__(self, dim: int, matrix: Matrix, looked_at: int = LOOKED_AT) -> None:
        self._matrix = matrix
        self._looked_at = looked_at
        self._words = -(-dim // 64)
        self._signs: Signs = np.empty((0, self._words), dtype=np.uint64)
        self._alive: Mask = np.zeros(0, dtype=np.bool_)
        self._mean: Vectors = np.zeros(dim, dtype=np.float32)
        self._revision = 0

    def revision(self) -> int:
        """As `VectorStore.revision`."""
        return self._revision

    def apply(self, change: Change) -> None:
        """As `VectorStore.apply`."""
        top = max(int(change.slots[-1]) + 1 if len(change.slots) else 0, len(self._alive))
        alive, signs = np.zeros(top, dtype=np.bool_), np.zeros((top, self._words), dtype=np.uint64)
        alive[: len(self._alive)], signs[: len(self._signs)] = self._alive, self._signs
        alive[change.gone[change.gone < top]] = False
        alive[change.slots] = True
        if not self._revision and len(change.slots):
            # What all vectors have in common tells nothing apart; without it signs tell more.
            self._mean = (
                change.vectors[:: max(1, len(change.vectors) // 10_000)].astype(np.float32).mean(axis=0)
            )
        for start in range(0, len(change.slots), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            signs[change.slots[some]] = self._signs_of(change.vectors[some])
        self._alive, self._signs, self._revision = alive, signs, change.revision

    def nearest(self, queries: Vectors, limit: int, within: Selection | None = None) -> tuple[Slots, Vectors]:
        """As `VectorStore.nearest`."""
        mask = narrowed(self._alive, within)
        wanted = max(self._looked_at, LOOKED_AT_PER_HIT * limit)
        found = [self._one(query, mask, wanted, limit) for query in queries]
        return np.stack([slots for slots, _ in found]), np.stack([scores for _, scores in found])

    def count(self) -> int:
        """As `VectorStore.count`."""
        return int(self._alive.sum())

    def close(self) -> None:
        """As `VectorStore.close`."""

    def _one(self, query: Vectors, mask: Mask, wanted: int, limit: int) -> tuple[Slots, Vectors]:
        distances, counts = self._distances(self._signs_of(query[None].astype(np.float16))[0], mask)
        level = min(int(np.searchsorted(np.cumsum(counts), wanted)), len(counts) - 1)
        near = np.flatnonzero(distances <= level)
        return ranked(self._matrix.rows(len(self._alive)), near, query, limit)

    def _distances(self, query: Signs, mask: Mask) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
        """How far each picture is, and how many are how far; those not searched are farther."""
        far = 64 * self._words + 1
        kernels = compiled_loops(len(mask))
        if kernels is None:
            distances = np.bitwise_count(self._signs ^ query).sum(axis=1, dtype=np.uint16)
            distances = np.where(mask, distances, far).astype(np.uint16)
            return distances, np.bincount(distances[mask], minlength=far)
        distances = np.empty(len(mask), dtype=np.uint16)
        shares: list[npt.NDArray[np.int64]] = []

        def part(start: int, end: int) -> None:
            counts = np.zeros(far, dtype=np.int64)
            kernels.sign_distances(
                self._signs[start:end], mask[start:end], query, far, distances[start:end], counts
            )
            shares.append(counts)

        in_parts(part, len(mask))
        return distances, np.sum(shares, axis=0)

    def _signs_of(self, vectors: Halves) -> Signs:
        bits = np.zeros((len(vectors), self._words * 64), dtype=np.bool_)
        bits[:, : vectors.shape[1]] = vectors.astype(np.float32) > self._mean
        return np.packbits(bits, axis=1).view(np.uint64)
