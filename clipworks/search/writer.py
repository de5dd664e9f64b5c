"""The one who writes a library: pictures come, change, move and go in transactions.

A transaction is there whole or not at all: a writer that is killed leaves the library as it was before
the last one began. `build.py` decides what is written.
"""

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clipworks.errors import DataError
from clipworks.files import exclusive_lock
from clipworks.search import matrix, schema
from clipworks.search.exif import PictureFacts
from clipworks.search.store import Halves, IndexHeader, Slots
from clipworks.search.videos import file_of

_LOCK = ".lock"
_WORDS_APART = str.maketrans("/\\_-.", "     ")


class Known(NamedTuple):
    """What the library knows of a picture's file; a tuple, since a run makes one for each picture."""

    slot: int
    size_bytes: int
    mtime_ns: int
    sha256: bytes
    said: int
    """A number that changes with what captions file and sidecars say."""
    is_current: bool
    """Whether its vector is what the engine of today would make."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A picture to write."""

    id: str
    sha256: bytes
    size_bytes: int
    mtime_ns: int
    said: int
    facts: PictureFacts
    columns: dict[str, Any]
    """Of the captions file: caption, licence, author, source, details."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """What is written together."""

    new: Sequence[tuple[Record, Halves]] = ()
    """Pictures with their vectors, float16 [D]; one whose id is there takes its place."""
    updated: Sequence[tuple[int, Record]] = ()
    """Slots that keep their vectors and get this record: moved, touched, or with another caption."""
    gone: Sequence[str] = ()
    """Ids."""
    failed: Sequence[tuple[str, int, int, str]] = ()
    """Id, size in bytes, time of change and reason."""


class Writer:
    """A library opened for writing, by one process at a time."""

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        """Begin on a database with tables; in memory, vectors are left to the caller."""
        self.folder = folder
        self._is_in_memory = not connection.execute("PRAGMA database_list").fetchone()[2]
        self._connection = connection
        settings = schema.settings_of(connection)
        self._revision: int = settings["revision"]
        self.header = schema.header_of(settings, folder) if "header" in settings else None
        self._maker = -1
        self._free: list[int] = [
            slot for (slot,) in connection.execute("SELECT slot FROM freed ORDER BY slot DESC")
        ]
        query = "SELECT max(slot) FROM (SELECT slot FROM pictures UNION ALL SELECT slot FROM freed)"
        last = connection.execute(query).fetchone()[0]
        self._next: int = 0 if last is None else last + 1

    def begin(self, header: IndexHeader) -> None:
        """Say by whom vectors are made from now on, and where the pictures lie."""
        made = (header.precision, header.preprocess)
        find = "SELECT maker FROM makers WHERE precision = ? AND preprocess = ?"
        with self._transaction():
            if self._connection.execute(find, made).fetchone() is None:
                self._connection.execute("INSERT INTO makers (precision, preprocess) VALUES (?, ?)", made)
            self._put_header(header)
        (self._maker,) = self._connection.execute(find, made).fetchone()

    def known(self) -> dict[str, Known]:
        """Every picture by its id."""
        query = "SELECT id, slot, size_bytes, mtime_ns, sha256, said, maker FROM pictures"
        return {
            row[0]: Known(
                slot=row[1],
                size_bytes=row[2],
                mtime_ns=row[3],
                sha256=row[4],
                said=row[5],
                is_current=self._maker in (-1, row[6]),
            )
            for row in self._connection.execute(query)
        }

    def failures(self) -> dict[str, tuple[int, int, str]]:
        """Size, time of change and reason of each file that could not be used, by its id."""
        query = "SELECT id, size_bytes, mtime_ns, reason FROM failures"
        return {row[0]: (row[1], row[2], row[3]) for row in self._connection.execute(query)}

    def slot_with(self, sha256: bytes) -> int | None:
        """A slot whose vector is that of a picture with these bytes, made as the engine of today makes it."""
        query = "SELECT slot FROM pictures WHERE sha256 = ? AND maker = ? LIMIT 1"
        row = self._connection.execute(query, (sha256, self._maker)).fetchone()
        return None if row is None else int(row[0])

    def count(self) -> int:
        """Pictures in the library."""
        return int(self._connection.execute("SELECT count(*) FROM pictures").fetchone()[0])

    def sample(self, most: int) -> Halves:
        """Vectors of pictures spread over the library, float16 [N, D], N at most about `most`."""
        slots = schema.slots_array(self._connection.execute("SELECT slot FROM pictures ORDER BY slot"))
        return self.rows(slots[:: max(1, -(-len(slots) // most))])

    def details(self, slots: Sequence[int]) -> dict[int, dict[str, Any]]:
        """The further columns of the pictures in slots."""
        find = "SELECT details FROM pictures WHERE slot = ?"
        return {slot: json.loads(self._connection.execute(find, (slot,)).fetchone()[0]) for slot in slots}

    def rows(self, slots: Slots) -> Halves:
        """The vectors in slots, float16 [len(slots), D]."""
        assert self.header is not None
        top = int(slots.max()) + 1 if len(slots) else 0
        return np.array(matrix.Matrix(self.folder / matrix.NAME, self.header.dim).rows(top)[slots])

    def write(self, batch: Batch) -> None:
        """Write a batch in one transaction.

        Raises:
            DataError: the disk does not take it.
        """
        assert self.header is not None
        with self._transaction():
            revision = self._raised_revision()
            replaced = [record.id for record, _ in batch.new]
            self._remove([*batch.gone, *replaced], revision)
            self._connection.executemany(
                "DELETE FROM failures WHERE id = ?",
                [(name,) for name in (*batch.gone, *replaced, *(record.id for _, record in batch.updated))],
            )
            for slot, record in batch.updated:
                self._update(slot, record, revision)
            if batch.new:
                self._insert(batch.new, revision)
            self._connection.executemany("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?)", batch.failed)

    def forget_failures(self, ids: Iterable[str]) -> None:
        """Drop what is said of files that are no more."""
        with self._transaction():
            self._connection.executemany("DELETE FROM failures WHERE id = ?", [(name,) for name in ids])

    def put(self, values: dict[str, Any]) -> None:
        """Write settings."""
        with self._transaction():
            schema.put_settings(self._connection, values)

    def settings(self) -> dict[str, Any]:
        """All settings."""
        return schema.settings_of(self._connection)

    def end(self, header: IndexHeader) -> None:
        """Write the header anew, with what was measured, and tidy up."""
        with self._transaction():
            self._put_header(header)
        with written(self.folder):
            self._connection.execute("PRAGMA optimize")
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _put_header(self, header: IndexHeader) -> None:
        self.header = header
        schema.put_settings(self._connection, {"header": asdict(header)})

    def _raised_revision(self) -> int:
        self._revision += 1
        schema.put_settings(self._connection, {"revision": self._revision})
        return self._revision

    def _insert(self, new: Sequence[tuple[Record, Halves]], revision: int) -> None:
        assert self.header is not None
        slots = np.array(sorted(self._taken_slot() for _ in new), dtype=np.int64)
        vectors = np.stack([vector for _, vector in new])
        if not self._is_in_memory:
            matrix.Matrix(self.folder / matrix.NAME, self.header.dim).write(slots, vectors)
        rows, told = [], []
        for slot, vector, (record, _) in zip(slots.tolist(), vectors, new, strict=True):
            facts, checksum = _facts(record), zlib.crc32(vector.tobytes())
            rows.append((slot, *_stamps(record), checksum, self._maker, record.said, revision, *facts))
            told.append((slot, record.id, facts))
        places = ", ".join("?" * len(schema.COLUMNS))
        names = ", ".join(schema.COLUMNS)
        self._connection.executemany(f"INSERT INTO pictures ({names}) VALUES ({places})", rows)
        self._connection.executemany("DELETE FROM freed WHERE slot = ?", [(slot,) for slot in slots.tolist()])
        self._put_words(told)

    def _update(self, slot: int, record: Record, revision: int) -> None:
        # Checksum and maker belong to the vector, which stays.
        names = [name for name in schema.COLUMNS[1:] if name not in ("checksum", "maker")]
        setters = ", ".join(f"{name} = ?" for name in names)
        facts = _facts(record)
        values = (*_stamps(record), record.said, revision, *facts, slot)
        self._connection.execute(f"UPDATE pictures SET {setters} WHERE slot = ?", values)
        self._drop_words([slot])
        self._put_words([(slot, record.id, facts)])

    def _remove(self, ids: Sequence[str], revision: int) -> None:
        slots: list[int] = []
        for name in ids:
            row = self._connection.execute(
                "DELETE FROM pictures WHERE id = ? RETURNING slot", (name,)
            ).fetchone()
            slots += row or ()
        self._connection.executemany(
            "INSERT OR REPLACE INTO freed VALUES (?, ?)", [(slot, revision) for slot in slots]
        )
        self._drop_words(slots)

    def _put_words(self, told: Sequence[tuple[int, str, tuple[Any, ...]]]) -> None:
        words, tagged = [], []
        for slot, name, facts in told:
            tags = json.loads(facts[_TAGS])
            name = file_of(name)[0]
            words.append((slot, name.translate(_WORDS_APART), facts[_CAPTION], " ".join(tags), facts[_PLACE]))
            tagged += [(tag, slot) for tag in tags]
        self._connection.executemany(
            "INSERT INTO words (rowid, name, caption, tags, place) VALUES (?, ?, ?, ?, ?)", words
        )
        self._connection.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?)", tagged)

    def _drop_words(self, slots: Sequence[int]) -> None:
        rows = [(slot,) for slot in slots]
        self._connection.executemany("DELETE FROM words WHERE rowid = ?", rows)
        self._connection.executemany("DELETE FROM tags WHERE slot = ?", rows)

    def _taken_slot(self) -> int:
        """A slot that was free before this writer came, or one more; what it freed may still be read."""
        if self._free:
            return self._free.pop()
        self._next += 1
        return self._next - 1

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with written(self.folder):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


@contextmanager
def open_writer(folder: Path) -> Iterator[Writer]:
    """The library of a folder for writing; made where there is none.

    Raises:
        DataError: another process writes it, it is damaged, or it cannot be written.
    """
    with ExitStack() as stack:
        with written(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(exclusive_lock(folder / _LOCK, wait=False))
            except BlockingIOError as error:
                raise DataError(
                    f"Another process is writing the index {shown(folder)}.", "Wait until it has ended."
                ) from error
        connection = stack.enter_context(closing(schema.open_to_write(folder)))
        yield Writer(folder, connection)


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """What a disk or SQLite says inside becomes a DataError that names the index."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        if isinstance(error, BlockingIOError):
            raise
        said = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"The index {shown(folder)} cannot be written: {said}.", "Choose another folder with --out."
        ) from error


