"""Conditions on pictures: as people write them, as stores need them, and as SQL.

    taken>=2024-05   taken=2023   folder=Trips/Rome   camera=canon   place=rome   tag=anna
    width>=1000   height<500   bytes>1000000   words="birthday cake"   camera!=iphone

A date may stop at the year, the month or the day. A camera and a place are looked for in what the
pictures say, whatever the case. `folder` takes what lies below, too. `words` are those of file name,
caption, tags and place; in quotes they stand next to each other, and `*` ends the beginning of a word.
"""

import calendar
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from clipworks.errors import ConfigError
from clipworks.search.store import Condition, Slots

FIELDS = ("taken", "folder", "camera", "place", "tag", "width", "height", "bytes", "words")

_NUMBERS = {"width": "width", "height": "height", "bytes": "size_bytes"}
_LARGEST_NUMBER = 10**15
"""SQLite and PostgreSQL hold no integers of any size."""
_LIKE = ("camera", "place")
_WRITTEN = re.compile(r"\s*([a-z]+)\s*(!=|>=|<=|=|>|<)\s*(.*?)\s*", re.DOTALL)
_DATE = re.compile(r"(\d{4})(?:-(\d\d?))?(?:-(\d\d?))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """One condition as a person writes it."""

    field: str
    """One of `FIELDS`."""
    operator: str
    """`=`, `!=`, `>=`, `<=`, `>` or `<`; the last four of dates and numbers only."""
    value: str


def read_filter(text: str) -> Filter:
    """`taken>=2024-05` and the like.

    Raises:
        ConfigError: it is not of that form, or its field, operator or value cannot be used.
    """
    found = _WRITTEN.fullmatch(text)
    if found is None or not found.group(3):
        raise ConfigError(
            f"The condition {text!r} cannot be read.", "Write FIELD=VALUE, for example taken>=2024-05."
        )
    field, operator, value = found.groups()
    if field not in FIELDS:
        raise ConfigError(f"There is no field {field!r} to filter by.", f"There are {', '.join(FIELDS)}.")
    is_ordered = field == "taken" or field in _NUMBERS
    if operator not in ("=", "!=") and not is_ordered:
        raise ConfigError(f"{field} takes = and != only, not {operator!r}.")
    one = Filter(field=field, operator=operator, value=value)
    if is_ordered:
        _range_of(one)
    return one


def resolve(filters: Sequence[Filter], connection: sqlite3.Connection) -> tuple[Condition, ...]:
    """The filters in the form that every store can answer; words, cameras and places are looked up.

    Raises:
        ConfigError: a value cannot be used.
    """
    return tuple(_resolved(one, connection) for one in filters)


def where(conditions: Sequence[Condition], mark: str = "?") -> tuple[str, list[object]]:
    """Conditions as SQL over a table with the columns of `store.FACTS`, and its parameters.

    `mark` is what the driver puts a parameter for; with `%s` it is PostgreSQL, where tags are an array.
    """
    parts, values = ["true" if mark == "%s" else "1"], list[object]()
    for one in conditions:
        sql, own = _sql(one, mark)
        parts.append(f"NOT coalesce({sql}, false)" if one.is_negated else sql)
        values += own
    return " AND ".join(f"({part})" for part in parts), values


def match_words(connection: sqlite3.Connection, text: str, limit: int = -1) -> list[tuple[int, float]]:
    """Slots whose words hold those of a text, and how well, 0..1; the best first.

    Args:
        text: all of its words must be there; see the top of this file.
        limit: how many at most; -1 is all.
    """
    query = words_query(text)
    if not query:
        return []
    sql = "SELECT rowid, rank FROM words WHERE words MATCH ? ORDER BY rank LIMIT ?"
    rows = connection.execute(sql, (query, limit)).fetchall()
    best = max((-rank for _, rank in rows), default=0.0)
    return [(slot, -rank / best if best > 0 else 1.0) for slot, rank in rows]


def words_query(text: str) -> str:
    """A text in FTS5's language, with nothing in it that FTS5 would obey but quotes and a final `*`."""
    parts = []
    for quoted, plain in re.findall(r'"([^"]*)"|(\S+)', text):
        words = re.findall(r"\w+", quoted or plain)
        if words:
            star = "*" if plain.rstrip('"').endswith("*") else ""
            parts.append(f'"{" ".join(words)}"{star}')
    return " ".join(parts)


def _resolved(one: Filter, connection: sqlite3.Connection) -> Condition:
    is_negated = one.operator == "!="
    if one.field == "taken" or one.field in _NUMBERS:
        low, high = _range_of(one)
        return Condition(column=_NUMBERS.get(one.field, one.field), low=low, high=high, is_negated=is_negated)
    if one.field == "words":
        slots: Slots = np.array(
            sorted(slot for slot, _ in match_words(connection, one.value)), dtype=np.int64
        )
        return Condition(column="slot", slots=slots, is_negated=is_negated)
    values: tuple[str, ...] = (one.value,)
    if one.field in _LIKE:
        rows = connection.execute(f"SELECT DISTINCT {one.field} FROM pictures")
        values = tuple(sorted(value for (value,) in rows if one.value.casefold() in value.casefold()))
    elif one.field == "folder":
        values = (one.value.strip("/"),)
    column = "tags" if one.field == "tag" else one.field
    return Condition(column=column, values=values, is_negated=is_negated)


def _range_of(one: Filter) -> tuple[float | None, float | None]:
    """From (with) and to (without)."""
    first, end = _day_range(one) if one.field == "taken" else _number_range(one)
    match one.operator:
        case ">=":
            return first, None
        case ">":
            return end, None
        case "<":
            return None, first
        case "<=":
            return None, end
        case _:
            return first, end


def _number_range(one: Filter) -> tuple[float, float]:
    try:
        number = int(one.value.replace(",", "").replace("_", ""))
    except ValueError as error:
        raise ConfigError(f"{one.field} takes a whole number, not {one.value!r}.") from error
    if abs(number) > _LARGEST_NUMBER:
        raise ConfigError(f"{one.field} takes a whole number up to 1e15, not {one.value!r}.")
    return number, number + 1


def _day_range(one: Filter) -> tuple[float, float]:
    found = _DATE.fullmatch(one.value)
    try:
        if found is None:
            raise ValueError
        year, month, day = (int(part) if part else 0 for part in found.groups())
        start = datetime(year, month or 1, day or 1, tzinfo=UTC)
        days = 1 if day else calendar.monthrange(year, month)[1] if month else 365 + calendar.isleap(year)
        end = start + timedelta(days=days)
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"taken takes a date, not {one.value!r}.", "For example 2024, 2024-05 or 2024-05-17."
        ) from error
    return start.timestamp(), end.timestamp()


