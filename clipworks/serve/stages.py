"""Lanes that tell how long things took, without the lane knowing: each answer carries its own times."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from clipworks.errors import BusyError, ClipworksError
from clipworks.serve.batcher import BatchError, Lane
from clipworks.serve.metrics import Metrics, Watch
from clipworks.serve.problems import UnavailableError
from clipworks.serve.traces import current_trace

Item = TypeVar("Item")
Answer = TypeVar("Answer")

CANARY_SECONDS = 10.0
"""How long an item that is sent to see whether a lane answers may take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed(Generic[Answer]):
    """An answer and the batch that it came from."""

    answer: Answer
    started_at: float
    """`time.monotonic()` when the batch began, seconds."""
    seconds: float
    """How long the batch took."""


def timed(
    run: Callable[[Sequence[Item]], Sequence[Answer]], watch: Watch
) -> Callable[[Sequence[Item]], Sequence[Timed[Answer]]]:
    """The same function for a lane, with times in its answers; `watch` hears of every batch."""

    def work(items: Sequence[Item]) -> Sequence[Timed[Answer]]:
        started = time.monotonic()
        answers = run(items)
        seconds = time.monotonic() - started
        watch(len(items), seconds)
        return [Timed(answer=answer, started_at=started, seconds=seconds) for answer in answers]

    return work


def timed_task(run: Callable[[Item], Answer], item: Item, watch: Watch) -> Callable[[], Timed[Answer]]:
    """The work on one item, for a lane of tasks."""

    def run_first(items: Sequence[Item]) -> Sequence[Answer]:
        return [run(items[0])]

    work = timed(run_first, watch)
    return lambda: work([item])[0]


async def measured(
    ask: Callable[[Sequence[Item]], Awaitable[list[Timed[Answer]]]],
    items: Sequence[Item],
    metrics: Metrics,
    labels: tuple[str, str, str],
) -> list[Answer]:
    """Ask a lane; waiting and work are added to the request's trace and to the metrics.

    Args:
        ask: `Lane.answer` or `Lane.answer_placed`.
        labels: stage (`prepare` or `inference`), model and modality.

    Raises:
        Exception: as `Lane.answer`.
    """
    stage, model, modality = labels
    asked = time.monotonic()
    rows = await ask(items)
    waits = [max(0.0, row.started_at - asked) for row in rows]
    trace = current_trace()
    trace.took(stage, max((row.seconds for row in rows), default=0.0))
    trace.took("queue", max(waits, default=0.0))
    if stage == "inference":
        for wait in waits:
            metrics.stage("queue", model, modality, wait)
    return [row.answer for row in rows]


async def answered(work: Awaitable[list[Answer]]) -> list[Answer]:
    """The answers of a lane; a worker that is gone is said to be gone, not to have failed."""
    try:
        return await work
    except BatchError as error:
        cause = error.__cause__
        if isinstance(cause, UnavailableError):
            raise UnavailableError(
                cause.message, cause.remedy, code=cause.code, retry_after_seconds=cause.retry_after_seconds
            ) from error
        raise


async def answers_now(lane: Lane[Item, Answer], item: Item, within_seconds: float) -> bool:
    """Whether a lane has answered within the last seconds, or answers this item now."""
    if time.monotonic() - lane.last_answer_at < within_seconds:
        return True
    try:
        async with asyncio.timeout(CANARY_SECONDS):
            await lane.answer([item])
    except (TimeoutError, RuntimeError, ClipworksError, BusyError):
        return False
    return True
