"""Vectors on disk by what they are of: each picture and each prompt is embedded once per model.

A folder of parts; a part is `NAME.npy` with the vectors and, written after it, `NAME.keys.npy` with the
sorted digests, so that a part without keys does not exist. Nothing but digests stays in memory.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import DataError
from clipworks.evaluate.pictures import Digests
from clipworks.files import NPZ_DAMAGE, atomic_write

Vectors = NDArray[np.float32]
"""float32 [N, D]."""

_DENSE = 4
"""A stretch of a part of which one row in so many is wanted is read whole."""


class VectorStore:
    """The vectors of one model, of one kind."""

    def __init__(self, folder: Path, width: int) -> None:
        """Take a folder, made when something is added, and the length of a vector."""
        self._folder = folder
        self._width = width
        self._parts: list[tuple[Path, Digests]] = []
        self._offsets: list[int] = []
        for keys in sorted(folder.glob("*.keys.npy")):
            self._open(keys)

    def find(self, digests: Digests) -> NDArray[np.int64]:
        """Where vectors are: int64 [N, 2] of part and row, -1 where there is none."""
        places = np.full((len(digests), 2), -1, dtype=np.int64)
        missing = np.arange(len(digests))
        for number, (_, keys) in enumerate(self._parts):
            if not len(missing):
                break
            wanted = digests[missing]
            rows = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            is_here = keys[rows] == wanted
            places[missing[is_here], 0] = number
            places[missing[is_here], 1] = rows[is_here]
            missing = missing[~is_here]
        return places

    def lacks(self, digests: Digests) -> NDArray[np.bool_]:
        """Whether the vector of each is missing, bool [N]."""
        return self.find(digests)[:, 0] < 0

    def read(self, digests: Digests) -> Vectors:
        """The vectors of digests, float32 [N, D].

        Raises:
            DataError: one is missing.
        """
        places = self.find(digests)
        if (places < 0).any():
            raise DataError(f"{self._folder} lacks a vector.", "Repeat the command.")
        vectors = np.empty((len(digests), self._width), dtype=np.float32)
        for number in np.unique(places[:, 0]):
            mine = np.flatnonzero(places[:, 0] == number)
            vectors[mine] = self._rows(int(number), places[mine, 1])
        return vectors

    def add(self, digests: Sequence[bytes], vectors: Vectors) -> None:
        """Keep the vectors of digests that are not here yet."""
        keys, first = np.unique(np.frombuffer(b"".join(digests), dtype="S16"), return_index=True)
        if not len(keys):
            return
        name = hashlib.sha256(keys.tobytes()).hexdigest()[:32]
        with atomic_write(self._folder / f"{name}.npy") as file:
            np.save(file, np.ascontiguousarray(vectors[first], dtype=np.float32))
        with atomic_write(self._folder / f"{name}.keys.npy") as file:
            np.save(file, np.frombuffer(keys.tobytes(), dtype=np.uint8).reshape(-1, 16))
        self._open(self._folder / f"{name}.keys.npy")

    def _open(self, keys: Path) -> None:
        vectors = keys.with_name(keys.name.replace(".keys", ""))
        try:
            found = np.load(keys, allow_pickle=False)
            shape = np.load(vectors, mmap_mode="r", allow_pickle=False).shape
            if shape != (len(found), self._width) or found.shape[1:] != (16,):
                raise ValueError("its parts do not fit together")
            size = vectors.stat().st_size
        except NPZ_DAMAGE:
            keys.unlink(missing_ok=True)  # it is made again
            return
        self._parts.append((vectors, np.frombuffer(found.tobytes(), dtype="S16")))
        self._offsets.append(size - 4 * self._width * len(found))

    def _rows(self, number: int, rows: NDArray[np.int64]) -> Vectors:
        """Rows of a part, without a map of the file: mapped pages would count as memory of the process."""
        path = self._parts[number][0]
        low, high = int(rows.min()), int(rows.max()) + 1
        width = 4 * self._width
        with path.open("rb") as file:
            if high - low <= _DENSE * len(rows):
                file.seek(self._offsets[number] + low * width)
                stretch: Vectors = np.fromfile(file, np.float32, (high - low) * self._width)
                return stretch.reshape(-1, self._width)[rows - low]
            found = np.empty((len(rows), self._width), dtype=np.float32)
            for place, row in enumerate(rows.tolist()):
                file.seek(self._offsets[number] + row * width)
                found[place] = np.fromfile(file, np.float32, self._width)
            return found
