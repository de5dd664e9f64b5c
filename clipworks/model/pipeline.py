"""Pictures prepared ahead of the model: all cores decode the next batches while it runs on this one.

`engine.py` and `search/bulk.py` read batches from here. Only prepared squares wait, at most
BATCHES_AHEAD + CALLS_AT_ONCE batches of them, so memory does not grow with the number of pictures.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from clipworks.errors import ConfigError, InputError

BATCHES_AHEAD = 2
"""Batches that are prepared, or being prepared, while the model runs on another."""

CALLS_AT_ONCE = 2
"""Batches in the model at the same time."""

MAX_BATCH_SIZE = 1024
"""Most inputs of one forward pass."""

Pixels = npt.NDArray[np.uint8]
"""uint8 [S, S, 3] RGB."""

Item = TypeVar("Item")
Batch = TypeVar("Batch")
Result = TypeVar("Result")
Prepared = TypeVar("Prepared")


@contextmanager
def prepared_batches(
    batches: Iterable[Sequence[Item]], prepare: Callable[[Item], Prepared]
) -> Iterator[Iterator[list[Prepared | InputError]]]:
    """Prepare batches of pictures in threads, in order.

    When the `with` block is left, in whatever way, preparing stops: pictures in work are finished,
    those that wait are dropped, and no thread remains.

    Args:
        batches: the pictures, or what stands for them; taken BATCHES_AHEAD batches before their turn.
        prepare: turns one picture into pixels, and whatever belongs to them; called from several
            threads at once.

    Yields:
        An iterator over batches: per picture what `prepare` gave, or the error that says why it cannot be
        used. An error of another kind is raised where its batch would have come.
    """
    # One thread per core, and one more since a thread may wait for its disk.
    pool = ThreadPoolExecutor(num_cores() + 1, thread_name_prefix="clipworks-prepare")
    try:
        yield _prepared(pool, batches, prepare)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def computed_ahead(
    batches: Iterable[Batch], compute: Callable[[Batch], Result]
) -> Iterator[Iterator[Result]]:
    """Run the model on batches, two at a time: the first pieces of the next one use the cores that the
    last pieces of this one leave idle.

    When the `with` block is left, in whatever way, calls in work are finished and no thread remains.

    Args:
        batches: taken one batch before their turn.
        compute: runs one batch; called from two threads at once.

    Yields:
        An iterator over the results, in order; an error is raised where its result would have come.
    """
    pool = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="clipworks-compute")
    try:
        yield _computed(pool, batches, compute)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def require_batch_size(batch_size: int) -> None:
    """Refuse a number of inputs per forward pass that is out of range.

    Raises:
        ConfigError: it is not in 1..MAX_BATCH_SIZE.
    """
    if not 1 <= batch_size <= MAX_BATCH_SIZE:
        raise ConfigError(f"batch_size is {batch_size}; it must be in 1..{MAX_BATCH_SIZE}.")


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def stacked(batch: Sequence[Pixels | InputError]) -> Pixels:
    """A batch as one array, uint8 [B, S, S, 3].

    Raises:
        InputError: the first in the batch.
    """
    squares = []
    for pixels in batch:
        if isinstance(pixels, InputError):
            raise pixels
        squares.append(pixels)
    return np.stack(squares)


def _prepared(
    pool: ThreadPoolExecutor, batches: Iterable[Sequence[Item]], prepare: Callable[[Item], Prepared]
) -> Iterator[list[Prepared | InputError]]:
    waiting: deque[list[Future[Prepared]]] = deque()
    for batch in batches:
        waiting.append([pool.submit(prepare, item) for item in batch])
        if len(waiting) > BATCHES_AHEAD:
            yield _results(waiting.popleft())
    while waiting:
        yield _results(waiting.popleft())


def _computed(
    pool: ThreadPoolExecutor, batches: Iterable[Batch], compute: Callable[[Batch], Result]
) -> Iterator[Result]:
    waiting: deque[Future[Result]] = deque()
    for batch in batches:
        waiting.append(pool.submit(compute, batch))
        if len(waiting) == CALLS_AT_ONCE:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _results(batch: list[Future[Prepared]]) -> list[Prepared | InputError]:
    results: list[Prepared | InputError] = []
    for future in batch:
        result = _result(future)
        results.append(result)
    return results


def _result(future: Future[Prepared]) -> Prepared | InputError:
    try:
        return future.result()
    except InputError as error:
        return error
