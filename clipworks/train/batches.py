"""The stream of batches: samples are read and decoded by threads or processes, some batches ahead.

What a batch holds depends on data, seed and step alone; how many workers there are, and how many processes
share a batch, changes nothing. Memory is that of the batches ahead, whatever the data.
"""

import signal
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from clipworks.errors import DataError
from clipworks.processes import end_with_parent
from clipworks.train.config import TrainConfig
from clipworks.train.reader import Reader

if TYPE_CHECKING:
    from clipworks.train.sources import Source

AHEAD = 2
"""Batches that are read while one is used."""

CHUNK = 16
"""Samples that a worker reads at a time."""

GRACE_SECONDS = 30
"""How long a process that decodes lives on after SIGTERM: clusters send it to every process of a job, and
the step that the run then ends and saves may wait for its data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Raw:
    """A batch, or a rank's part of one, before PyTorch touches it."""

    pixels: npt.NDArray[np.uint8]
    """uint8 [B, S, S, 3], RGB."""
    tokens: npt.NDArray[np.int64]
    """int64 [B, T], cut at the longest text."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Samples that could not be used or were left out by balancing, by cause."""


def stream_batches(
    sources: "Sequence[Source]",
    config: TrainConfig,
    steps: range,
    *,
    rows: slice = slice(None),
    threads: int = 4,
    processes: int = 0,
) -> Iterator[Raw]:
    """The batches of some steps, or some rows of each, as one of several processes that train together reads.

    Args:
        sources: what to read.
        config: sizes, seed and how samples are drawn.
        steps: numbers of the steps.
        rows: the rows of each batch that are read, neighbours; they are the same however a batch is shared.
        threads: that decode, where `processes` is 0.
        processes: that decode.

    Raises:
        DataError: the data cannot be read, or a process that decodes died.
    """
    with _workers(sources, config, threads, processes) as submit:
        waiting: deque[list[Future[_Chunk]]] = deque()
        numbers = iter(steps)
        for _ in steps:
            try:
                while len(waiting) <= AHEAD and (step := next(numbers, None)) is not None:
                    positions = range(step * config.batch_size, (step + 1) * config.batch_size)[rows]
                    starts = range(positions.start, positions.stop, CHUNK)
                    waiting.append([submit(start, min(CHUNK, positions.stop - start)) for start in starts])
                chunks = [future.result() for future in waiting.popleft()]
            except BrokenProcessPool as error:
                raise DataError(
                    "A process that decodes pictures died.",
                    "If memory was short, give fewer --workers; the same command goes on.",
                ) from error
            yield _join(chunks)


_Chunk = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], "Counter[str]"]


class _Submit:
    def __init__(self, pool: Executor, reader: Reader | None) -> None:
        self._pool = pool
        self._reader = reader

    def __call__(self, first: int, count: int) -> "Future[_Chunk]":
        if self._reader is not None:
            return self._pool.submit(_read, self._reader, first, count)
        return self._pool.submit(_Process.read, first, count)


@contextmanager
def _workers(
    sources: "Sequence[Source]", config: TrainConfig, threads: int, processes: int
) -> Iterator[_Submit]:
    pool: Executor
    if processes:
        pool = ProcessPoolExecutor(processes, get_context("spawn"), _Process.start, (tuple(sources), config))
        submit = _Submit(pool, None)
    else:
        submit = _Submit(ThreadPoolExecutor(threads), Reader(sources, config))
        pool = submit._pool
    try:
        yield submit
    finally:
        pool.shutdown(cancel_futures=True)


class _Process:
    """What a process that decodes holds."""

    task: "tuple[Sequence[Source], TrainConfig]"
    reader: Reader | None = None

    @classmethod
    def start(cls, sources: "Sequence[Source]", config: TrainConfig) -> None:
        """Leave Ctrl-C, which reaches every process of a terminal, to the parent; end when it does."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))
        end_with_parent()
        cls.task = (sources, config)

    @classmethod
    def read(cls, first: int, count: int) -> _Chunk:
        if cls.reader is None:  # made here and not at the start, so that its errors reach the parent
            cls.reader = Reader(*cls.task)
        return _read(cls.reader, first, count)


def _read(reader: Reader, first: int, count: int) -> _Chunk:
    drawn = [reader.read(position) for position in range(first, first + count)]
    skipped = sum((one.skipped for one in drawn), Counter[str]())
    return np.stack([one.pixels for one in drawn]), np.stack([one.tokens for one in drawn]), skipped


def _join(chunks: Sequence[_Chunk]) -> Raw:
    tokens = np.concatenate([tokens for _, tokens, _ in chunks])
    return Raw(
        pixels=np.concatenate([pixels for pixels, _, _ in chunks]),
        tokens=tokens[:, : int(tokens.argmax(axis=1).max()) + 1],
        skipped=sum((skipped for _, _, skipped in chunks), Counter[str]()),
    )
