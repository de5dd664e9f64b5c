"""The pictures of one file of a data set, with everything that is known of them, as columns.

A tar of webdataset samples is read in one pass and kept in the cache by its content, so that the next run
looks at the bytes of the file only to hash them. Metadata stand in the rows of their pictures: the order of
shards, or of workers, cannot part them.
"""

import hashlib
import io
import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import DataError
from clipworks.files import NPZ_DAMAGE, atomic_write, cache_folder, sha256_file

IMAGE_SUFFIXES = ("webp", "png", "jpg", "jpeg")

Digests = NDArray[np.bytes_]
"""S16 [N]: the first 16 bytes of the sha256 of each picture's bytes."""

ZIP_DAMAGE = (OSError, EOFError, RuntimeError, KeyError, zipfile.BadZipFile, zlib.error)
"""What zipfile may raise of an archive that is missing, cut, changed, of another kind or locked."""

_NAME = re.compile(r"(?:\./)*(?P<key>(?:.*/)?[^./]+)\.(?P<suffix>[^/]*)", re.DOTALL)
_BLOCK = 512
_BUFFER_BYTES = 1 << 20
_VERSION = "1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Pictures of one file, N of them, in its order."""

    path: Path
    """A tar, a zip, or a folder of files."""
    sha256: str
    """Of the file; of names and digests for a folder. 64 hex characters."""
    keys: tuple[str, ...]
    """Their names."""
    digests: Digests
    """What their bytes are."""
    places: NDArray[np.int64]
    """int64 [N, 2]: offset and bytes in a tar; empty for others, which are found by name."""
    labels: NDArray[np.int64]
    """int64 [N], or empty where there are none."""
    columns: NDArray[np.int64]
    """int64 [N, M]: numbers from `.npy` members; M is 0 where there are none."""
    texts: tuple[tuple[str, ...], ...]
    """Captions of each, or empty."""

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, rows: Sequence[int]) -> Iterator[bytes]:
        """The encoded pictures of some rows.

        Raises:
            DataError: the file is gone or has changed.
        """
        try:
            if self.path.is_dir():
                yield from ((self.path / self.keys[row]).read_bytes() for row in rows)
            elif len(self.places):
                with self.path.open("rb") as file:
                    for row in rows:
                        offset, size = self.places[row].tolist()
                        file.seek(offset)
                        yield file.read(size)
            else:
                with zipfile.ZipFile(self.path) as archive:
                    yield from (archive.read(self.keys[row]) for row in rows)
        except ZIP_DAMAGE as error:
            raise DataError(f"{self.path} cannot be read: {error}.", "Copy it again.") from error


def digest_of(data: bytes | memoryview) -> bytes:
    """What a picture or a text is known by in the cache, 16 bytes."""
    return hashlib.sha256(data).digest()[:16]


def as_digests(found: Sequence[bytes]) -> Digests:
    """Digests as a column, S16 [N]."""
    return np.frombuffer(b"".join(found), dtype="S16") if found else np.empty(0, dtype="S16")


def read_tar(path: Path) -> Pictures:
    """The pictures of a tar of webdataset samples, from the cache where it was read before.

    A sample is neighbouring members with one key: a picture (`.webp`, `.png`, `.jpg`, `.jpeg`), and of `.cls`
    (a whole number), `.npy` (a vector of whole numbers) and `.txt` (captions, one a line, inner line breaks
    as `\\n`) what there is.

    Raises:
        DataError: the file is missing, cut or damaged, or a sample lacks its picture or has a damaged part.
    """
    if not path.is_file():
        raise DataError(f"The shard {path} is missing.", "Copy or download the data again.")
    sha256 = file_digest(path)
    kept = cache_folder() / "evaluation" / "shards" / f"{sha256[:32]}-{_VERSION}.npz"
    try:
        return _read_kept(kept, path, sha256)
    except NPZ_DAMAGE:
        pictures = _scan(path, sha256)
        _keep(kept, pictures)
        return pictures


def file_digest(path: Path) -> str:
    """sha256 of a file, read once by a process as long as its size and time stay; 64 hex characters."""
    found = path.stat()
    return _hash(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=1 << 16)
def _hash(path: Path, size: int, time_ns: int) -> str:
    return sha256_file(path)


def _read_kept(kept: Path, path: Path, sha256: str) -> Pictures:
    with kept.open("rb") as file, np.load(file, allow_pickle=False) as found:
        words = json.loads(found["words"].tobytes())
        return Pictures(
            path=path,
            sha256=sha256,
            keys=tuple(words["keys"]),
            digests=as_digests([found["digests"].tobytes()]),
            places=found["places"],
            labels=found["labels"],
            columns=found["columns"],
            texts=tuple(map(tuple, words["texts"])),
        )


def _keep(kept: Path, pictures: Pictures) -> None:
    words = json.dumps({"keys": pictures.keys, "texts": pictures.texts}, ensure_ascii=False).encode()
    with atomic_write(kept) as file:
        np.savez(
            file,
            words=np.frombuffer(words, dtype=np.uint8),
            digests=np.frombuffer(pictures.digests.tobytes(), dtype=np.uint8),
            places=pictures.places,
            labels=pictures.labels,
            columns=pictures.columns,
        )


