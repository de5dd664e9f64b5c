"""One database, SQLite or PostgreSQL, opened and brought to the tables of this version.

The rest of `serve/` writes the same SQL for both. What differs stands here: how a file is opened, who
waits for whom, and how a transaction begins.
"""

import math
import os
import sqlite3
import time
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import (
    Connection,
    Dialect,
    Engine,
    Select,
    UpdateBase,
    create_engine,
    event,
    inspect,
    make_url,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool
from sqlalchemy.sql.compiler import SQLCompiler

from clipworks.errors import ConfigError, MissingExtraError

REVISIONS = ("0001", "0002", "0003", "0004")
"""Versions of the tables, oldest first; the last one is this program's."""

BUSY_SECONDS = 10.0
STATEMENT_SECONDS = 10.0
"""How long PostgreSQL may take for a statement, or wait for a lock."""
_MIGRATION_LOCK = 0x636C6970  # any number that nobody else in the database uses
_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """An open database. Connections may be used in any thread, each in one at a time."""

    def __init__(self, engine: Engine) -> None:
        self.is_sqlite = engine.dialect.name == "sqlite"
        self.address = _shown(engine.url)
        """Where it is, without a password."""
        self._engine = engine
        self._reader = engine.execution_options(is_reading=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the database."""
        with self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction, committed at the end of the block and undone by an error in it."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def part(self, connection: Connection) -> Iterator[None]:
        """A part of a transaction of SQLite, which an error in it undoes and nothing else.

        `Connection.begin_nested` does it too, and takes longer than what the part itself does.
        """
        cursor = connection.connection.cursor()
        cursor.execute("SAVEPOINT part")
        is_done = False
        try:
            yield
            is_done = True
        finally:
            if not is_done:
                cursor.execute("ROLLBACK TO part")
            cursor.execute("RELEASE part")
            cursor.close()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


class Prepared:
    """A statement that is run at every request, in the driver's own words.

    SQLAlchemy makes the words, once for each kind of database, and its `Connection` has the transaction.
    Running them through it as well would take five times as long as SQLite takes to do them.

    Args:
        statement: of numbers and texts only, which no driver wants converted.
        columns: of an insert, the columns that it fills.
    """

    def __init__(self, statement: Select[Any] | UpdateBase, columns: Sequence[str] | None = None) -> None:
        self._statement = statement
        self._columns = columns
        self._row = namedtuple("Row", map(str, statement.exported_columns.keys()))  # type: ignore[misc]
        self._by_dialect: dict[str, tuple[str, Mapping[str, Any], Sequence[str] | None]] = {}

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Run it; how many rows it touched.

        Raises:
            DBAPIError: as when SQLAlchemy runs it.
        """
        cursor = self._execute(connection, values)
        count: int = cursor.rowcount
        cursor.close()
        return count

    def one_or_none(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        """Run it; the one row that it gives, by names, or None.

        Raises:
            DBAPIError: as when SQLAlchemy runs it.
        """
        cursor = self._execute(connection, values)
        rows = cursor.fetchall()  # to its end: SQLite has done it only then
        cursor.close()
        return self._row(*rows[0]) if rows else None

    def _execute(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        if not connection.in_transaction():
            connection.begin()
        dialect = connection.dialect
        words, constants, places = self._by_dialect.get(dialect.name) or self._translate(dialect)
        given: Any = {**constants, **values}
        if places is not None:
            given = [given[name] for name in places]
        cursor = connection.connection.cursor()
        error_class = dialect.loaded_dbapi.Error
        try:
            cursor.execute(words, given)
        except error_class as error:
            raise DBAPIError.instance(
                words, None, error, error_class, hide_parameters=True, dialect=dialect
            ) from error
        return cursor

    def _translate(self, dialect: Dialect) -> tuple[str, Mapping[str, Any], Sequence[str] | None]:
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        assert isinstance(compiled, SQLCompiler)
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        words = (compiled.string, constants, compiled.positiontup)
        self._by_dialect[dialect.name] = words
        return words


def open_database(
    address: str, *, must_exist: bool = False, statement_seconds: float = STATEMENT_SECONDS
) -> Database:
    """Open a database and bring its tables up to date.

    Args:
        address: `sqlite:///PATH`, where `~` is the home folder, or `postgresql://USER@HOST/NAME`, as
            SQLAlchemy writes them. A file of SQLite is made where there is none, readable by its owner only.
        must_exist: refuse a file of SQLite that is not there instead of making it.
        statement_seconds: how long PostgreSQL may take for one statement; 0 is no limit.

    Raises:
        ConfigError: the address cannot be read or reached, the file is not there, is no database or may not
            be written, or a newer version of clipworks made its tables.
        MissingExtraError: the driver for PostgreSQL is not installed.
    """
    url = _read_address(address)
    shown = _shown(url)
    is_sqlite = url.get_backend_name() == "sqlite"
    engine = _sqlite(url, must_exist) if is_sqlite else _postgres(url, statement_seconds)
    try:
        _migrate(engine, shown)
    except DBAPIError as error:
        engine.dispose()
        raise ConfigError(
            f"The database {shown} cannot be used: {_first_line(error)}.",
            "Check CLIPWORKS_DATABASE, and that this user may read and write there.",
        ) from error
    except ConfigError:
        engine.dispose()
        raise
    return Database(engine)


def _read_address(address: str) -> URL:
    kinds = {
        "sqlite": "sqlite",
        "postgresql": "postgresql+psycopg",
        "postgresql+psycopg": "postgresql+psycopg",
    }
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in kinds:
        # The address itself is not repeated: it may hold a password.
        raise ConfigError(
            "The address of the database cannot be read.",
            "Write sqlite:///accounts.db or postgresql://user@host/name in CLIPWORKS_DATABASE.",
        )
    return url.set(drivername=kinds[url.drivername])


def _shown(url: URL) -> str:
    """An address without its passwords; PostgreSQL takes them behind the question mark, too."""
    known = url.difference_update_query(["password", "sslpassword"])
    return known.render_as_string(hide_password=True)


def _sqlite(url: URL, must_exist: bool) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigError(
            "The address of the database names no file.", "Write sqlite:///accounts.db in CLIPWORKS_DATABASE."
        )
    path = Path(url.database).expanduser()
    if must_exist and not path.exists():
        raise ConfigError(
            f"There is no such database: {path}.",
            "Name another one with --database, or make it: clipworks keys create.",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise ConfigError(
            f"The database {path} cannot be used: {error.strerror}.",
            "Name another file in CLIPWORKS_DATABASE, and check that this user may write there.",
        ) from error
    engine = create_engine(
        url.set(database=str(path)),
        poolclass=QueuePool,
        hide_parameters=True,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgres(url: URL, statement_seconds: float) -> Engine:
    try:
        from clipworks.serve.postgres import create_postgres
    except ModuleNotFoundError as error:
        raise MissingExtraError("psycopg", "postgres") from error
    return create_postgres(url, statement_seconds)


@contextmanager
def _patient(connection: Connection) -> Iterator[None]:
    """Statements of PostgreSQL may take as long as they take: another server may be at the tables."""
    driver: Any = connection.connection.driver_connection
    seconds, driver.answer_seconds = driver.answer_seconds, math.inf
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
    try:
        yield
    finally:
        driver.answer_seconds = seconds


def _prepare_sqlite(connection: sqlite3.Connection, record: Any) -> None:
    connection.isolation_level = None  # sqlite3 would begin transactions on its own, too late and too weak
    cursor = connection.cursor()
    _turn_to_wal(cursor)
    # A killed process loses nothing; a power cut may lose the last transactions, each of them whole.
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _turn_to_wal(cursor: sqlite3.Cursor) -> None:
    # SQLite does not wait for others here, as it does everywhere else: of servers that start together, and
    # find a new file, one could be refused.
    last = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > last:
                raise
        time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock first: one that reads and then writes could find the state changed and fail.
    is_reading = connection.get_execution_options().get("is_reading", False)
    connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")


def _migrate(engine: Engine, shown: str) -> None:
    with engine.execution_options(is_reading=True).connect() as connection:
        if _revision(connection) == REVISIONS[-1]:
            return
    is_postgres = engine.dialect.name == "postgresql"
    with engine.begin() as connection, _patient(connection) if is_postgres else nullcontext():
        if is_postgres:  # several servers may start at once
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        found = _revision(connection)
        if found is not None and found not in REVISIONS:
            raise ConfigError(
                f"The database {shown} has tables of version {found}; this program knows "
                f"{', '.join(REVISIONS)}.",
                "It was made by a newer clipworks: install that version.",
            )
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)


def _first_line(error: SQLAlchemyError) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")
