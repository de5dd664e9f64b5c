"""The database as the event loop uses it: work in threads, many small transactions as few large ones.

SQLite has one writer, so what waits is written in one transaction, each piece of work with a savepoint
of its own. PostgreSQL has many: each piece is a transaction in one of several threads.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, TypeVar, cast

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from clipworks.errors import ClipworksError
from clipworks.serve.batcher import BatchError, Lane
from clipworks.serve.database import Database
from clipworks.serve.problems import RequestError

CAPACITY = 4096
MAX_BATCH = 64
POSTGRES_THREADS = 8

Result = TypeVar("Result")
Work = Callable[[Connection], Any]


class Books:
    """Work on the database, asked for from the event loop.

    Args:
        database: where; closed at the end of `open`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        threads = 1 if database.is_sqlite else POSTGRES_THREADS
        batch = MAX_BATCH if database.is_sqlite else 1
        self._writing = Lane[Work, Any](
            "ledger", self._write, max_batch=batch, capacity=CAPACITY, threads=threads
        )
        self._reading = Lane[Work, Any](
            "keys", self._read, max_batch=batch, capacity=CAPACITY, threads=threads
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The time in which it can be asked."""
        self._writing.start()
        self._reading.start()
        try:
            yield
        finally:
            await asyncio.gather(self._writing.close(), self._reading.close())
            self._database.close()

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        """Do something in a transaction; committed when this returns, undone when it raises.

        Raises:
            RequestError: the database does not answer (503), or what the work raises.
            BusyError: too much waits for it.
        """
        return cast(Result, await _one(self._writing, work))

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """Look something up.

        Raises:
            RequestError: the database does not answer (503), or what the work raises.
            BusyError: too much waits for it.
        """
        return cast(Result, await _one(self._reading, work))

    def _write(self, works: Sequence[Work]) -> list[Any]:
        if len(works) == 1:
            return [_alone(self._database.write, works[0])]
        with self._database.write() as connection:
            return [_apart(connection, work) for work in works]

    def _read(self, works: Sequence[Work]) -> list[Any]:
        if len(works) == 1:
            return [_alone(self._database.read, works[0])]
        with self._database.read() as connection:
            return [_apart(connection, work) for work in works]


async def _one(lane: Lane[Work, Any], work: Work) -> Any:
    try:
        (result,) = await lane.answer([work])
    except BatchError as error:  # the transaction of several failed as a whole
        raise _unavailable(error.__cause__ or error) from error
    except SQLAlchemyError as error:  # a lane raises an answer that is an error
        raise _unavailable(error) from error
    return result


def _alone(transaction: Callable[[], AbstractContextManager[Connection]], work: Work) -> Any:
    """The work's result or its error, in a transaction of its own."""
    try:
        with transaction() as connection:
            return work(connection)
    except (ClipworksError, SQLAlchemyError) as error:
        return error


def _apart(connection: Connection, work: Work) -> Any:
    """The work's result or its error; an error undoes this work and no other of the transaction."""
    try:
        with connection.begin_nested():
            return work(connection)
    except (ClipworksError, SQLAlchemyError) as error:
        return error


def _unavailable(error: BaseException) -> RequestError:
    return RequestError(
        f"The database of accounts does not answer ({type(error).__name__}).",
        "Try again later.",
        code="accounts_unavailable",
        retry_after_seconds=1.0,
    )