def _scan(path: Path, sha256: str) -> Pictures:
    """Read a tar once."""
    keys, digests, places = list[str](), list[bytes](), list[tuple[int, int]]()
    labels, columns, texts = list[int](), list[NDArray[np.int64]](), list[tuple[str, ...]]()
    with path.open("rb", buffering=_BUFFER_BYTES) as file:
        for key, members in _samples(path, file):
            image = next((members[suffix] for suffix in IMAGE_SUFFIXES if suffix in members), None)
            if image is None:
                raise DataError(f"Sample {key} in {path} has no picture ({', '.join(IMAGE_SUFFIXES)}).")
            keys.append(key)
            places.append(image)
            digests.append(digest_of(_bytes_at(file, *image)))
            parts = {
                part: _bytes_at(file, *members[part]) for part in ("cls", "npy", "txt") if part in members
            }
            if "cls" in parts:
                labels.append(_label(parts["cls"], key, path))
            if "npy" in parts:
                columns.append(_vector(parts["npy"], key, path))
            if "txt" in parts:
                texts.append(_captions(parts["txt"], key, path))
    for what, number in (("cls", len(labels)), ("npy", len(columns)), ("txt", len(texts))):
        if number not in (0, len(keys)):
            raise DataError(f"{number} of {len(keys)} samples in {path} have a .{what}.", "Make it again.")
    if len({len(vector) for vector in columns}) > 1:
        raise DataError(f"The .npy members in {path} differ in length.", "Make the shard again.")
    return Pictures(
        path=path,
        sha256=sha256,
        keys=tuple(keys),
        digests=as_digests(digests),
        places=np.array(places, dtype=np.int64).reshape(-1, 2),
        labels=np.array(labels, dtype=np.int64),
        columns=np.stack(columns) if columns else np.empty((len(keys), 0), dtype=np.int64),
        texts=tuple(texts),
    )


def _samples(path: Path, file: IO[bytes]) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
    """Key and members, suffix -> offset and bytes, of each sample."""
    key, members = "", dict[str, tuple[int, int]]()
    for name, offset, size in _members(path, file):
        found = _NAME.fullmatch(name)
        if found is None:
            continue
        suffix = found["suffix"].lower()
        if members and (found["key"] != key or suffix in members):
            yield key, members
            members = {}
        key = found["key"]
        members[suffix] = (offset, size)
    if members:
        yield key, members


def _members(path: Path, file: IO[bytes]) -> Iterator[tuple[str, int, int]]:
    """Name, offset and bytes of each file in a tar, without tarfile's half a second for 10,000 of them.

    Headers of a kind that plain tars do not have (long names, sparse files) are left to tarfile.
    """
    at, found = 0, list[tuple[str, int, int]]()
    whole = path.stat().st_size
    while at + _BLOCK <= whole:
        header = _bytes_at(file, at, _BLOCK)
        if not any(header):
            break
        kind = header[156:157]
        checksum = sum(header[:148]) + 8 * 32 + sum(header[156:])
        size = _octal(header[124:136])
        if size is None or _octal(header[148:156]) != checksum or at + _BLOCK + size > whole:
            raise DataError(f"The shard {path} is cut or damaged.", "Copy or download it again.")
        content = _bytes_at(file, at + _BLOCK, size) if kind in b"xg" else b""
        if kind not in (b"0", b"\0", b"5", b"x", b"g") or b" path=" in content or b" size=" in content:
            yield from _slow_members(path)
            return
        if kind in (b"0", b"\0"):
            prefix = header[345:500].partition(b"\0")[0] if header[257:262] == b"ustar" else b""
            name = header[:100].partition(b"\0")[0]
            joined = prefix + b"/" + name if prefix else name
            found.append((joined.decode("utf-8", "surrogateescape"), at + _BLOCK, size))
        at += _BLOCK + -(-size // _BLOCK) * _BLOCK
    else:
        raise DataError(f"The shard {path} is cut or damaged.", "Copy or download it again.")
    yield from found


def _bytes_at(file: IO[bytes], offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _slow_members(path: Path) -> Iterator[tuple[str, int, int]]:
    try:
        with tarfile.open(path, "r:") as tar:
            yield from ((one.name, one.offset_data, one.size) for one in tar if one.isreg())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"The shard {path} cannot be read: {error}.", "Copy it again.") from error


def _octal(field: bytes) -> int | None:
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        return None


def _label(data: bytes, key: str, path: Path) -> int:
    try:
        return int(data)
    except ValueError as error:
        raise DataError(f"Sample {key} in {path} has the label {data[:20]!r}, no whole number.") from error


def _vector(data: bytes, key: str, path: Path) -> NDArray[np.int64]:
    try:
        vector = np.load(io.BytesIO(data), allow_pickle=False)
        whole: NDArray[np.int64] = vector.astype(np.int64)
        if vector.ndim != 1 or not np.array_equal(whole, vector):
            raise ValueError("it is no vector of whole numbers")
    except NPZ_DAMAGE as error:
        raise DataError(f"Sample {key} in {path} has a .npy that cannot be used: {error}.") from error
    return whole


def _captions(data: bytes, key: str, path: Path) -> tuple[str, ...]:
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"Sample {key} in {path} has captions that are not UTF-8.") from error
    return tuple(line.replace("\\n", "\n") for line in lines if line.strip())
