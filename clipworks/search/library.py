"""A library of pictures, opened for reading: facts in SQLite, vectors in a mapped file, a store that finds.

`writer.py` may write it at the same time: each query sees what was committed before it. An index of plain
files (`snapshot.py`) opens as a library in memory.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from clipworks.errors import ConfigError, DataError
from clipworks.search import schema
from clipworks.search.choices import Choices, choices_of
from clipworks.search.exact import ExactStore, cosines, exactly_nearest, unit
from clipworks.search.filters import Filter, match_words, resolve, where
from clipworks.search.matrix import NAME as VECTORS
from clipworks.search.matrix import Matrix
from clipworks.search.store import (
    NOWHERE,
    Change,
    FileStamp,
    Halves,
    Hit,
    IndexHeader,
    Item,
    Mask,
    Relevance,
    Selection,
    Slots,
    Vectors,
    VectorStore,
    hit_of,
)
from clipworks.search.videos import file_of

_SELECTIONS_KEPT = 32
_IDS_AT_ONCE = 500

_ITEM = (
    *("slot", "id", "caption", "licence", "author", "source", "details", "taken", "camera", "place"),
    *("latitude", "longitude", "width", "height", "tags"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _State:
    revision: int
    alive: Mask
    data_version: int


class Library:
    """An index opened for reading. Safe to ask from several threads."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, rows: Matrix | None = None) -> None:
        settings = schema.settings_of(connection)
        if "header" not in settings:
            raise DataError(f"The index {folder} was begun and holds nothing yet.", schema.BEGUN)
        self.folder = folder
        self.header: IndexHeader = schema.header_of(settings, folder)
        self._connection = connection
        self._lock = threading.RLock()
        self._matrix = rows or Matrix(folder / VECTORS, self.header.dim)
        self._exact = ExactStore(self.header.dim, self._matrix)
        self._store: VectorStore | None = None
        self._selections: dict[tuple[int, tuple[Filter, ...]], Selection] = {}
        self._choices: tuple[int, Choices] | None = None
        self._state = _State(revision=0, alive=np.zeros(0, dtype=np.bool_), data_version=-1)
        self._refresh()

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
        self._refresh()
        return self.header.relevance

    @property
    def vectors(self) -> Vectors:
        """float32 [N, D] of all pictures, in the order of `entries`; a copy."""
        state = self._refresh()
        return unit(self.rows(np.flatnonzero(state.alive)))

    @property
    def matrix(self) -> Matrix:
        """The vectors, for stores that rank with them."""
        return self._matrix

    def use(self, store: VectorStore) -> None:
        """Find candidates with this store from now on; what it has not followed yet is searched exactly."""
        self._store = store

    def count(self) -> int:
        """How many pictures the index holds."""
        return int(self._refresh().alive.sum())

    def revision(self) -> int:
        """Rises with every change."""
        return self._refresh().revision

    def slot_of(self, item_id: str) -> int | None:
        """The slot of the picture with this id, or None."""
        with self._lock:
            query = "SELECT slot FROM pictures WHERE id = ?"
            row = self._connection.execute(query, (_sound(item_id),)).fetchone()
        return None if row is None else int(row[0])

    def get(self, item_id: str) -> Item | None:
        """The item with this id, or None."""
        slot = self.slot_of(item_id)
        return None if slot is None else self.items([slot]).get(slot)

    def items(self, slots: Sequence[int]) -> dict[int, Item]:
        """The items in slots; those that are no more are left out."""
        found: dict[int, Item] = {}
        for start in range(0, len(slots), _IDS_AT_ONCE):
            some = ",".join(str(int(slot)) for slot in slots[start : start + _IDS_AT_ONCE])
            with self._lock:
                rows = self._connection.execute(
                    f"SELECT {', '.join(_ITEM)} FROM pictures WHERE slot IN ({some})"
                ).fetchall()
            found.update((row[0], self._item(row)) for row in rows)
        return found

    def entries(self) -> Iterator[tuple[Item, FileStamp]]:
        """Every item with the stamp of its file, in the order of the slots."""
        with self._lock:
            rows = self._connection.execute(
                f"SELECT {', '.join(_ITEM)}, size_bytes, mtime_ns, sha256 FROM pictures ORDER BY slot"
            ).fetchall()
        for row in rows:
            stamp = FileStamp(size_bytes=row[-3], mtime_ns=row[-2], sha256=row[-1].hex())
            yield self._item(row[:-3]), stamp

    def scenes(self, slots: Sequence[int]) -> dict[int, tuple[str, int]]:
        """Of those slots that hold frames of videos, the video's id and the scene."""
        found: dict[int, tuple[str, int]] = {}
        for start in range(0, len(slots), _IDS_AT_ONCE):
            some = ",".join(str(int(slot)) for slot in slots[start : start + _IDS_AT_ONCE])
            with self._lock:
                rows = self._connection.execute(
                    f"SELECT slot, id, json_extract(details, '$.scene') FROM pictures "
                    f"WHERE slot IN ({some}) AND instr(id, '#')"
                ).fetchall()
            for slot, name, scene in rows:
                video, second = file_of(name)
                if second is not None and isinstance(scene, int):
                    found[slot] = (video, scene)
        return found

    def rows(self, slots: Slots) -> Halves:
        """The vectors in slots, float16 [len(slots), D]."""
        top = int(slots.max()) + 1 if len(slots) else 0
        rows = self._matrix.rows(max(top, len(self._state.alive)))
        if len(slots) and top - int(slots[0]) == len(slots):
            return rows[int(slots[0]) : top]  # not copied
        return np.asarray(rows[slots])

    def select(self, filters: Sequence[Filter]) -> Selection | None:
        """The pictures that meet all filters; None without filters.

        Raises:
            ConfigError: the value of a filter cannot be used.
        """
        state = self._refresh()
        key = (state.revision, tuple(filters))
        if not filters:
            return None
        with self._lock:
            if key not in self._selections:
                conditions = resolve(filters, self._connection)
                sql, values = where(conditions)
                cursor = self._connection.execute(f"SELECT slot FROM pictures WHERE {sql}", values)
                mask = np.zeros(len(state.alive), dtype=np.bool_)
                slots = schema.slots_array(cursor)
                mask[slots[slots < len(mask)]] = True
                while len(self._selections) >= _SELECTIONS_KEPT:
                    self._selections.pop(next(iter(self._selections)))
                self._selections[key] = Selection(mask=mask, conditions=conditions)
            return self._selections[key]

    def choices(self) -> Choices:
        """What filters may ask for."""
        revision = self.revision()
        with self._lock:
            if self._choices is None or self._choices[0] != revision:
                self._choices = (revision, choices_of(self._connection))
            return self._choices[1]

    def listed(self, within: Selection | None, sort: str, limit: int) -> list[int]:
        """Slots of a selection: `newest` or `oldest` first, or by name."""
        order = {"newest": "taken IS NULL, taken DESC, id", "oldest": "taken IS NULL, taken, id"}.get(
            sort, "id"
        )
        sql, values = where(within.conditions if within is not None else ())
        with self._lock:
            rows = self._connection.execute(
                f"SELECT slot FROM pictures WHERE {sql} ORDER BY {order} LIMIT ?", (*values, limit)
            ).fetchall()
        return [slot for (slot,) in rows]

    def words(self, text: str, limit: int, within: Selection | None) -> dict[int, float]:
        """Slots whose words hold all those of a text, and how well, 0..1; at most `limit`, the best ones."""
        with self._lock:
            found = match_words(self._connection, text)
        mask = self._state.alive if within is None else within.mask
        return dict([(slot, share) for slot, share in found if slot < len(mask) and mask[slot]][:limit])

    def require_length(self, vector: Vectors) -> None:
        """Refuse what is no vector of this index.

        Raises:
            ConfigError: it has another shape than [dim].
        """
        if vector.shape != (self.dim,):
            raise ConfigError(
                f"The query vector has the shape {vector.shape}; the index needs ({self.dim},)."
            )

    def nearest(self, vector: Vectors, limit: int, within: Selection | None = None) -> tuple[Slots, Vectors]:
        """Slots nearest to a vector, best first, and their cosines; `limit` of them where there are so many.

        Args:
            vector: float32 [dim], unit length.
            limit: at least 1.
            within: among which pictures; None is all of them.

        Raises:
            ConfigError: limit below 1, or a vector of another length.
        """
        if limit < 1:
            raise ConfigError(f"limit is {limit}; it must be at least 1.")
        self.require_length(vector)
        state = self._refresh()
        if self._store is None:
            slots = self._exact.nearest(vector[None], limit, within)[0][0]
        else:
            slots = self._candidates(self._store, state, vector, limit, within)
        slots = slots[slots != NOWHERE]
        scores = cosines(self.rows(slots), vector)
        order = np.lexsort((slots, -scores))[:limit]
        return slots[order], scores[order]

    def query(self, vector: Vectors, limit: int) -> list[Hit]:
        """The `limit` pictures nearest to a vector, best first; equal scores in index order.

        Raises:
            ConfigError: limit below 1, or a vector of another length.
        """
        slots, scores = self.nearest(vector, limit)
        items = self.items(slots.tolist())
        return [
            hit_of(items[slot], float(score))
            for slot, score in zip(slots.tolist(), scores, strict=True)
            if slot in items
        ]

    def change_since(self, revision: int, *, with_vectors: bool = True) -> Change:
        """What a store that has followed up to a revision must be told; everything for 0."""
        state = self._refresh()
        with self._lock:
            rows = self._connection.execute(
                "SELECT slot, taken, width, height, size_bytes, folder, camera, place, tags FROM pictures "
                "WHERE changed > ? ORDER BY slot",
                (revision,),
            ).fetchall()
            gone = self._connection.execute(
                "SELECT slot FROM freed WHERE changed > ? ORDER BY slot", (revision,)
            )
            gone_slots = schema.slots_array(gone)
        slots = schema.slots_array(rows)
        return Change(
            revision=state.revision,
            slots=slots,
            vectors=self.rows(slots) if with_vectors else np.empty((0, self.dim), dtype=np.float16),
            facts=[(*row[1:8], tuple(json.loads(row[8]))) for row in rows],
            gone=gone_slots,
        )

    def settings(self) -> dict[str, Any]:
        """Every setting of the library."""
        with self._lock:
            return schema.settings_of(self._connection)

    def failures(self) -> list[tuple[str, str]]:
        """Files that could not be used, by name, and why."""
        with self._lock:
            return self._connection.execute("SELECT id, reason FROM failures ORDER BY id").fetchall()

    def close(self) -> None:
        """Let go of the files."""
        self._connection.close()

    def _candidates(
        self, store: VectorStore, state: _State, vector: Vectors, limit: int, within: Selection | None
    ) -> Slots:
        """What a store finds and is still there, and what it has not heard of yet."""
        found: Slots = store.nearest(vector[None], limit, within)[0][0]
        found = found[(found != NOWHERE) & (found < len(state.alive))]
        found = found[state.alive[found]]
        if store.revision() >= state.revision:
            return found
        with self._lock:
            cursor = self._connection.execute(
                "SELECT slot FROM pictures WHERE changed > ? ORDER BY slot", (store.revision(),)
            )
            late = schema.slots_array(cursor)
        late = late[late < len(state.alive)]
        if within is not None:
            late = late[(late < len(within.mask)) & within.mask[np.minimum(late, len(within.mask) - 1)]]
        every = np.ones(len(late), dtype=np.bool_)
        places = exactly_nearest(self.rows(late), every, vector[None], limit)[0][0]
        both: Slots = np.union1d(found, late[places[places != NOWHERE]])
        return both

    def _refresh(self) -> _State:
        with self._lock:
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
            state = self._state
            if version == state.data_version:
                return state
            settings = schema.settings_of(self._connection)
            self.header = schema.header_of(settings, self.folder)
            if settings["revision"] != state.revision:
                alive = self._alive_since(state)
                change = Change(
                    revision=settings["revision"],
                    slots=np.flatnonzero(alive),
                    vectors=np.empty((0, self.dim), dtype=np.float16),
                    facts=(),
                    gone=np.flatnonzero(~alive),
                )
                self._exact.apply(change)
                state = _State(revision=settings["revision"], alive=alive, data_version=version)
            else:
                state = _State(revision=state.revision, alive=state.alive, data_version=version)
            self._state = state
            return state

    def _alive_since(self, state: _State) -> Mask:
        queries = [
            self._connection.execute(f"SELECT slot FROM {table} WHERE changed > ?", (state.revision,))
            for table in ("pictures", "freed")
        ]
        came, gone = (schema.slots_array(cursor) for cursor in queries)
        top = max(len(state.alive), int(came.max()) + 1 if len(came) else 0)
        alive = np.zeros(top, dtype=np.bool_)
        alive[: len(state.alive)] = state.alive
        alive[gone[gone < top]] = False
        alive[came] = True
        return alive

    def _item(self, row: tuple[Any, ...]) -> Item:
        values = dict(zip(_ITEM[1:], row[1:], strict=True))
        values["details"] = json.loads(values["details"])
        values["tags"] = tuple(json.loads(values["tags"]))
        taken = values["taken"]
        values["taken"] = "" if taken is None else _iso(taken)
        path = os.path.normpath(os.path.join(self.folder, self.header.root, file_of(values["id"])[0]))
        return Item(path=path, **values)


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _sound(text: str) -> str:
    """SQLite refuses halves of characters, which no id has."""
    return text.encode(errors="replace").decode()
