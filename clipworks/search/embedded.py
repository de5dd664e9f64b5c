"""The vector store in a local folder: exact scan over a memory-mapped matrix.

The folder holds `vectors.G.npy` (float32 [N, D], unit rows), `items.G.jsonl` (row i describes
vector i) and `manifest.json`, which names the generation G and is written last. `build.py` writes
it with `write_index`; `open_index` reads it.
The scan is one matrix product, so a million 512-d vectors take about a second on two cores.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipworks.errors import ConfigError, DataError
from clipworks.files import MANIFEST, atomic_write, read_manifest, sha256_file, write_manifest
from clipworks.search.store import Hit, Item, Relevance, Vectors

FORMAT = "clipworks-index"
VERSION = 2
_SCAN_ROWS = 65_536


@dataclass(frozen=True, kw_only=True, slots=True)
class FileStamp:
    """What tells whether a picture file changed since it was embedded."""

    size_bytes: int
    """Length of the file."""
    mtime_ns: int
    """Time of its last change, nanoseconds since 1970."""
    sha256: str
    """Hex digest of its bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexHeader:
    """What an index says of itself in its manifest."""

    model: str
    """What `clipworks.load` takes to load the checkpoint again."""
    fingerprint: str
    """Fingerprint of the checkpoint; queries by any other are refused."""
    precision: str
    """Precision of the executor that made the vectors."""
    preprocess: str
    """How pictures became pixels; empty in an index of version 1, which does not say."""
    dim: int
    """Length of a vector."""
    root: str
    """The indexed folder, relative to the index folder, or absolute where that cannot be said."""
    relevance: Relevance
    """Thresholds measured when the index was built."""


class EmbeddedStore:
    """An index folder opened for reading; a `VectorStore`. Safe to query from several threads."""

    def __init__(self, folder: Path, header: IndexHeader, rows: list[bytes], vectors: Vectors) -> None:
        self.folder = folder
        self.header = header
        self._rows = rows
        self._vectors = vectors
        self._places: dict[str, int] = {}

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the checkpoint that made the vectors."""
        return self.header.fingerprint

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.header.dim

    @property
    def relevance(self) -> Relevance:
        """The thresholds measured when the index was built."""
        return self.header.relevance

    @property
    def vectors(self) -> Vectors:
        """float32 [N, D], rows of unit length, memory-mapped and read-only."""
        return self._vectors

    def count(self) -> int:
        """How many pictures the index holds."""
        return len(self._rows)

    def get(self, item_id: str) -> Item | None:
        """The item with this id, or None."""
        place = self._place_of(item_id)
        return None if place is None else self._item(place)

    def entries(self) -> Iterator[tuple[Item, FileStamp]]:
        """Every item with the stamp of its file, in the order of the vectors."""
        for place, row in enumerate(self._rows):
            yield self._item(place), FileStamp(**json.loads(row)["file"])

    def query(self, vector: Vectors, limit: int) -> list[Hit]:
        """The `limit` pictures nearest to a vector, best first; equal scores in index order.

        Args:
            vector: float32 [dim], unit length.
            limit: how many hits, at least 1.

        Raises:
            ConfigError: limit below 1, or a vector of another length.
        """
        if limit < 1:
            raise ConfigError(f"limit is {limit}; it must be at least 1.")
        if vector.shape != (self.dim,):
            raise ConfigError(
                f"The query vector has the shape {vector.shape}; the index needs ({self.dim},)."
            )
        scores = self._scores(vector)
        last = len(scores) - min(limit, len(scores))
        cut = np.partition(scores, last)[last]
        above, equal = np.flatnonzero(scores > cut), np.flatnonzero(scores == cut)
        best = np.concatenate([above, equal])[:limit]
        order = best[np.argsort(-scores[best], kind="stable")]
        return [self._hit(int(place), float(scores[place])) for place in order]

    def _scores(self, vector: Vectors) -> Vectors:
        scores = np.empty(len(self._rows), dtype=np.float32)
        for start in range(0, len(scores), _SCAN_ROWS):
            block = slice(start, start + _SCAN_ROWS)
            scores[block] = self._vectors[block] @ vector
        return scores

    def _place_of(self, item_id: str) -> int | None:
        if not self._places:
            self._places = {json.loads(row)["id"]: place for place, row in enumerate(self._rows)}
        return self._places.get(item_id)

    def _item(self, place: int) -> Item:
        row: dict[str, Any] = json.loads(self._rows[place])
        row.pop("file")
        path = os.path.normpath(os.path.join(self.folder, self.header.root, row["id"]))
        return Item(path=path, **row)

    def _hit(self, place: int, score: float) -> Hit:
        return Hit(score=score, **asdict(self._item(place)))


def open_index(folder: Path) -> EmbeddedStore:
    """Open an index folder, or a folder of pictures whose index lies in its `.clipworks`.

    Raises:
        DataError: no index there, an unfinished one, or files that do not belong together.
    """
    place = find_index(folder)
    manifest = read_manifest(place)
    if manifest.get("format") != FORMAT:
        raise DataError(f"{place} is not an index of pictures.", f"Build one with: clipworks index {folder}")
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
            return open_index(folder)  # an update ended between the two reads
        raise DataError(f"The index {place} is damaged: {error}.", _REBUILD) from error
    if vectors.shape != (manifest["count"], header.dim) or len(rows) != manifest["count"]:
        raise DataError(
            f"The index {place} is damaged: {len(rows)} items, {vectors.shape} vectors, "
            f"{manifest['count']} in the manifest.",
            _REBUILD,
        )
    return EmbeddedStore(place, header, rows, vectors)


def _read_header(manifest: dict[str, Any]) -> IndexHeader:
    values = manifest["header"]
    if manifest["version"] == 1:
        values = {**values, "preprocess": ""}
    return IndexHeader(**{**values, "relevance": Relevance(**values["relevance"])})


_REBUILD = "Delete the folder and build it anew with `clipworks index`."


def find_index(folder: Path) -> Path:
    """The index folder meant by a path: itself, or the `.clipworks` inside a folder of pictures.

    Raises:
        DataError: neither holds an index.
    """
    for place in (folder, default_place(folder)):
        if (place / MANIFEST).is_file():
            return place
    if not folder.exists():
        raise DataError(f"{folder} does not exist.", "Check the path.")
    raise DataError(f"There is no finished index in {folder}.", f"Build one with: clipworks index {folder}")


def default_place(folder: Path) -> Path:
    """Where the index of a folder of pictures lies unless another place is asked for."""
    return folder / ".clipworks"


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
        vectors: float32 [len(entries), header.dim], rows of unit length.
    """
    assert vectors.shape == (len(entries), header.dim) and vectors.dtype == np.float32
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
    values = asdict(item)
    del values["path"]
    line = json.dumps({**values, "file": asdict(stamp)}, ensure_ascii=False)
    return line.encode(errors="replace") + b"\n"  # half a surrogate pair in a caption is no UTF-8
