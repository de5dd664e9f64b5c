"""Processes that decode and encode pictures, while the one that asks the web waits for nothing.

Pictures that wait go over in batches, since each way there and back costs as much as a small picture. A
decoder that dies takes its process along: the pictures in work are tried again one by one, and the one that
kills a second time is told.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context

from clipworks.collect.images import ImageRules, Kept, keep_image
from clipworks.processes import end_with_parent

DIED = "Image decoding error: the decoder died"
MAX_PICTURES = 16
MAX_BYTES = 4 << 20
"""Of one batch; a larger picture goes alone."""

_Waiting = tuple[bytes, "asyncio.Future[Kept | str]"]


class Workshop:
    """Makes pictures by one set of rules. `keep` runs in one event loop.

    Args:
        rules: what is kept of a picture.
        workers: processes, 1 or more.
    """

    def __init__(self, rules: ImageRules, workers: int) -> None:
        self._rules = rules
        self._workers = workers
        self._pool = self._new_pool(workers)
        self._alone = asyncio.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._batches: set[asyncio.Task[None]] = set()

    def drop_waiting(self) -> None:
        """Begin no further batch for those that wait, who are cancelled by whoever calls this."""
        self._waiting.clear()

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def keep(self, data: bytes) -> Kept | str:
        """The picture as it is kept, or why it is not, in words."""
        made: asyncio.Future[Kept | str] = asyncio.get_running_loop().create_future()
        self._waiting.append((data, made))
        self._send()
        return await made

    def _send(self) -> None:
        """Give the processes what waits, as long as one may have nothing to do."""
        while self._waiting and len(self._batches) <= self._workers:
            batch = [self._waiting.popleft()]
            room = MAX_BYTES - len(batch[0][0])
            while self._waiting and len(batch) < MAX_PICTURES and room >= len(self._waiting[0][0]):
                batch.append(self._waiting.popleft())
                room -= len(batch[-1][0])
            task = asyncio.create_task(self._work(batch))
            self._batches.add(task)
            task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        self._batches.discard(task)
        if not task.cancelled():
            self._send()

    async def _work(self, batch: Sequence[_Waiting]) -> None:
        try:
            results = await self._make([data for data, _ in batch])
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait get it
            for _, made in batch:
                if not made.done():
                    made.set_exception(error)
            return
        for (data, made), kept in zip(batch, results, strict=True):
            if not made.done():
                if isinstance(kept, Kept) and not kept.data:
                    kept = replace(kept, data=data)
                made.set_result(kept)

    async def _make(self, pictures: list[bytes]) -> list[Kept | str]:
        loop = asyncio.get_running_loop()
        pool = self._pool
        try:
            return await loop.run_in_executor(pool, keep_each, keep_image, pictures, self._rules)
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = self._new_pool(self._workers)
        return [await self._make_alone(data) for data in pictures]

    async def _make_alone(self, data: bytes) -> Kept | str:
        async with self._alone:
            lone = self._new_pool(1)
            try:
                return await asyncio.get_running_loop().run_in_executor(lone, keep_image, data, self._rules)
            except BrokenProcessPool:
                return DIED
            finally:
                lone.shutdown(wait=False)

    def _new_pool(self, workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=end_with_parent)


def keep_each(
    keep: Callable[[bytes, ImageRules], Kept | str], pictures: Sequence[bytes], rules: ImageRules
) -> list[Kept | str]:
    """`keep` for each; the data of pictures that are kept as they are is empty, and need not travel."""
    results = list[Kept | str]()
    for data in pictures:
        kept = keep(data, rules)
        results.append(replace(kept, data=b"") if isinstance(kept, Kept) and kept.data is data else kept)
    return results
