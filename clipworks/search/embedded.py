"""The vector store in a local folder: exact scan over a memory-mapped matrix.

The folder holds `vectors.npy` (float32 [N, D], unit rows), `items.jsonl` (row i describes vector
i) and, last, `manifest.json`. `build.py` writes it with `write_index`; `open_index` reads it.
The scan is one matrix product, so a million 512-d vectors take about a second on two cores.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipworks.errors import ConfigError, DataError
from clipworks.files import MANIFEST, atomic_write, read_manifest, sha256_file, write_manifest
from clipworks.search.store import Hit, Item, Relevance, Vectors

FORMAT = "clipworks-index"
VERSION = 1
ITEMS = "items.jsonl"
VECTORS = "vectors.npy"
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

    def add(self, items: Sequence[Item], vectors: Vectors) -> None:
        """Add pictures with their vectors and rewrite the folder; an id that is there is replaced.

        The thresholds stay those of the last build.

        Args:
            items: pictures whose `path` can be read now (their stamps are taken from it).
            vectors: float32 [len(items), dim], rows of unit length.

        Raises:
            ConfigError: the shape does not fit.
        """
        if vectors.shape != (len(items), self.dim):
            raise ConfigError(
                f"{vectors.shape} vectors were given for {len(items)} items of an index of dim {self.dim}."
            )
        added = {item.id for item in items}
        kept = [(item, stamp) for item, stamp in self.entries() if item.id not in added]
        rows = [place for place, (item, _) in enumerate(self.entries()) if item.id not in added]
        entries = [*kept, *((item, stamp_of(Path(item.path))) for item in items)]
        merged = np.concatenate([self._vectors[rows], vectors]).astype(np.float32)
        write_index(self.folder, self.header, entries, merged)
        fresh = open_index(self.folder)
        self._rows, self._vectors, self._places = fresh._rows, fresh._vectors, {}

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
        limit = min(limit, len(scores))
        best = np.argpartition(-scores, limit - 1)[:limit]
        order = best[np.lexsort((best, -scores[best]))]
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
    if manifest.get("version") != VERSION:
        raise DataError(
            f"The index {place} has version {manifest.get('version')}; this program reads {VERSION}.",
            "Build it anew with `clipworks index`.",
        )
    try:
        header = _read_header(manifest["header"])
        rows = (place / ITEMS).read_bytes().splitlines()
        vectors = np.load(place / VECTORS, mmap_mode="r", allow_pickle=False)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise DataError(f"The index {place} is damaged: {error}.", _REBUILD) from error
    if vectors.shape != (manifest["count"], header.dim) or len(rows) != manifest["count"]:
        raise DataError(
            f"The index {place} is damaged: {len(rows)} items, {vectors.shape} vectors, "
            f"{manifest['count']} in the manifest.",
            _REBUILD,
        )
    return EmbeddedStore(place, header, rows, vectors)


def _read_header(values: dict[str, Any]) -> IndexHeader:
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


def stamp_of(path: Path, *, sha256: str | None = None) -> FileStamp:
    """The stamp of a file as it is now; `sha256` is computed unless given."""
    status = path.stat()
    digest = sha256_file(path) if sha256 is None else sha256
    return FileStamp(size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, sha256=digest)


def write_index(
    folder: Path, header: IndexHeader, entries: Sequence[tuple[Item, FileStamp]], vectors: Vectors
) -> None:
    """Write an index folder, manifest last; an index that was there is replaced.

    Args:
        folder: where; made if need be.
        header: what the manifest says.
        entries: item and stamp per vector, in order.
        vectors: float32 [len(entries), header.dim], rows of unit length.
    """
    assert vectors.shape == (len(entries), header.dim) and vectors.dtype == np.float32
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / VECTORS) as vector_file, atomic_write(folder / ITEMS) as item_file:
        np.save(vector_file, np.ascontiguousarray(vectors))
        item_file.writelines(_row(item, stamp) for item, stamp in entries)
        (folder / MANIFEST).unlink(missing_ok=True)
    values = {"format": FORMAT, "version": VERSION, "count": len(entries), "header": asdict(header)}
    write_manifest(folder, values)


def _row(item: Item, stamp: FileStamp) -> bytes:
    values = asdict(item)
    del values["path"]
    return json.dumps({**values, "file": asdict(stamp)}, ensure_ascii=False).encode() + b"\n"
