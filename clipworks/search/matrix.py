"""The file of vectors of a library: float16 rows without a header, row i is slot i.

Rows are written before the database says that they are there, and no row that the database knows is
written again, so a writer that is killed harms nothing. Readers map the file.
"""

import os
from pathlib import Path

import numpy as np

from clipworks.errors import DataError
from clipworks.search.store import Halves, Slots, Vectors

NAME = "vectors.f16"


class Matrix:
    """The rows of a file, or of an array that takes its place."""

    def __init__(self, path: Path | None, dim: int, rows: Halves | None = None) -> None:
        self.dim = dim
        self._path = path
        self._rows: Halves = np.empty((0, dim), dtype=np.float16) if rows is None else rows

    def rows(self, count: int) -> Halves:
        """The first `count` rows, float16 [count, dim], mapped and read-only.

        Raises:
            DataError: the file has fewer.
        """
        if count > len(self._rows) and self._path is not None:
            self._rows = self._mapped(self._path, count)
        return self._rows[:count]

    def write(self, slots: Slots, vectors: Vectors | Halves) -> None:
        """Put vectors into slots and wait until the disk has them.

        Args:
            slots: int64 [N].
            vectors: [N, dim].
        """
        assert self._path is not None
        halves = np.ascontiguousarray(vectors, dtype="<f2")
        row_bytes = self.dim * 2
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            for first, last in _runs(slots):
                os.pwrite(descriptor, halves[first:last].tobytes(), int(slots[first]) * row_bytes)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _mapped(self, path: Path, count: int) -> Halves:
        wanted = count * self.dim * 2
        try:
            size = path.stat().st_size
            if size < wanted:
                raise DataError(
                    f"{path} has {size:,} bytes; the pictures of the index need {wanted:,}.",
                    "Say `clipworks index check --repair FOLDER`.",
                )
            whole = size // (self.dim * 2)
            return np.memmap(path, dtype="<f2", mode="r", shape=(whole, self.dim))
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _runs(slots: Slots) -> list[tuple[int, int]]:
    """Neighbouring places whose slots are neighbours, too: first and end of each."""
    if not len(slots):
        return []
    breaks = (np.flatnonzero(np.diff(slots) != 1) + 1).tolist()
    return list(zip([0, *breaks], [*breaks, len(slots)], strict=True))
