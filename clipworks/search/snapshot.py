"""An index as plain files that never change: how the gallery is shipped, and what older versions wrote.

The folder holds `vectors.G.npy` (float32 or float16 [N, D], unit rows), `items.G.jsonl` (row i describes
vector i) and `manifest.json`, which names the generation G and is written last. Equal indexes are
equal in every byte. `library.py` opens it, and `build.py` makes a library of it.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipworks.errors import DataError
from clipworks.files import MANIFEST, atomic_write, read_manifest, sha256_file, write_manifest
from clipworks.search.store import FileStamp, IndexHeader, Item, Vectors

FORMAT = "clipworks-index"
VERSION = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """An index folder of this form, opened."""

    folder: Path
    header: IndexHeader
    rows: list[bytes]
    """A JSON object each."""
    vectors: Vectors
    """float32 or float16 [N, D], rows of unit length, memory-mapped and read-only."""

    def entries(self) -> Iterator[tuple[Item, FileStamp]]:
        """Every item with the stamp of its file, in the order of the vectors.

        Raises:
            DataError: a row is damaged.
        """
        for line in self.rows:
            try:
                row: dict[str, Any] = json.loads(line)
                stamp = FileStamp(**row.pop("file"))
                path = os.path.normpath(os.path.join(self.folder, self.header.root, row["id"]))
                yield Item(path=path, **row), stamp
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"The index {self.folder} is damaged: {error}.", _REBUILD) from error


def read_snapshot(place: Path) -> Snapshot:
    """Open an index folder of this form.

    Raises:
        DataError: no index there, an unfinished one, or files that do not belong together.
    """
    manifest = read_manifest(place)
    if manifest.get("format") != FORMAT:
        raise DataError(f"{place} is not an index of pictures.", "Build one with `clipworks index`.")
    if manifest.get("version") not in (1, VERSION):
        raise DataError(
            f"The index {place} has version {manifest.get('version')}; this program reads 1 and {VERSION}.",
            "Build it anew with `clipworks index`.",
        )
    try:
        header = _read_header(manifest)
        vectors_name, items_name = _file_names(manifest.get("generation", ""))
        rows = (place / items_name).read_bytes().splitlines()
        vectors = np.load(place / vectors_name, mmap_mode="r", allow_pickle=False)
    except (KeyError, TypeError, ValueError, OSError) as error:
        if read_manifest(place) != manifest:
            return read_snapshot(place)  # an update ended between the two reads
        raise DataError(f"The index {place} is damaged: {error}.", _REBUILD) from error
    if vectors.shape != (manifest["count"], header.dim) or len(rows) != manifest["count"]:
        raise DataError(
            f"The index {place} is damaged: {len(rows)} items, {vectors.shape} vectors, "
            f"{manifest['count']} in the manifest.",
            _REBUILD,
        )
    return Snapshot(folder=place, header=header, rows=rows, vectors=vectors)


def _read_header(manifest: dict[str, Any]) -> IndexHeader:
    values = manifest["header"]
    if manifest["version"] == 1:
        values = {**values, "preprocess": ""}
    return IndexHeader.from_json(values)


_REBUILD = "Delete the folder and build it anew with `clipworks index`."


def stamp_of(path: Path, known: FileStamp | None = None) -> FileStamp:
    """The stamp of a file as it is now; its bytes are not read where size and time are those of `known`."""
    status = path.stat()
    size, mtime = status.st_size, status.st_mtime_ns
    same = known is not None and (known.size_bytes, known.mtime_ns) == (size, mtime)
    digest = known.sha256 if known is not None and same else sha256_file(path)
    return FileStamp(size_bytes=size, mtime_ns=mtime, sha256=digest)


def write_index(
    folder: Path, header: IndexHeader, entries: Sequence[tuple[Item, FileStamp]], vectors: Vectors
) -> None:
    """Write an index folder; an index that was there can be read until the new one is complete.

    The new files have names of their own. The manifest, which names them, is renamed into place last;
    then the old files go, and with them what a killed build left.

    Args:
        folder: where; made if need be.
        header: what the manifest says.
        entries: item and stamp per vector, in order.
        vectors: float32 or float16 [len(entries), header.dim], rows of unit length.
    """
    assert vectors.shape == (len(entries), header.dim)
    vectors = np.ascontiguousarray(vectors)
    rows = [_row(item, stamp) for item, stamp in entries]
    generation = _generation_of(rows, vectors)
    vectors_name, items_name = _file_names(generation)
    with atomic_write(folder / vectors_name) as file:
        np.save(file, vectors)
    with atomic_write(folder / items_name) as file:
        file.writelines(rows)
    values = {"format": FORMAT, "version": VERSION, "count": len(entries), "generation": generation}
    write_manifest(folder, {**values, "header": asdict(header)})
    for path in folder.iterdir():
        if path.name not in (vectors_name, items_name) and _OWN_NAMES.fullmatch(path.name):
            with suppress(OSError):  # Windows keeps what a reader has mapped; the next build removes it
                path.unlink()


def remove_snapshot(folder: Path) -> None:
    """Remove the files of an index of this form, and what killed builds left of it; other files stay."""
    for path in folder.iterdir():
        if path.name == MANIFEST or _OWN_NAMES.fullmatch(path.name):
            path.unlink(missing_ok=True)
    shutil.rmtree(folder / "parts", ignore_errors=True)  # of an interrupted build


def root_from(out: Path, root: Path) -> str:
    """The indexed folder as the header says it."""
    try:
        return Path(os.path.relpath(root, out)).as_posix()
    except ValueError:  # another drive on Windows
        return str(root.resolve())


def _generation_of(rows: Sequence[bytes], vectors: Vectors) -> str:
    """16 hex digits of a hash of the content, so that equal indexes are equal in every byte."""
    digest = hashlib.sha256(vectors.reshape(-1).data)
    for row in rows:
        digest.update(row)
    return digest.hexdigest()[:16]


def _file_names(generation: str) -> tuple[str, str]:
    """Names of the vectors and of the items; version 1 had no generations."""
    mark = f".{generation}" if generation else ""
    return f"vectors{mark}.npy", f"items{mark}.jsonl"


_OWN_NAMES = re.compile(
    r"(vectors|items)(\.[0-9a-f]{16})?\.(npy|jsonl)"  # of this or an earlier generation
    r"|\.((vectors|items)\.[0-9a-f]{16}\.(npy|jsonl)|manifest\.json)\.\w+"  # never finished
)


def _row(item: Item, stamp: FileStamp) -> bytes:
    values = {name: value for name, value in asdict(item).items() if name in _ALWAYS or value}
    del values["path"]
    line = json.dumps({**values, "file": asdict(stamp)}, ensure_ascii=False)
    return line.encode(errors="replace") + b"\n"  # half a surrogate pair in a caption is no UTF-8


_ALWAYS = ("id", "path", "caption", "licence", "author", "source", "details")
