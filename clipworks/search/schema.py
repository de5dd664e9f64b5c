"""The database of a library: its tables, how it is opened, and its settings.

SQLite with a write-ahead log: one process writes, any number read meanwhile. `library.py` reads,
`writer.py` writes.
"""

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from clipworks.errors import DataError
from clipworks.search.store import IndexHeader, Slots

NAME = "library.db"
VERSION = 3
"""Of the index folder; 1 and 2 had no database (`snapshot.py`)."""

BUSY_SECONDS = 30.0

COLUMNS = (
    *("slot", "id", "folder", "sha256", "size_bytes", "mtime_ns", "checksum", "maker", "said", "changed"),
    *("taken", "width", "height", "camera", "place", "latitude", "longitude"),
    *("caption", "licence", "author", "source", "details", "tags"),
)
"""Of the table of pictures, in the order that `writer.py` gives them."""

_TABLES = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE makers (maker INTEGER PRIMARY KEY, precision TEXT NOT NULL, preprocess TEXT NOT NULL);
CREATE TABLE pictures (
    slot INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    folder TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    size_bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    maker INTEGER NOT NULL,
    said INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    taken INTEGER,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    camera TEXT NOT NULL,
    place TEXT NOT NULL,
    latitude REAL,
    longitude REAL,
    caption TEXT NOT NULL,
    licence TEXT NOT NULL,
    author TEXT NOT NULL,
    source TEXT NOT NULL,
    details TEXT NOT NULL,
    tags TEXT NOT NULL
);
CREATE INDEX by_sha256 ON pictures (sha256);
CREATE INDEX by_change ON pictures (changed);
CREATE INDEX by_folder ON pictures (folder);
CREATE INDEX by_taken ON pictures (taken);
CREATE INDEX by_camera ON pictures (camera);
CREATE TABLE freed (slot INTEGER PRIMARY KEY, changed INTEGER NOT NULL);
CREATE INDEX by_freeing ON freed (changed);
CREATE TABLE tags (
    tag TEXT NOT NULL COLLATE NOCASE, slot INTEGER NOT NULL, PRIMARY KEY (tag, slot)
) WITHOUT ROWID;
CREATE INDEX by_tagged ON tags (slot);
CREATE TABLE failures (
    id TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, reason TEXT NOT NULL
) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (
    name, caption, tags, place, tokenize = 'unicode61 remove_diacritics 2', prefix = '3'
);
"""


def open_to_write(folder: Path) -> sqlite3.Connection:
    """The database of a folder, made where there is none; the caller begins transactions himself, and uses it
    in one thread at a time.

    Raises:
        DataError: it is damaged or of another version, or cannot be written.
    """
    path = folder / NAME
    try:
        connection = sqlite3.connect(
            path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -65536")
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            make_tables(connection)
    except sqlite3.Error as error:
        raise DataError(f"The index {path} cannot be written: {error}.", REPAIR) from error
    check_version(connection, path)
    return connection


def open_to_read(folder: Path) -> sqlite3.Connection:
    """The database of a folder, for reading in any thread, one at a time; also where nothing can be written.

    Raises:
        DataError: it is damaged or of another version, or cannot be read.
    """
    path = folder / NAME
    failure: sqlite3.Error | None = None
    for mode in ("mode=ro", "mode=ro&immutable=1"):  # a log needs a file beside it; a read-only disk has none
        try:
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?{mode}",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise DataError(f"The index {folder} was begun and holds nothing yet.", BEGUN)
        except sqlite3.Error as error:
            failure = error
            continue
        check_version(connection, path)
        return connection
    raise DataError(f"The index {path} is damaged or cannot be read: {failure}.", REPAIR) from failure


def make_tables(connection: sqlite3.Connection) -> None:
    """Fill an empty database with the tables, all at once."""
    settings = f"INSERT INTO settings VALUES ('version', '{VERSION}'), ('revision', '0');"
    connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} {settings} COMMIT;")


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database of another version.

    Raises:
        DataError: it is one, or no library.
    """
    try:
        version = settings_of(connection).get("version")
    except (sqlite3.Error, ValueError) as error:
        raise DataError(f"The index {path} is damaged: {error}.", REPAIR) from error
    if version != VERSION:
        raise DataError(
            f"The index {path} has version {version}; this program reads {VERSION}.",
            "Build it anew with `clipworks index`.",
        )


BEGUN = "Repeat `clipworks index`."
REPAIR = (
    "Look closer with `clipworks index check`; or delete the folder and build it anew with `clipworks index`."
)


def settings_of(connection: sqlite3.Connection) -> dict[str, Any]:
    """Every setting by its name."""
    return {name: json.loads(value) for name, value in connection.execute("SELECT name, value FROM settings")}


def put_settings(connection: sqlite3.Connection, values: dict[str, Any]) -> None:
    """Write settings; others stay."""
    rows = [(name, json.dumps(value, ensure_ascii=True)) for name, value in values.items()]
    connection.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", rows)


def header_of(settings: dict[str, Any], folder: Path) -> IndexHeader:
    """The header among the settings of a library.

    Raises:
        DataError: it is damaged.
    """
    try:
        return IndexHeader.from_json(settings["header"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"The index {folder} has a damaged header: {error}.", REPAIR) from error


def slots_array(rows: Iterable[tuple[int, ...]]) -> Slots:
    """The first column of rows, int64."""
    return np.fromiter((row[0] for row in rows), dtype=np.int64)
