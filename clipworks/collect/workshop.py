"""Processes that decode and encode pictures, while the one that asks the web waits for nothing.

A decoder that dies takes its process along: the pictures in work are tried again one by one, and the one
that kills a second time is told.
"""

import asyncio
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from clipworks.collect.images import ImageRules, Kept, keep_image
from clipworks.processes import end_with_parent

DIED = "Image decoding error: the decoder died"


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

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def keep(self, data: bytes) -> Kept | str:
        """The picture as it is kept, or why it is not, in words."""
        loop = asyncio.get_running_loop()
        pool = self._pool
        try:
            return await loop.run_in_executor(pool, keep_image, data, self._rules)
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = self._new_pool(self._workers)
        async with self._alone:
            lone = self._new_pool(1)
            try:
                return await loop.run_in_executor(lone, keep_image, data, self._rules)
            except BrokenProcessPool:
                return DIED
            finally:
                lone.shutdown(wait=False)

    def _new_pool(self, workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=end_with_parent)