def _sql(one: Condition, mark: str) -> tuple[str, list[object]]:
    is_postgres = mark == "%s"
    if one.slots is not None:
        if is_postgres:
            return "slot = ANY(%s)", [one.slots.tolist()]
        return f"slot IN ({','.join(map(str, one.slots.tolist()))})", []
    if one.values is None:
        ends = [(">=", one.low), ("<", one.high)]
        given = [(sign, value) for sign, value in ends if value is not None]
        return " AND ".join(f"{one.column} {sign} {mark}" for sign, _ in given), [value for _, value in given]
    if one.column == "folder":
        if one.values == ("",):
            return "true" if is_postgres else "1", []
        parts = [f"(folder = {mark} OR (folder >= {mark} AND folder < {mark}))" for _ in one.values]
        return " OR ".join(parts), [end for name in one.values for end in (name, f"{name}/", f"{name}0")]
    if one.column == "tags":
        if is_postgres:
            return "tags && %s", [[value.casefold() for value in one.values]]
        marks = ", ".join("?" * len(one.values))
        return f"slot IN (SELECT slot FROM tags WHERE tag IN ({marks}))", list(one.values)
    marks = ", ".join([mark] * len(one.values))
    return f"{one.column} IN ({marks})" if one.values else ("false" if is_postgres else "0"), list(one.values)
