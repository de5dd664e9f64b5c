"""The last day of every model, minute by minute, with a clock of the test's own."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from clipworks.serve.minutes import KEPT_MINUTES, Minutes


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000_020.0

    def __call__(self) -> float:
        return self.now


def test_requests_are_summed_by_the_minute() -> None:
    clock = Clock()
    minutes = Minutes(clock)
    for seconds in (0.01, 0.02, 0.03):
        minutes.answered("a", 200, seconds)
    clock.now += 60
    minutes.answered("a", 503, 9.0)
    minutes.answered("a", 400, 9.0)
    first, second = minutes.stretches("a")
    assert (first.num_requests, first.num_failures, first.seconds) == (3, 0, 60.0)
    assert first.median_seconds == pytest.approx(0.02, rel=0.15)
    assert first.p95_seconds == pytest.approx(0.03, rel=0.15)
    assert (second.num_requests, second.num_failures, second.median_seconds) == (2, 1, None)
    assert minutes.whole("a").num_requests == 5
    assert minutes.whole("b").num_requests == 0 and minutes.whole("b").share_up is None


@pytest.mark.parametrize("seconds", [0.0, 0.0004, 0.5, 100.0, 1e6])
def test_any_time_has_a_place(seconds: float) -> None:
    minutes = Minutes(Clock())
    minutes.answered("a", 200, seconds)
    found = minutes.whole("a").median_seconds
    assert found is not None
    if 0.001 < seconds < 100:
        assert found == pytest.approx(seconds, rel=0.15)


def test_a_long_time_is_shown_in_as_many_parts_as_are_asked_for_and_a_day_is_kept() -> None:
    clock = Clock()
    minutes = Minutes(clock)
    for _ in range(KEPT_MINUTES + 300):
        minutes.seen("a", True)
        minutes.answered("a", 200, 0.1)
        clock.now += 60
    clock.now -= 60
    stretches = minutes.stretches("a", most=60)
    assert len(stretches) == 60 and all(one.num_requests == 24 for one in stretches)
    assert minutes.whole("a").num_requests == KEPT_MINUTES
    assert minutes.whole("a").share_up == 1.0


def test_a_time_in_which_it_was_down_shows() -> None:
    clock = Clock()
    minutes = Minutes(clock)
    minutes.seen("a", True)
    minutes.seen("a", False)
    clock.now += 120
    minutes.seen("a", True)
    assert [one.share_up for one in minutes.stretches("a")] == [0.5, None, 1.0]


def test_a_clock_that_is_set_back_loses_nothing() -> None:
    clock = Clock()
    minutes = Minutes(clock)
    clock.now += 300
    minutes.answered("a", 200, 0.1)
    clock.now -= 120
    minutes.answered("a", 200, 0.1)
    clock.now += 120
    assert minutes.whole("a").num_requests == 2


def test_watching_looks_at_once_and_goes_on() -> None:
    minutes, looks = Minutes(Clock()), 0

    def look() -> dict[str, bool]:
        nonlocal looks
        looks += 1
        return {"a": True}

    async def watch() -> None:
        watching = asyncio.ensure_future(minutes.watch(look))
        await asyncio.sleep(0)
        watching.cancel()

    asyncio.run(watch())
    assert looks == 1 and minutes.whole("a").share_up == 1.0


def test_a_thread_reads_while_the_loop_notes() -> None:
    clock = Clock()
    minutes = Minutes(clock)
    for _ in range(KEPT_MINUTES):
        minutes.seen("a", True)
        clock.now += 60
    is_over = threading.Event()

    def read() -> int:
        times = 0
        while not is_over.is_set() or not times:
            assert len(minutes.stretches("a")) == 60
            assert minutes.whole("a").share_up == 1.0
            times += 1
        return times

    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(read)
        for _ in range(20_000):
            minutes.seen("a", True)
            clock.now += 60
        is_over.set()
        assert reading.result() > 0
