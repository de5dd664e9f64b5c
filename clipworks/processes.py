"""Work spread over processes of this machine, some of which may die, or over threads of this process."""

import os
import resource
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait as wait_for_end
from pathlib import Path
from threading import Thread
from typing import TypeVar

MAX_ATTEMPTS = 3
"""Tries at an item whose work kills the process that does it."""

Item = TypeVar("Item")


class Processes:
    """So many processes; with one, the work is done in this one.

    Args:
        count: 1 or more.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def run(self, work: Callable[[Item], None], items: Sequence[Item]) -> Iterator[tuple[Item, str]]:
        """Do the work on every item; each as it is done, with "", or with why it was given up.

        Args:
            work: picklable, as the items are, where there is more than one process.

        Raises:
            Exception: what the work raises.
        """
        if self.count <= 1:
            for item in items:
                work(item)
                yield item, ""
            return
        waiting = list(items)
        while waiting:
            suspects, waiting = yield from _run_until_one_dies(work, waiting, self.count)
            for item in suspects:  # one of them killed its process: alone, each answers for itself
                yield from _run_alone(work, item)


class Threads:
    """So many threads, for work that waits for something that they share.

    Args:
        count: 1 or more.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def run(self, work: Callable[[Item], None], items: Sequence[Item]) -> Iterator[tuple[Item, str]]:
        """As `Processes.run`; a thread does not die, so nothing is given up."""
        queue = iter(items)
        running: dict[Future[None], Item] = {}
        pool = ThreadPoolExecutor(self.count)
        try:
            while True:
                for item in islice(queue, self.count - len(running)):
                    running[pool.submit(work, item)] = item
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED)[0]:
                    future.result()
                    yield running.pop(future), ""
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # what the others wait for is ended by the caller


def peak_memory_bytes() -> int:
    """Most memory that this program has had in use at once so far, bytes.

    Linux lets `ru_maxrss` begin with what the parent had, so that a small child of a large process seems
    large; its own count of the new program is asked first (`VmHWM`, proc_pid_status(5)).
    """
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii", errors="replace").splitlines() if status.exists() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def end_with_parent() -> None:
    """Make this process end when the one that began it does, killed or not: a pool's initializer."""
    parent = parent_process()
    assert parent is not None
    Thread(target=_await_end, args=(parent.sentinel,), daemon=True).start()


def _await_end(sentinel: int) -> None:
    wait_for_end([sentinel])
    os._exit(1)


def _run_alone(work: Callable[[Item], None], item: Item) -> Iterator[tuple[Item, str]]:
    for _ in range(MAX_ATTEMPTS):
        left, _ = yield from _run_until_one_dies(work, [item], 1)
        if not left:
            return
    yield item, f"Its process died {MAX_ATTEMPTS} times."


def _run_until_one_dies(
    work: Callable[[Item], None], items: Sequence[Item], count: int
) -> Generator[tuple[Item, str], None, tuple[list[Item], list[Item]]]:
    """What was in work when a process died, and what had not begun; nothing where none died."""
    queue = iter(items)
    running: dict[Future[None], Item] = {}
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=end_with_parent)
    try:
        while True:
            for item in islice(queue, count - len(running)):
                running[pool.submit(work, item)] = item
            if not running:
                return [], []
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                future.result()
                yield running.pop(future), ""
    except BrokenProcessPool:
        return list(running.values()), list(queue)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
