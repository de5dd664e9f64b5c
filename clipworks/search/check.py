"""Whether an index is whole: its database, its vectors, and the pictures that it was made from."""

import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipworks.errors import DataError
from clipworks.files import sha256_file
from clipworks.search import matrix, schema
from clipworks.search.library import Library
from clipworks.search.opening import find_index, open_index
from clipworks.search.videos import file_of
from clipworks.search.writer import Batch, open_writer

_AT_ONCE = 8192
_NORM_TOLERANCE = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something that is not as it should be."""

    id: str
    """The picture; empty for what concerns all of the index."""
    problem: str
    """One sentence for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """What a check found."""

    count: int
    """Pictures checked."""
    problems: tuple[Problem, ...]
    is_repaired: bool
    """Whether what is damaged was dropped."""


def check_index(
    folder: Path,
    *,
    repairs: bool = False,
    with_files: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Verify an index.

    Args:
        folder: the index, or a folder of pictures whose index lies in it.
        repairs: drop pictures whose vectors are damaged; the next build embeds them again.
        with_files: read every picture file, too. A file that has changed since is no problem: its size or
            time says so and the next build takes it up.
        on_progress: called with (pictures done, pictures in all).

    Raises:
        DataError: there is no index, or its database cannot be opened at all.
    """
    place = find_index(folder)
    if not (place / schema.NAME).is_file():
        library = open_index(place)  # an index of plain files verifies itself when opened
        return CheckReport(count=library.count(), problems=(), is_repaired=False)
    with closing(sqlite3.connect(place / schema.NAME)) as connection:
        problems = list(_database_problems(connection, place))
        if problems:
            return CheckReport(count=0, problems=tuple(problems), is_repaired=False)
        damaged = list(_vector_problems(connection, place, on_progress))
        count = connection.execute("SELECT count(*) FROM pictures").fetchone()[0]
    if repairs and damaged:
        with open_writer(place) as writer:
            writer.write(Batch(gone=[one.id for one in damaged]))
    if with_files:
        problems += _file_problems(open_index(place))
    is_repaired = repairs and bool(damaged) and not problems
    return CheckReport(count=count, problems=(*damaged, *problems), is_repaired=is_repaired)


def _database_problems(connection: sqlite3.Connection, place: Path) -> Iterator[Problem]:
    try:
        settings = schema.settings_of(connection)
        if "header" not in settings:
            yield Problem(id="", problem=f"It was begun and holds nothing yet. {schema.BEGUN}")
            return
        schema.header_of(settings, place)
        for (said,) in connection.execute("PRAGMA integrity_check"):
            if said != "ok":
                yield Problem(
                    id="", problem=f"The database is damaged: {said}. Delete the index and build it anew."
                )
        connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")
        connection.rollback()
        doubled = "SELECT count(*) FROM freed WHERE slot IN (SELECT slot FROM pictures)"
        if connection.execute(doubled).fetchone()[0]:
            yield Problem(id="", problem="Slots are both free and taken. Delete the index and build it anew.")
        lost = "SELECT count(*) FROM pictures WHERE slot NOT IN (SELECT rowid FROM words)"
        if connection.execute(lost).fetchone()[0]:
            yield Problem(
                id="", problem="Pictures have no words to search. Delete the index and build it anew."
            )
    except (sqlite3.DatabaseError, ValueError) as error:
        yield Problem(id="", problem=f"The database is damaged: {error}. Delete the index and build it anew.")
    except DataError as error:
        yield Problem(id="", problem=f"{error.message} Delete the index and build it anew.")


def _vector_problems(
    connection: sqlite3.Connection, place: Path, on_progress: Callable[[int, int], None] | None
) -> Iterator[Problem]:
    dim = schema.header_of(schema.settings_of(connection), place).dim
    entries = connection.execute("SELECT slot, id, checksum FROM pictures ORDER BY slot").fetchall()
    rows = matrix.Matrix(place / matrix.NAME, dim)
    whole = (place / matrix.NAME).stat().st_size // (2 * dim) if entries else 0
    for start in range(0, len(entries), _AT_ONCE):
        some = entries[start : start + _AT_ONCE]
        there = np.array([slot for slot, _, _ in some if slot < whole], dtype=np.int64)
        vectors = np.asarray(rows.rows(whole)[there])
        norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
        for number, (slot, name, checksum) in enumerate(some):
            if slot >= whole:
                yield Problem(id=name, problem="Its vector is missing.")
            elif zlib.crc32(vectors[number].tobytes()) != checksum:
                yield Problem(id=name, problem="Its vector is not the one that was written.")
            elif not abs(norms[number] - 1) < _NORM_TOLERANCE:
                yield Problem(id=name, problem=f"Its vector has the length {norms[number]:.3f}.")
        if on_progress is not None:
            on_progress(start + len(some), len(entries))


def _file_problems(library: Library) -> Iterator[Problem]:
    videos: set[str] = set()
    for item, stamp in library.entries():
        path = Path(item.path)
        if file_of(item.id)[1] is not None:
            if item.path in videos:
                continue  # once for all of its frames
            videos.add(item.path)
        try:
            status = path.stat()
            if (status.st_size, status.st_mtime_ns) != (stamp.size_bytes, stamp.mtime_ns):
                continue
            if sha256_file(path) != stamp.sha256:
                yield Problem(
                    id=item.id, problem="Its file has other bytes, though size and time are the same."
                )
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Problem(id=item.id, problem=f"Its file cannot be read: {error.strerror}.")
