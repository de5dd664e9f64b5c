"""Many requests, few calls: a bounded queue in front of a function that works on a batch.

A lane takes what is waiting, up to its batch size, and never waits for more: an idle server adds no
delay, a busy one fills its batches. Every waiter gets an answer or an error, whatever happens to
the call, to the lane or to the other waiters. A deadline is a caller that leaves: its task is
cancelled, and what has not had its turn is dropped. Nothing here knows of pictures, texts or HTTP.
"""

import asyncio
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

from clipworks.errors import BusyError
from clipworks.serve.problems import StoppingError

Item = TypeVar("Item")
Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


class BatchError(RuntimeError):
    """The function behind a lane failed; the cause is chained. None of the waiters is to blame."""


class Lane(Generic[Item, Answer]):
    """A bounded queue, and threads that call `run` on what waits in it.

    Args:
        name: for logs and messages, for example "pictogram images".
        run: called in a thread with up to `max_batch` items; gives one answer per item, in order. With
            `max_batch` 1 its error goes to the waiter as it is; else each waiter gets a `BatchError`.
        max_batch: items in one call, at most.
        capacity: items that may be waiting or in work; more are refused.
        capacity_bytes: bytes that these may hold together.
        threads: calls at the same time.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Item]], Sequence[Answer]],
        *,
        max_batch: int,
        capacity: int,
        capacity_bytes: int = sys.maxsize,
        threads: int = 1,
    ) -> None:
        self.name = name
        self.max_batch = max_batch
        self.capacity = capacity
        self.capacity_bytes = capacity_bytes
        self.last_answer_at = float("-inf")
        """`time.monotonic()` of the last call that succeeded, seconds."""
        self._run = run
        self._num_threads = threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._arrived = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_open = False
        self._is_paused = False
        self._num_taken = 0
        self._num_bytes = 0
        self._seconds_per_item = 0.01

    @property
    def num_waiting(self) -> int:
        """Items that wait for their turn, given-up ones included."""
        return len(self._waiting)

    def start(self) -> None:
        """Begin to take items, inside the event loop; after `close` it may begin again, in another one."""
        self._threads = ThreadPoolExecutor(self._num_threads, thread_name_prefix=self.name)
        self._arrived = asyncio.Event()
        self._is_open = True
        self._tasks = [asyncio.create_task(self._work(), name=self.name) for _ in range(self._num_threads)]

    async def close(self) -> None:
        """Finish the calls in work, refuse everything that still waits, and end the threads.

        Where this is cancelled, calls in work are given up: they go on in their threads, for nobody.
        """
        self._is_open = False
        self._arrived.set()
        try:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def pause(self) -> None:
        """Begin no more calls; what waits goes on waiting."""
        self._is_paused = True

    def resume(self) -> None:
        """Take up the calls again."""
        self._is_paused = False
        self._arrived.set()

    def refuse_waiting(self, error_of: Callable[[], Exception]) -> None:
        """Answer everything that waits with an error, one for each."""
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(error_of())

    @contextmanager
    def places(self, num_items: int, num_bytes: int = 0) -> Iterator[None]:
        """Hold places while the block runs, all or none: before work that comes ahead of the queue.

        Raises:
            BusyError: there is no room for all of them, or the server is stopping.
        """
        if not self._is_open:
            raise self._closed()
        if self._num_taken + num_items > self.capacity:
            raise self._full(f"{self._num_taken} of {self.capacity} places are taken", f"{num_items}")
        if self._num_bytes + num_bytes > self.capacity_bytes:
            raise self._full(
                f"{self._num_bytes:,} of {self.capacity_bytes:,} bytes are taken", f"{num_bytes:,} bytes"
            )
        self._num_taken += num_items
        self._num_bytes += num_bytes
        try:
            yield
        finally:
            self._num_taken -= num_items
            self._num_bytes -= num_bytes

    async def answer(self, items: Sequence[Item]) -> list[Answer]:
        """Queue items, all or none, and wait for all answers, in order.

        When the caller leaves, what has not had its turn is dropped.

        Raises:
            BusyError: as in `places`.
            Exception: what `run` raised, or `BatchError`; of several the first item's.
        """
        with self.places(len(items)):
            return await self.answer_placed(items)

    async def answer_placed(self, items: Sequence[Item]) -> list[Answer]:
        """As `answer`, for items whose `places` the caller holds.

        Raises:
            StoppingError: the server is stopping.
            Exception: as in `answer`.
        """
        if not self._is_open:
            raise self._closed()
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Answer]] = [loop.create_future() for _ in items]
        if len(self._waiting) + len(items) > self.capacity:
            self._waiting = deque(entry for entry in self._waiting if not entry[1].done())
        self._waiting.extend(zip(items, futures, strict=True))
        self._arrived.set()
        try:
            outcomes = await asyncio.gather(*futures, return_exceptions=True)
        finally:
            for future in futures:
                future.cancel()
        answers: list[Answer] = []
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            answers.append(outcome)
        return answers

    async def _work(self) -> None:
        try:
            while self._is_open:
                batch = self._take()
                if batch:
                    await self._answer_batch(batch)
                else:
                    self._arrived.clear()
                    await self._arrived.wait()
        finally:
            self._is_open = False
            self._arrived.set()
            self.refuse_waiting(self._closed)

    def _take(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        while self._waiting and not self._is_paused and len(batch) < self.max_batch:
            item, future = self._waiting.popleft()
            if not future.done():
                batch.append((item, future))
        return batch

    async def _answer_batch(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        started = time.monotonic()
        answers: Sequence[Answer] = ()
        error: BaseException | None = BatchError(f"The call for {self.name} was given up.")
        try:
            call = asyncio.get_running_loop().run_in_executor(
                self._threads, _call, self._run, [item for item, _ in batch]
            )
            await asyncio.wait([call])
            error = call.exception()
            if error is None:
                answers = call.result()
                if len(answers) != len(batch):
                    error = BatchError(f"{self.name}: {len(answers)} answers for {len(batch)} items.")
        finally:
            self._resolve(batch, answers, error)
        now = time.monotonic()
        self._seconds_per_item += 0.2 * ((now - started) / len(batch) - self._seconds_per_item)
        if error is None:
            self.last_answer_at = now

    def _resolve(
        self,
        batch: list[tuple[Item, asyncio.Future[Answer]]],
        answers: Sequence[Answer],
        error: BaseException | None,
    ) -> None:
        if error is not None and self.max_batch > 1:
            logger.error("%s failed on a batch of %d", self.name, len(batch), exc_info=error)
        for place, (_, future) in enumerate(batch):
            if future.done():
                continue
            if error is None:
                future.set_result(answers[place])
            elif self.max_batch == 1:
                future.set_exception(error)
            else:
                failure = BatchError(f"The call for {self.name} failed.")
                failure.__cause__ = error
                future.set_exception(failure)

    def _closed(self) -> BusyError:
        return StoppingError(self.name)

    def _full(self, taken: str, wanted: str) -> BusyError:
        seconds = self._num_taken * self._seconds_per_item / self._num_threads
        return BusyError(
            f"The queue for {self.name} is full: {taken} and this request needs {wanted}.",
            "Try again later.",
            retry_after_seconds=min(max(seconds, 0.05), 30.0),
        )


def _call(run: Callable[[Sequence[Item]], Sequence[Answer]], items: Sequence[Item]) -> Sequence[Answer]:
    try:
        return run(items)
    except StopIteration as error:  # a future cannot carry this class, so its waiter would wait for ever
        raise RuntimeError("StopIteration left the function behind a lane") from error