def shown(path: Path) -> str:
    """A path for people: bytes that are not UTF-8 as `\\xe9`."""
    return str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")


_FACT_NAMES = schema.COLUMNS[schema.COLUMNS.index("taken") :]
_PLACE, _CAPTION, _TAGS = (_FACT_NAMES.index(name) for name in ("place", "caption", "tags"))


def _stamps(record: Record) -> tuple[Any, ...]:
    folder = record.id.rpartition("/")[0]
    return (record.id, folder, record.sha256, record.size_bytes, record.mtime_ns)


def _facts(record: Record) -> tuple[Any, ...]:
    facts, columns = record.facts, record.columns
    details = dict(columns.get("details", {}))
    said = details.get("tags")
    tags = [tag for tag in said if isinstance(tag, str)] if isinstance(said, list) else []
    return (
        *(facts.taken, facts.width, facts.height, _utf8(facts.camera), _utf8(facts.place)),
        *(facts.latitude, facts.longitude),
        _utf8(columns.get("caption") or facts.caption),
        _utf8(columns.get("licence", "")),
        _utf8(columns.get("author") or facts.author),
        _utf8(columns.get("source", "")),
        json.dumps(details, ensure_ascii=True),
        json.dumps(list(dict.fromkeys(map(_utf8, (*facts.tags, *tags)))), ensure_ascii=False),
    )


def _utf8(text: str) -> str:
    """Half a surrogate pair is no UTF-8."""
    return text.encode(errors="replace").decode()
