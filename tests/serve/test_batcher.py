"""Every waiter gets an answer or an error, whatever happens to the call, the lane or the others."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from clipworks.errors import BusyError, InputError
from clipworks.serve.batcher import BatchError, Lane


class Gate:
    """A function for a lane that notes its batches and, once closed, waits until it is opened."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.batches: list[list[int]] = []
        self.entered = threading.Event()
        self._may_go = threading.Event()
        if is_open:
            self._may_go.set()

    def open(self) -> None:
        self._may_go.set()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.entered.set()
        assert self._may_go.wait(10)
        if any(item < 0 for item in items):
            raise ValueError(f"negative among {list(items)}")
        return [item * 2 for item in items]


def run(story: Coroutine[Any, Any, None]) -> None:
    """Run a test's story; one that hangs is a failure."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await story

    asyncio.run(limited())


def lane_of(gate: Any, *, max_batch: int = 4, capacity: int = 100, threads: int = 1) -> Lane[int, int]:
    return Lane("test", gate, max_batch=max_batch, capacity=capacity, threads=threads)


async def entered(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.entered.wait, 10)


def test_what_waits_is_batched_in_order_and_nothing_waits_for_more() -> None:
    async def story() -> None:
        gate = Gate(is_open=False)
        lane = lane_of(gate)
        lane.start()
        first = asyncio.ensure_future(lane.answer([1]))
        await entered(gate)
        others = [asyncio.ensure_future(lane.answer([i, i + 1])) for i in (2, 4, 6)]
        await asyncio.sleep(0)
        gate.open()
        assert await first == [2]
        assert await asyncio.gather(*others) == [[4, 6], [8, 10], [12, 14]]
        assert gate.batches == [[1], [2, 3, 4, 5], [6, 7]]
        await lane.close()

    run(story())


def test_a_failed_batch_fails_all_its_waiters_and_only_them() -> None:
    async def story() -> None:
        gate = Gate(is_open=False)
        lane = lane_of(gate)
        lane.start()
        first = asyncio.ensure_future(lane.answer([1]))
        await entered(gate)
        bad = [asyncio.ensure_future(lane.answer([i])) for i in (2, -3, 4, 5)]
        good = asyncio.ensure_future(lane.answer([6]))
        await asyncio.sleep(0)
        gate.open()
        assert await first == [2] and await good == [12]
        outcomes = await asyncio.gather(*bad, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [BatchError] * 4
        assert len({id(outcome) for outcome in outcomes}) == 4
        assert isinstance(outcomes[0], BatchError) and isinstance(outcomes[0].__cause__, ValueError)
        assert await lane.answer([7]) == [14]
        await lane.close()

    run(story())


@pytest.mark.parametrize("failure", [StopIteration(), MemoryError(), InputError("x"), SystemExit(1)])
def test_any_kind_of_failure_is_an_answer(failure: BaseException) -> None:
    def fail(items: Sequence[int]) -> list[int]:
        raise failure

    async def story() -> None:
        lane = lane_of(fail)
        lane.start()
        for _ in range(3):
            with pytest.raises(BatchError):
                await lane.answer([1, 2])
        await lane.close()

    run(story())


def test_the_error_of_a_lone_item_reaches_its_waiter_as_it_is() -> None:
    async def story() -> None:
        lane = lane_of(Gate(), max_batch=1, threads=3)
        lane.start()
        with pytest.raises(ValueError, match="negative among \\[-2\\]"):
            await lane.answer([1, -2, -3])
        assert await lane.answer([1, 2]) == [2, 4]
        await lane.close()

    run(story())


@pytest.mark.parametrize("given", [[], [1], [1, 2, 3]])
def test_a_wrong_number_of_answers_is_an_error_for_all(given: list[int]) -> None:
    async def story() -> None:
        lane = lane_of(lambda items: given)
        lane.start()
        with pytest.raises(BatchError):
            await lane.answer([1, 2])
        await lane.close()

    run(story())


def test_a_full_queue_refuses_all_or_nothing_and_says_when_to_come_back() -> None:
    async def story() -> None:
        gate = Gate(is_open=False)
        lane = lane_of(gate, capacity=5)
        lane.start()
        running = asyncio.ensure_future(lane.answer([1]))
        await entered(gate)
        waiting = asyncio.ensure_future(lane.answer([2, 3, 4]))
        await asyncio.sleep(0)
        with pytest.raises(BusyError, match="4 of 5 places.*needs 2") as caught:
            await lane.answer([5, 6])
        assert 0.05 <= caught.value.retry_after_seconds <= 30
        fitting = asyncio.ensure_future(lane.answer([5]))
        await asyncio.sleep(0)
        gate.open()
        assert [await running, await waiting, await fitting] == [[2], [4, 6, 8], [10]]
        await lane.close()

    run(story())


def test_work_of_a_caller_that_left_is_not_done_and_takes_no_room() -> None:
    async def story() -> None:
        gate = Gate(is_open=False)
        lane = lane_of(gate, capacity=5)
        lane.start()
        running = asyncio.ensure_future(lane.answer([1]))
        await entered(gate)
        left = asyncio.ensure_future(lane.answer([2, 3, 4, 5]))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.wait([left])
        after = asyncio.ensure_future(lane.answer([6, 7, 8, 9]))
        await asyncio.sleep(0)
        gate.open()
        assert await running == [2] and await after == [12, 14, 16, 18]
        assert gate.batches == [[1], [6, 7, 8, 9]]
        await lane.close()

    run(story())


def test_a_caller_that_leaves_during_the_call_harms_nobody() -> None:
    async def story() -> None:
        gate = Gate(is_open=False)
        lane = lane_of(gate)
        lane.start()
        both = [asyncio.ensure_future(lane.answer([i])) for i in (1, 2)]
        await entered(gate)
        both[0].cancel()
        gate.open()
        assert await both[1] == [4]
        assert await lane.answer([3]) == [6]
        await lane.close()

    run(story())


def test_closing_finishes_the_call_in_work_and_refuses_the_rest() -> None:
    async def story() -> None:
        gate = Gate(is_open=False)
        lane = lane_of(gate)
        lane.start()
        running = asyncio.ensure_future(lane.answer([1]))
        await entered(gate)
        waiting = asyncio.ensure_future(lane.answer([2]))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(lane.close())
        await asyncio.sleep(0)
        gate.open()
        assert await running == [2]
        with pytest.raises(BusyError, match="stopping"):
            await waiting
        await closing
        with pytest.raises(BusyError, match="stopping"):
            await lane.answer([3])

    run(story())


def test_a_lane_whose_worker_dies_refuses_instead_of_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise AssertionError("a bug in the lane itself")

    async def story() -> None:
        lane = lane_of(Gate())
        lane.start()
        monkeypatch.setattr(lane, "_take", broken)
        with pytest.raises(BusyError):
            await lane.answer([1, 2])
        with pytest.raises(BusyError):
            await lane.answer([1])
        await lane.close()

    run(story())


def test_bytes_are_bounded_too_and_places_are_given_back() -> None:
    async def story() -> None:
        lane: Lane[int, int] = Lane("test", Gate(), max_batch=4, capacity=9, capacity_bytes=100)
        lane.start()
        with lane.places(1, 60):
            with (
                pytest.raises(BusyError, match="60 of 100 bytes are taken.*needs 41 bytes"),
                lane.places(1, 41),
            ):
                pass
            with lane.places(2, 40):
                assert await lane.answer_placed([1, 2]) == [2, 4]
        with lane.places(9, 100):
            pass
        await lane.close()

    run(story())


def test_the_time_to_come_back_is_that_of_what_is_taken_at_the_measured_rate() -> None:
    async def story() -> None:
        lane = lane_of(Gate(), capacity=100)
        lane.start()
        await lane.answer(list(range(100)))
        seconds = []
        for taken in (10, 100):
            with lane.places(taken), pytest.raises(BusyError) as caught, lane.places(101 - taken):
                pass
            seconds.append(caught.value.retry_after_seconds)
        assert seconds == sorted(seconds) and seconds[0] >= 0.05
        await lane.close()

    run(story())


def test_a_paused_lane_keeps_what_waits_until_it_is_resumed_or_refused() -> None:
    async def story() -> None:
        gate = Gate()
        lane = lane_of(gate)
        lane.start()
        lane.pause()
        waiting = asyncio.ensure_future(lane.answer([1, 2]))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not waiting.done() and not gate.batches
        lane.resume()
        assert await waiting == [2, 4]
        lane.pause()
        refused = asyncio.ensure_future(lane.answer([3]))
        await asyncio.sleep(0)
        lane.refuse_waiting(lambda: ValueError("no worker"))
        with pytest.raises(ValueError, match="no worker"):
            await refused
        left = asyncio.ensure_future(lane.answer([4]))
        await asyncio.sleep(0)
        await lane.close()
        with pytest.raises(BusyError, match="stopping"):
            await left

    run(story())


def test_a_lane_that_was_closed_begins_again_in_another_loop() -> None:
    gate = Gate()
    lane = lane_of(gate)

    async def story() -> None:
        lane.start()
        await asyncio.sleep(0)  # the lane waits for what comes
        assert await lane.answer([1, 2]) == [2, 4]
        await lane.close()
        with pytest.raises(BusyError, match="stopping"):
            await lane.answer([3])

    run(story())
    run(story())
