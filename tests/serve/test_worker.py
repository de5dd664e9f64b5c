"""A real worker process: its answers, its failures and its deaths."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipworks.errors import ClipworksError
from clipworks.serve.filling import filled_size
from clipworks.serve.problems import UnavailableError
from clipworks.serve.worker import ProcessWorker, ThreadWorker
from tests.serve.colours import ColourEngine
from tests.serve.workers import STOP, broken, colours, dying, refusing, rows, stopping, stuck


def worker_of(load: Any, **given: float) -> ProcessWorker:
    limits = {"call_seconds": 30.0, "load_seconds": 30.0, **given}
    return ProcessWorker("colours", load, image_batch=4, text_batch=4, **limits)


class Gone:
    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self) -> None:
        self.event.set()


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.fixture(scope="module")
def worker() -> Iterator[ProcessWorker]:
    worker = worker_of(colours)
    worker.start(lambda: None)
    yield worker
    worker.close()


def test_vectors_and_patches_asked_for_at_once_are_of_the_pictures_that_were_sent(
    worker: ProcessWorker,
) -> None:
    engine: Any = ColourEngine()
    pixels = np.random.default_rng(2).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    with ThreadPoolExecutor(4) as threads:
        vectors = threads.map(lambda one: worker.embed_pixels([one])[0], pixels)
        patches = threads.map(lambda one: worker.embed_patches([one])[0], pixels[::-1])
        np.testing.assert_array_equal(np.stack(list(vectors)), engine.embed_pixels(pixels))
        np.testing.assert_array_equal(np.stack(list(patches)), engine.embed_patches(pixels[::-1]))


def test_a_process_answers_as_the_engine_itself_does(worker: ProcessWorker) -> None:
    engine: Any = ColourEngine()
    alone = ThreadWorker(lambda: engine)
    alone.start(lambda: None)
    pixels = list(np.random.default_rng(1).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8))
    texts = rows("a red square", "something else", "green " * 200)
    for count in (1, 4, 2):
        np.testing.assert_array_equal(worker.embed_pixels(pixels[:count]), alone.embed_pixels(pixels[:count]))
    np.testing.assert_array_equal(worker.embed_patches(pixels[:3]), alone.embed_patches(pixels[:3]))
    np.testing.assert_array_equal(worker.embed_tokens(texts), alone.embed_tokens(texts))
    assert worker.resident_bytes() > 10 << 20 and alone.resident_bytes() == 0
    alone.close()


def test_the_towers_answer_side_by_side(worker: ProcessWorker) -> None:
    pixels = [np.zeros((8, 8, 3), dtype=np.uint8)]
    wanted = worker.embed_pixels(pixels), worker.embed_tokens(rows("red"))
    wrong = []

    def ask(place: int) -> None:
        for _ in range(50):
            got = worker.embed_tokens(rows("red")) if place else worker.embed_pixels(pixels)
            if not np.array_equal(got, wanted[place]):
                wrong.append(place)

    threads = [threading.Thread(target=ask, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_stops_a_load_is_said_with_its_remedy() -> None:
    with pytest.raises(ClipworksError, match="The weights are torn. Mend them."):
        worker_of(refusing).start(lambda: None)


def test_a_bug_of_the_loader_is_an_error_too() -> None:
    with pytest.raises(ClipworksError, match="Loading failed: ValueError: a bug of the loader"):
        worker_of(broken).start(lambda: None)


@pytest.mark.slow
def test_a_process_that_dies_while_loading_is_an_error() -> None:
    with pytest.raises(UnavailableError, match="died while it was loading"):
        worker_of(dying).start(lambda: None)


def test_loading_that_takes_too_long_is_given_up(pipe: Path) -> None:
    worker = worker_of(partial(stuck, pipe), load_seconds=0.05)
    with pytest.raises(ClipworksError, match="CLIPWORKS_LOAD_SECONDS"):
        worker.start(lambda: None)


@pytest.mark.slow
def test_closing_ends_a_load(pipe: Path) -> None:
    worker = worker_of(partial(stuck, pipe))
    errors: list[Exception] = []

    def start() -> None:
        try:
            worker.start(lambda: None)
        except UnavailableError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    assert pipe.read_text() == "begun"
    worker.close()
    thread.join(10)
    assert len(errors) == 1


def test_a_worker_that_was_closed_does_not_start() -> None:
    worker = worker_of(colours)
    worker.close()
    with pytest.raises(UnavailableError, match="was stopped"):
        worker.start(lambda: None)


@pytest.mark.slow
def test_killed_while_idle_it_says_so_and_later_calls_fail_at_once() -> None:
    worker, gone = worker_of(colours), Gone()
    worker.start(gone)
    os.kill(worker.process_id, signal.SIGKILL)
    assert gone.event.wait(10)
    with pytest.raises(UnavailableError, match="died during the call"):
        worker.embed_tokens(rows("red"))
    assert worker.resident_bytes() == 0
    worker.close()


def test_killed_in_a_call_the_call_fails(pipe: Path) -> None:
    worker, gone = worker_of(partial(stopping, pipe)), Gone()
    worker.start(gone)
    killer = threading.Thread(target=lambda: pipe.read_text() and os.kill(worker.process_id, signal.SIGKILL))
    killer.start()
    with pytest.raises(UnavailableError) as caught:
        worker.embed_tokens(rows(STOP))
    assert caught.value.code == "worker_lost" and caught.value.retry_after_seconds > 0
    killer.join()
    assert gone.event.wait(10)
    worker.close()


@pytest.mark.slow
def test_a_worker_that_hangs_is_killed(pipe: Path) -> None:
    worker, gone = worker_of(partial(stopping, pipe), call_seconds=0.2), Gone()
    worker.start(gone)
    reader = threading.Thread(target=pipe.read_text)
    reader.start()
    with pytest.raises(UnavailableError, match="did not answer within 0.2 seconds"):
        worker.embed_tokens(rows(STOP))
    assert gone.event.wait(10)
    reader.join()
    worker.close()


def test_an_error_of_the_engine_is_told_and_the_worker_lives_on(pipe: Path) -> None:
    worker = worker_of(partial(stopping, pipe))
    worker.start(lambda: None)
    with pytest.raises(RuntimeError, match="the engine's own words"):
        worker.embed_tokens(rows("fail"))
    assert worker.embed_tokens(rows("red")).shape == (1, 8)
    worker.close()


def test_signals_for_the_whole_group_do_not_end_it(worker: ProcessWorker) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.process_id, number)
    assert worker.embed_tokens(rows("red")).shape == (1, 8)


def test_an_engine_that_a_thread_loads_is_warmed_for_one_item_and_for_a_full_batch() -> None:
    engine: Any = ColourEngine()
    ThreadWorker(lambda: engine, batches=(4, 7)).start(lambda: None)
    assert engine.calls == [("images", 1), ("texts", 1), ("images", 4), ("texts", 7)]


def test_few_numbers_of_rows_reach_the_engine_and_little_is_computed_for_nothing() -> None:
    sizes = [filled_size(count, 32) for count in range(1, 33)]
    assert sorted(set(sizes)) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32]
    assert all(count <= size < 1.5 * count for count, size in enumerate(sizes, 1))
    assert [filled_size(count, 5) for count in (3, 4, 5)] == [3, 4, 5]


def test_rows_that_fill_up_a_batch_have_no_answers(worker: ProcessWorker) -> None:
    engine: Any = ColourEngine()
    alone = ThreadWorker(lambda: engine, batches=(8, 8))
    alone.start(lambda: None)
    engine.calls.clear()
    texts = rows("red", "green", "blue", "a red square", "something else")
    pixels = list(np.random.default_rng(1).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8))
    of_texts, of_pixels = alone.embed_tokens(texts), alone.embed_pixels(pixels)
    assert engine.calls == [("texts", 6), ("images", 6)] and len(of_texts) == len(of_pixels) == 5
    np.testing.assert_array_equal(of_texts[:3], worker.embed_tokens(texts[:3]))
    np.testing.assert_array_equal(of_pixels[:3], worker.embed_pixels(pixels[:3]))
