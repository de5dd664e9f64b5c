"""Pictures prepared ahead: order, errors in their place, bounded look-ahead, and no thread left behind."""

import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pictures import encoded, picture
from tiny_clip import TinyClip

from clipworks.errors import InputError
from clipworks.model.loading import load
from clipworks.model.pipeline import BATCHES_AHEAD, CALLS_AT_ONCE, computed_ahead, prepared_batches, stacked

WAIT_SECONDS = 60


def square(value: int) -> npt.NDArray[np.uint8]:
    return np.full((2, 2, 3), value, dtype=np.uint8)


def cut(items: Sequence[Any], batch_size: int) -> list[Sequence[Any]]:
    return [items[start : start + batch_size] for start in range(0, len(items), batch_size)]


def preparing_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("clipworks-prepare")]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 100])
def test_batches_come_whole_and_in_order(batch_size: int) -> None:
    with prepared_batches(cut(range(20), batch_size), square) as batches:
        sizes, values = [], []
        for batch in batches:
            sizes.append(len(batch))
            values += stacked(batch)[:, 0, 0, 0].tolist()
    assert values == list(range(20))
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
    assert preparing_threads() == []


def test_nothing_gives_no_batch() -> None:
    with prepared_batches(cut([], 4), square) as batches:
        assert list(batches) == []


def test_a_bad_picture_is_an_error_in_its_place() -> None:
    def prepare(value: int) -> npt.NDArray[np.uint8]:
        if value in (1, 4):
            raise InputError(f"{value} is bad.", "Leave it out.")
        return square(value)

    with prepared_batches(cut(range(6), 3), prepare) as batches:
        shown = [x.message if isinstance(x, InputError) else int(x[0, 0, 0]) for b in batches for x in b]
    assert shown == [0, "1 is bad.", 2, 3, "4 is bad.", 5]
    with pytest.raises(InputError, match="1 is bad"):
        stacked([square(0), InputError("1 is bad."), InputError("2 is bad.")])


def test_the_next_batches_are_prepared_while_the_caller_works_on_one() -> None:
    done = [threading.Event() for _ in range(2 * (1 + BATCHES_AHEAD))]

    def prepare(value: int) -> npt.NDArray[np.uint8]:
        done[value].set()
        return square(value)

    with prepared_batches(cut(range(len(done)), 2), prepare) as batches:
        next(batches)
        assert all(event.wait(WAIT_SECONDS) for event in done)


def test_two_pictures_are_prepared_at_once() -> None:
    meeting = threading.Barrier(2)

    def prepare(value: int) -> npt.NDArray[np.uint8]:
        meeting.wait(WAIT_SECONDS)
        return square(value)

    with prepared_batches(cut(range(2), 2), prepare) as batches:
        assert len(stacked(next(batches))) == 2


def test_no_more_than_two_batches_are_prepared_ahead() -> None:
    started: list[int] = []

    def prepare(value: int) -> npt.NDArray[np.uint8]:
        started.append(value)
        return square(value)

    with prepared_batches(cut(range(1000), 2), prepare) as batches:
        for number in range(1, 6):
            next(batches)
            assert len(started) <= 2 * (number + BATCHES_AHEAD)


def broken_model() -> None:
    raise RuntimeError("the model broke")


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(("fail", "error"), [(broken_model, RuntimeError), (interrupt, KeyboardInterrupt)])
def test_after_an_error_or_an_interrupt_no_thread_remains_and_the_rest_is_dropped(
    fail: Callable[[], None], error: type[BaseException]
) -> None:
    started: list[int] = []

    def prepare(value: int) -> npt.NDArray[np.uint8]:
        started.append(value)
        return square(value)

    with pytest.raises(error), prepared_batches(cut(range(10_000), 8), prepare) as batches:
        for _ in batches:
            fail()
    assert preparing_threads() == []
    assert len(started) <= 8 * (1 + BATCHES_AHEAD)


def test_an_error_that_no_picture_causes_is_raised_where_its_batch_would_have_come() -> None:
    def prepare(value: int) -> npt.NDArray[np.uint8]:
        if value == 3:
            raise ZeroDivisionError
        return square(value)

    seen: list[int] = []
    with pytest.raises(ZeroDivisionError), prepared_batches(cut(range(6), 2), prepare) as batches:
        seen.extend(len(batch) for batch in batches)
    assert seen == [2]
    assert preparing_threads() == []


def computing_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("clipworks-compute")]


def test_results_come_in_order_whichever_batch_is_ready_first() -> None:
    second_is_done = threading.Event()

    def compute(batch: int) -> int:
        if batch == 0:
            assert second_is_done.wait(WAIT_SECONDS)
        if batch == 1:
            second_is_done.set()
        return 10 * batch

    with computed_ahead(range(5), compute) as results:
        assert list(results) == [0, 10, 20, 30, 40]
    assert computing_threads() == []


def test_no_batch_is_taken_before_it_can_be_computed() -> None:
    taken: list[int] = []
    batches = (taken.append(number) or number for number in range(100))
    with computed_ahead(batches, lambda batch: batch) as results:
        next(results)
        assert taken == list(range(CALLS_AT_ONCE))
    assert computing_threads() == []


def test_a_call_that_fails_is_an_error_in_its_place() -> None:
    def compute(batch: int) -> float:
        return 1 / (2 - batch)

    seen: list[float] = []
    with pytest.raises(ZeroDivisionError), computed_ahead(range(9), compute) as results:
        seen.extend(results)
    assert seen == [0.5, 1.0]
    assert computing_threads() == []


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return [encoded(picture("RGB", 40 + i, 33), "PNG") for i in range(9)]


def test_the_engine_gives_the_same_vectors_for_every_batch_size(
    tiny_clip: TinyClip, files: list[bytes]
) -> None:
    engine = load(tiny_clip.native, precision="f32")
    expected = engine.embed_images(files, batch_size=1)
    for batch_size in (2, 4, 9, 32):
        assert engine.embed_images(files, batch_size=batch_size) == pytest.approx(expected, abs=1e-6)
    assert engine.embed_images([]).shape == (0, engine.dim)


@pytest.mark.parametrize("place", [0, 4, 8])
def test_the_engine_names_the_first_bad_picture_wherever_it_stands(
    tiny_clip: TinyClip, files: list[bytes], place: int, tmp_path: Path
) -> None:
    wrong: list[Any] = [*files[:place], b"no picture", *files[place + 1 :], tmp_path / "none.png"]
    with pytest.raises(InputError, match=rf"Image 'images\[{place}\]' is not a readable picture"):
        load(tiny_clip.native, precision="f32").embed_images(wrong, batch_size=2)
    assert preparing_threads() == []
