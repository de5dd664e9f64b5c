"""The database as the event loop uses it: work in threads, many small transactions as few large ones.

SQLite has one writer, so what waits is written in one transaction, each piece of work with a savepoint
of its own. PostgreSQL has many: each piece is a transaction in one of several threads.
"""

import asyncio
import logging
import math
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial
from typing import Any, TypeVar, cast

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from clipworks.errors import BusyError, ClipworksError
from clipworks.serve.database import Database
from clipworks.serve.problems import RequestError, StoppingError

CAPACITY = 4096
"""Pieces of work that may wait or be in work."""

ANSWER_SECONDS = 12.0
"""How long who asks for a piece of work waits for it: longer than either database tries by itself."""

READY_SECONDS = 2.0
MAX_BATCH = 64
POSTGRES_THREADS = 8
REPORT_THREADS = 1

Result = TypeVar("Result")
Work = Callable[[Connection], Any]

logger = logging.getLogger(__name__)


class Books:
    """Work on the database, asked for from the event loop.

    Args:
        database: where; closed at the end of `open`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.address = database.address
        """Where the database is, without a password."""
        self._answered_at = -math.inf
        threads = 1 if database.is_sqlite else POSTGRES_THREADS
        batch = MAX_BATCH if database.is_sqlite else 1
        self._writing = _Desk("ledger", self._write, max_batch=batch, threads=threads, seconds=ANSWER_SECONDS)
        self._reading = _Desk("keys", self._read, max_batch=batch, threads=threads, seconds=ANSWER_SECONDS)
        self._reporting = _Desk("reports", self._read, max_batch=1, threads=REPORT_THREADS, seconds=None)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """The time in which it can be asked."""
        self._writing.start()
        self._reading.start()
        self._reporting.start()
        try:
            yield
        finally:
            desks = (self._writing, self._reading, self._reporting)
            await asyncio.gather(*(desk.close() for desk in desks))
            self._database.close()

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        """Do something in a transaction; committed when this returns, undone when it raises.

        Raises:
            RequestError: the database does not answer (503), or what the work raises.
            BusyError: too much waits for it.
        """
        return cast(Result, await self._writing.ask(work))

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """Look something up, at once: what every request does.

        Raises:
            RequestError: the database does not answer (503), or what the work raises.
            BusyError: too much waits for it.
        """
        return cast(Result, await self._reading.ask(work))

    async def report(self, work: Callable[[Connection], Result]) -> Result:
        """Sum or list something, which may take long; no request for work waits behind it.

        Raises:
            RequestError: the database does not answer (503), or what the work raises.
            BusyError: too much waits for it.
        """
        return cast(Result, await self._reporting.ask(work))

    async def is_answering(self) -> bool:
        """Whether the database has answered within the last second, or answers now."""
        if time.monotonic() - self._answered_at < 1.0:
            return True
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
        except (TimeoutError, ClipworksError):
            return False
        self._answered_at = time.monotonic()
        return True

    def _write(self, works: Sequence[Work]) -> list[Any]:
        """The result or the error of each, all in one transaction; an error undoes that work and no other."""
        if len(works) == 1:
            return [_outcome(partial(_alone, self._database.write, works[0]))]
        with self._database.write() as connection:
            return [_outcome(partial(self._part, connection, work)) for work in works]

    def _read(self, works: Sequence[Work]) -> list[Any]:
        if len(works) == 1:
            return [_outcome(partial(_alone, self._database.read, works[0]))]
        with self._database.read() as connection:
            return [_outcome(partial(work, connection)) for work in works]

    def _part(self, connection: Connection, work: Work) -> Any:
        with self._database.part(connection):
            return work(connection)


class _Desk:
    """Threads that do what waits.

    A `Lane` would do it too, in 0.3 ms more per call: it has a task, a gather and three turns of the
    event loop, and a paid request comes here three times. All state belongs to the event loop.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Work]], list[Any]],
        *,
        max_batch: int,
        threads: int,
        seconds: float | None,
    ) -> None:
        self._name = name
        self._run = run
        self._seconds = seconds
        self._max_batch = max_batch
        self._num_threads = self._num_free = threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._waiting: deque[tuple[Work, asyncio.Future[Any]]] = deque()
        self._is_open = False
        self._is_idle = asyncio.Event()

    def start(self) -> None:
        """Begin to take work."""
        self._is_open = True
        self._is_idle.set()

    async def close(self) -> None:
        """Finish what is in work, refuse what waits, and end the threads."""
        self._is_open = False
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(self._closed())
        await self._is_idle.wait()
        self._threads.shutdown(wait=False)

    async def ask(self, work: Work) -> Any:
        """The work's result; it is dropped if the caller leaves before its turn."""
        if not self._is_open:
            raise self._closed()
        if len(self._waiting) >= CAPACITY:
            raise BusyError(
                f"{CAPACITY} requests wait for the database of accounts.",
                "Try again later.",
                retry_after_seconds=1.0,
            )
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        self._begin_next()
        try:
            async with asyncio.timeout(self._seconds):
                outcome = await future
        except TimeoutError as error:
            raise _unavailable(error) from error
        if isinstance(outcome, ClipworksError):
            raise outcome
        if isinstance(outcome, Exception):
            if not isinstance(outcome, SQLAlchemyError):
                logger.error("%s failed", self._name, exc_info=outcome)  # the work has a fault
            raise _unavailable(outcome) from outcome
        return outcome

    def _begin_next(self) -> None:
        batch: list[tuple[Work, asyncio.Future[Any]]] = []
        while self._num_free and self._waiting and len(batch) < self._max_batch:
            entry = self._waiting.popleft()
            if not entry[1].done():
                batch.append(entry)
        if not batch:
            return
        self._num_free -= 1
        self._is_idle.clear()
        loop, futures = asyncio.get_running_loop(), [future for _, future in batch]
        call = self._threads.submit(self._run, [work for work, _ in batch])
        call.add_done_callback(lambda call: loop.call_soon_threadsafe(self._end, call, futures))

    def _end(self, call: "Future[list[Any]]", futures: Sequence["asyncio.Future[Any]"]) -> None:
        self._num_free += 1
        error = call.exception()
        if error is not None:  # the transaction of several failed as a whole
            logger.error("%s failed", self._name, exc_info=error)
        for place, future in enumerate(futures):
            if future.done():
                continue
            future.set_result(_unavailable(error) if error is not None else call.result()[place])
        self._begin_next()
        if self._num_free == self._num_threads:
            self._is_idle.set()

    def _closed(self) -> BusyError:
        return StoppingError(self._name)


def _alone(begin: Callable[[], AbstractContextManager[Connection]], work: Work) -> Any:
    with begin() as connection:
        return work(connection)


def _outcome(work: Callable[[], Any]) -> Any:
    """What it gives, or its error: whatever it is, the others of the transaction have no part in it."""
    try:
        return work()
    except sqlite3.Error:  # of a savepoint: the transaction is gone, and nothing in it was done
        raise
    except Exception as error:  # noqa: BLE001 - its asker hears of it
        return error


def _unavailable(error: BaseException) -> RequestError:
    return RequestError(
        f"The database of accounts does not answer ({type(error).__name__}).",
        "Try again later.",
        code="accounts_unavailable",
        retry_after_seconds=1.0,
    )
