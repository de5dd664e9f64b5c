"""An unfinished vectors file: what is embedded so far, kept in `OUT.parts/` until OUT can be written whole.

`job.json` holds the settings, `00000.npz`, `00001.npz`, ... the results, each written at once. A part
names what it was made of by a digest: one that does not fit the input any more is made again.
"""

import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import ConfigError, DataError
from clipworks.files import NPZ_DAMAGE, atomic_write, read_json, write_json
from clipworks.search.entries import Failure, Kind

Dtype = Literal["f32", "f16"]
"""How the numbers of the vectors are stored."""

FORMAT = "clipworks vectors 1"

_JOB = "job.json"
_LOCK = "lock"
_NUMBERS: dict[Dtype, type] = {"f32": np.float32, "f16": np.float16}


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What made the vectors of a file; any other value makes other bytes."""

    model: str
    """As in `Engine`."""
    fingerprint: str
    """As in `Engine`."""
    precision: str
    """As in `Engine`."""
    preprocess: str
    """As in `Engine`."""
    dim: int
    """Numbers of a vector."""
    dtype: Dtype
    """How they are stored."""
    batch_size: int
    """Pictures per forward pass; another one changes the last digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """What a part says beside its vectors."""

    digest: str
    """sha256 of the part's entries, 64 hex characters."""
    items: Sequence[str]
    """File name or text of each vector, without characters that UTF-8 cannot hold."""
    kinds: Sequence[Kind]
    """Kind of each vector."""
    failures: Sequence[Failure]
    """Entries of this part that gave no vector."""


class Parts:
    """The parts of one output, in order; made by `open_parts`."""

    def __init__(self, folder: Path, header: Header) -> None:
        self.folder = folder
        self.header = header
        self.num_parts = 0
        """Parts that belong to the output; set by who knows the whole input."""

    def find(self, number: int, digest: str) -> Rows | None:
        """The part of this number if it is there and was made of the same entries."""
        try:
            rows = self._read(number)
        except NPZ_DAMAGE:
            return None  # missing, or damaged by something else than us: it is made again
        return rows if rows.digest == digest else None

    def write(self, number: int, rows: Rows, vectors: Sequence[NDArray[np.float32]]) -> None:
        """Keep a part.

        Raises:
            DataError: the disk is full or cannot be written.
        """
        numbers: NDArray[Any] = np.zeros((len(vectors), self.header.dim), dtype=_NUMBERS[self.header.dtype])
        if vectors:
            numbers[:] = np.stack(vectors)
        text = json.dumps(asdict(rows)).encode()
        with writing(self._path(number)) as file:
            np.savez(file, rows=np.frombuffer(text, dtype=np.uint8), vectors=numbers)

    def rows(self) -> Iterator[Rows]:
        """What each part says, in order, one in memory at a time."""
        return (self._read(number) for number in range(self.num_parts))

    def vectors(self) -> Iterator[NDArray[Any]]:
        """float16 or float32 [n, dim] of each part, in order, one in memory at a time."""
        for number in range(self.num_parts):
            with np.load(self._path(number), allow_pickle=False) as part:
                yield part["vectors"]

    def _read(self, number: int) -> Rows:
        # Opened here, since numpy leaves a damaged file open.
        with self._path(number).open("rb") as file, np.load(file, allow_pickle=False) as part:
            values = json.loads(part["rows"].tobytes())
            if part["vectors"].shape != (len(values["items"]), self.header.dim):
                raise ValueError("another number of vectors")
        failures = [Failure(**failure) for failure in values.pop("failures")]
        return Rows(failures=failures, **values)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.npz"


@contextmanager
def open_parts(folder: Path, header: Header) -> Iterator[Parts]:
    """Begin a folder of parts, or go on with it; removed when the block ends without an error.

    Raises:
        ConfigError: the folder was begun by another model or with other settings.
        DataError: another process is writing it, it holds other files, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("ab")
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror}.", "Choose another --out.") from error
    with lock:
        _take(lock, folder)
        try:
            _begin(folder, header)
        except OSError as error:
            raise DataError(
                f"{folder} cannot be written: {error.strerror or error}.",
                "Make room, or choose another --out.",
            ) from error
        yield Parts(folder, header)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """`atomic_write` with its OSErrors turned into ours.

    Raises:
        DataError: the disk is full or cannot be written.
    """
    try:
        with atomic_write(path) as file:
            yield file
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}.",
            "Make room and repeat the command: it goes on where it stopped.",
        ) from error


def _take(lock: IO[bytes], folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise DataError(
            f"{folder} is being written by another process.", "Wait for it, or choose another --out."
        ) from error


def _begin(folder: Path, header: Header) -> None:
    job = {"format": FORMAT, **asdict(header)}
    if (folder / _JOB).exists():
        begun = read_json(folder / _JOB)
        for name, value in job.items():
            if not isinstance(begun, dict) or begun.get(name) != value:
                old = begun.get(name) if isinstance(begun, dict) else begun
                raise ConfigError(
                    f"{folder} was begun with {name} {old!r}, not {value!r}.",
                    "Use the same settings, choose another --out, or delete that folder.",
                )
    elif any(path.name != _LOCK and not path.name.startswith(f".{_JOB}") for path in folder.iterdir()):
        raise DataError(f"{folder} holds other files.", "Choose another --out.")
    else:
        write_json(folder / _JOB, job)
