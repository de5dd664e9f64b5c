"""A store in PostgreSQL with the extension pgvector, for a library that many machines ask.

One table holds vectors and facts, so the server filters by itself; a second one the revision. From
`INDEXED_FROM` pictures on there is an HNSW index, which pgvector has from 0.5 on; before 0.7 it knows no
half floats, and numbers are kept as floats.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from clipworks.errors import ConfigError, DataError
from clipworks.search.filters import where
from clipworks.search.store import NOWHERE, Change, Selection, Slots, Vectors

INDEXED_FROM = 10_000
"""Pictures from which on the table gets an index; below, every vector is compared."""

_FEW = 20_000
"""Selected pictures up to which every one of them is compared."""
_EF_SEARCH = 200
_CONNECT_SECONDS = 10


class PostgresStore:
    """A `VectorStore` in a table of a PostgreSQL database."""

    def __init__(self, address: str, name: str, dim: int) -> None:
        """Connect, and make the tables where there are none.

        Args:
            address: `postgresql://USER@HOST/DATABASE`.
            name: of the library, letters and digits; part of the table's name.
            dim: length of a vector, at most 4,000.

        Raises:
            ConfigError: the server has no pgvector.
            DataError: it cannot be reached, or vectors of another length are there.
        """
        self._table = sql.Identifier(f"clipworks_{name}")
        self._state = sql.Identifier(f"clipworks_{name}_state")
        self._index = sql.Identifier(f"clipworks_{name}_near")
        self._name = name
        with _errors_named(address):
            self._connection = psycopg.connect(address, connect_timeout=_CONNECT_SECONDS, autocommit=True)
            self._version = self._extension()
            self._type = "halfvec" if self._version >= (0, 7) else "vector"
            self._make_tables(dim)

    def revision(self) -> int:
        """As `VectorStore.revision`."""
        row = self._run("SELECT revision FROM {state}").fetchone()
        return int(row[0]) if row else 0

    def apply(self, change: Change) -> None:
        """As `VectorStore.apply`."""
        with _errors_named(self._name), self._connection.transaction():
            every = [*change.slots.tolist(), *change.gone.tolist()]
            if self.revision():
                self._run("DELETE FROM {table} WHERE slot = ANY(%s)", (every,))
            else:
                self._run("TRUNCATE {table}")
            statement = self._sql(
                "COPY {table} (slot, taken, width, height, size_bytes, folder, camera, place, tags, vector) "
                "FROM STDIN"
            )
            with self._connection.cursor().copy(statement) as copy:
                for slot, facts, vector in zip(
                    change.slots.tolist(), change.facts, change.vectors, strict=True
                ):
                    tags = [tag.casefold() for tag in facts[-1]]
                    copy.write_row(
                        (slot, *map(_sound, facts[:-1]), list(map(_sound, tags)), _literal(vector))
                    )
            self._run("DELETE FROM {state}")
            self._run("INSERT INTO {state} VALUES (%s)", (change.revision,))
        with _errors_named(self._name):
            if self.count() >= INDEXED_FROM and self._version >= (0, 5):
                self._run(
                    "CREATE INDEX IF NOT EXISTS {index} ON {table} USING hnsw "
                    "(vector {type}_ip_ops) WITH (m = 16, ef_construction = 64)"
                )
            self._run("ANALYZE {table}")

    def nearest(self, queries: Vectors, limit: int, within: Selection | None = None) -> tuple[Slots, Vectors]:
        """As `VectorStore.nearest`."""
        slots = np.full((len(queries), limit), NOWHERE, dtype=np.int64)
        scores = np.full((len(queries), limit), -2.0, dtype=np.float32)
        condition, values = where(within.conditions, "%s") if within is not None else ("true", [])
        is_few = within is not None and int(within.mask.sum()) <= _FEW
        with _errors_named(self._name), self._connection.transaction():
            if is_few:
                self._run("SET LOCAL enable_indexscan = off")
            elif self._version >= (0, 5):
                self._run(f"SET LOCAL hnsw.ef_search = {max(_EF_SEARCH, min(2 * limit, 1000))}")
                if self._version >= (0, 8):
                    self._run("SET LOCAL hnsw.iterative_scan = strict_order")
            for number, query in enumerate(queries):
                literal = _literal(query)
                rows = self._run(
                    "SELECT slot, -(vector <#> %s::{type}) FROM {table} WHERE "
                    + condition
                    + " ORDER BY vector <#> %s::{type} LIMIT %s",
                    (literal, *values, literal, limit),
                ).fetchall()
                slots[number, : len(rows)] = [slot for slot, _ in rows]
                scores[number, : len(rows)] = [score for _, score in rows]
        return slots, scores

    def count(self) -> int:
        """As `VectorStore.count`."""
        row = self._run("SELECT count(*) FROM {table}").fetchone()
        assert row is not None
        return int(row[0])

    def drop(self) -> None:
        """Remove the tables."""
        self._run("DROP TABLE IF EXISTS {table}, {state}")

    def close(self) -> None:
        """As `VectorStore.close`."""
        self._connection.close()

    def _extension(self) -> tuple[int, ...]:
        self._connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        row = self._connection.execute(
            "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
        ).fetchone()
        assert row is not None
        return tuple(int(part) for part in str(row[0]).split("."))

    def _make_tables(self, dim: int) -> None:
        self._run(
            "CREATE TABLE IF NOT EXISTS {table} (slot bigint PRIMARY KEY, taken bigint, width integer, "
            "height integer, size_bytes bigint, folder text, camera text, place text, tags text[], "
            f"vector {self._type}({int(dim)}) NOT NULL)"
        )
        self._run("CREATE TABLE IF NOT EXISTS {state} (revision bigint NOT NULL)")
        row = self._connection.execute(
            "SELECT atttypmod FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'vector'",
            (f"clipworks_{self._name}",),
        ).fetchone()
        if row is not None and row[0] != dim:
            raise DataError(f"The table clipworks_{self._name} has vectors of {row[0]} numbers, not {dim}.")

    def _sql(self, text: str) -> sql.Composed:
        places = {
            "table": self._table,
            "state": self._state,
            "index": self._index,
            "type": sql.SQL(self._type),
        }
        return sql.SQL(text).format(**places)

    def _run(self, text: str, values: tuple[Any, ...] = ()) -> psycopg.Cursor[Any]:
        return self._connection.execute(self._sql(text), values or None)


def is_address(text: str) -> bool:
    """Whether a text is the address of a PostgreSQL database."""
    return text.startswith(("postgresql://", "postgres://"))


@contextmanager
def _errors_named(where_from: str) -> Iterator[None]:
    try:
        yield
    except psycopg.errors.UndefinedFile as error:
        raise ConfigError(
            "This PostgreSQL has no pgvector.", "Install it on the server: Debian's postgresql-NN-pgvector."
        ) from error
    except psycopg.Error as error:
        shown = where_from.rpartition("@")[2]
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"PostgreSQL ({shown}): {said}.", "Look at the server and the address.") from error


def _literal(vector: Any) -> str:
    return "[" + ",".join(f"{number:.6g}" for number in vector.tolist()) + "]"


def _sound(value: Any) -> Any:
    """PostgreSQL takes no zero characters."""
    return value.replace("\0", "") if isinstance(value, str) else value
