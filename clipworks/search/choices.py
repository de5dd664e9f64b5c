"""What a library can be narrowed to: its folders, cameras and tags, the commonest first, and its dates."""

import sqlite3
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

MOST = 200
"""Values of each kind."""

Counted = tuple[tuple[str, int], ...]
"""Values, and how many pictures have each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """Values that filters may take in a library."""

    folders: Counted
    """With those around them; in the order of their names."""
    cameras: Counted
    tags: Counted
    first_day: str
    """Of the oldest picture with a date, such as 2019-07-30; empty where none has one."""
    last_day: str


def choices_of(connection: sqlite3.Connection) -> Choices:
    """The choices of an open library."""
    folders: Counter[str] = Counter()
    for folder, count in connection.execute("SELECT folder, count(*) FROM pictures GROUP BY folder"):
        parts = folder.split("/")
        folders.update({"/".join(parts[: end + 1]): count for end in range(len(parts)) if folder})
    first, last = connection.execute("SELECT min(taken), max(taken) FROM pictures").fetchone()
    return Choices(
        folders=tuple(sorted(folders.most_common(MOST))),
        cameras=_commonest(connection, "camera", "pictures WHERE camera != ''"),
        tags=_commonest(connection, "tag", "tags"),
        first_day=_day(first),
        last_day=_day(last),
    )


def _commonest(connection: sqlite3.Connection, column: str, source: str) -> Counted:
    query = f"SELECT {column}, count(*) FROM {source} GROUP BY {column} ORDER BY 2 DESC, 1 LIMIT {MOST}"
    return tuple(connection.execute(query).fetchall())


def _day(seconds: int | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d")
