"""Models come and go: loads, deaths, replacement, deadlines, the memory budget. Every waiter hears of it."""

import asyncio
import datetime
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from clipworks.errors import CheckpointError, ClipworksError, ConfigError
from clipworks.serve import fleet as fleet_module
from clipworks.serve.batcher import BatchError
from clipworks.serve.fleet import Fleet
from clipworks.serve.inputs import Picture
from clipworks.serve.problems import UnavailableError
from clipworks.serve.roster import ModelSpec
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ColourEngine, picture
from tests.serve.workers import HeldWorker


class Stage:
    """A fleet of held workers; `made[name]` are those of a model, the newest last."""

    def __init__(self, *specs: ModelSpec, num_bytes: int = 0, **settings: Any) -> None:
        self.made: dict[str, list[HeldWorker]] = {spec.id: [] for spec in specs}
        self.arrange: Callable[[HeldWorker], None] = lambda worker: None
        self._num_bytes = num_bytes
        self.fleet = Fleet(ServeSettings(**settings), specs, self._make)
        self.models = self.fleet.models

    def _make(self, spec: ModelSpec) -> HeldWorker:
        worker = HeldWorker(ColourEngine(spec.id), num_bytes=self._num_bytes)
        self.arrange(worker)
        self.made[spec.id].append(worker)
        return worker


def run(story: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await story

    asyncio.run(limited())


async def happens(event: Any) -> None:
    assert await asyncio.to_thread(event.wait, 10)


async def until(condition: Callable[[], bool], model: Any) -> None:
    while not condition():
        await model.changed()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "_FIRST_PAUSE_SECONDS", 0.0)


A, B = ModelSpec(id="a"), ModelSpec(id="b")
LAZY = ModelSpec(id="a", preload=False)


def test_two_requests_at_once_load_a_model_once() -> None:
    async def story() -> None:
        stage = Stage(LAZY)
        stage.arrange = lambda worker: worker.may_load.clear()
        async with stage.fleet.running():
            model = stage.models["a"]
            assert model.state == "idle" and model.facts is None
            both = [asyncio.ensure_future(model.embed_texts([text])) for text in ("red", "blue")]
            await until(lambda: bool(stage.made["a"]), model)
            assert model.state == "loading"
            stage.made["a"][0].may_load.set()
            assert [(await one).shape for one in both] == [(1, 8), (1, 8)]
            assert len(stage.made["a"]) == 1 and model.state == "live"

    run(story())


def test_a_worker_that_dies_idle_is_replaced_before_anybody_asks() -> None:
    async def story() -> None:
        stage = Stage(A)
        async with stage.fleet.running():
            await stage.fleet.loaded()
            stage.made["a"][0].die()
            await until(
                lambda: len(stage.made["a"]) == 2 and stage.models["a"].state == "live", stage.models["a"]
            )
            assert (await stage.models["a"].embed_texts(["red"])).shape == (1, 8)
            assert stage.made["a"][0].is_closed
            # Only the first is warmed before it is live: behind the next ones requests wait.
            assert [worker.warms for worker in stage.made["a"]] == [True, False]

    run(story())


def test_a_worker_that_dies_in_a_call_fails_that_call_and_the_next_worker_answers_what_waits() -> None:
    async def story() -> None:
        stage = Stage(A)
        async with stage.fleet.running():
            await stage.fleet.loaded()
            model, first = stage.models["a"], stage.made["a"][0]
            first.may_answer.clear()
            lost = asyncio.ensure_future(model.embed_texts(["red"]))
            await happens(first.has_begun_call)
            waits = [asyncio.ensure_future(model.embed_texts([word])) for word in ("blue", "green", "black")]
            await asyncio.sleep(0)
            first.die()
            with pytest.raises(UnavailableError) as caught:
                await lost
            assert caught.value.code == "worker_lost" and caught.value.retry_after_seconds == 2.0
            assert [rows.shape for rows in await asyncio.gather(*waits)] == [(1, 8)] * 3
            assert (await model.embed_texts(["red"])).shape == (1, 8)

    run(story())


def test_a_worker_that_dies_while_it_loads_is_started_again() -> None:
    async def story() -> None:
        stage = Stage(A)
        died: list[HeldWorker] = []

        def first_dies(worker: HeldWorker) -> None:
            if not died:
                died.append(worker)
                worker.failure = UnavailableError("It died while loading.", code="worker_lost")

        stage.arrange = first_dies
        async with stage.fleet.running():
            model = stage.models["a"]
            await until(lambda: model.state == "live", model)
            assert len(stage.made["a"]) == 2

    run(story())


def test_a_model_that_cannot_be_loaded_says_so_to_everybody_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fleet_module, "_FIRST_PAUSE_SECONDS", 25.0)

    def tear(worker: HeldWorker) -> None:
        worker.failure = CheckpointError("The weights are torn.")

    async def story() -> None:
        stage = Stage(A)
        stage.arrange = tear
        async with stage.fleet.running():
            with pytest.raises(CheckpointError, match="torn"):
                await stage.fleet.loaded()
            model = stage.models["a"]
            assert model.state == "failed"
            with pytest.raises(UnavailableError) as caught:
                await model.embed_texts(["red"])
            assert caught.value.code == "model_failed" and 20 < caught.value.retry_after_seconds <= 25
            assert not await model.is_ready()

    run(story())


def test_a_request_that_waits_for_a_model_which_fails_hears_it() -> None:
    async def story() -> None:
        stage = Stage(LAZY)

        def hold(worker: HeldWorker) -> None:
            worker.may_load.clear()
            worker.failure = ValueError("a bug")

        stage.arrange = hold
        async with stage.fleet.running():
            model = stage.models["a"]
            waits = asyncio.ensure_future(model.embed_texts(["red"]))
            await until(lambda: bool(stage.made["a"]), model)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(fleet_module, "_FIRST_PAUSE_SECONDS", 25.0)
                stage.made["a"][0].may_load.set()
                with pytest.raises(UnavailableError, match="could not be loaded"):
                    await waits

    run(story())


def test_a_caller_whose_time_is_over_while_the_model_loads_is_told_that_it_loads() -> None:
    async def story() -> None:
        stage = Stage(LAZY)
        stage.arrange = lambda worker: worker.may_load.clear()
        async with stage.fleet.running():
            model = stage.models["a"]
            waits = asyncio.ensure_future(model.embed_texts(["red"]))
            await until(lambda: bool(stage.made["a"]), model)
            waits.cancel()
            with pytest.raises(UnavailableError) as caught:
                await waits
            assert caught.value.code == "model_loading"
            stage.made["a"][0].may_load.set()
            assert (await model.embed_texts(["red"])).shape == (1, 8)

    run(story())


def test_the_model_not_used_for_longest_finishes_its_work_and_makes_room() -> None:
    async def story() -> None:
        c = ModelSpec(id="c", preload=False)
        stage = Stage(A, B, c, num_bytes=40, memory_budget_bytes=100)
        async with stage.fleet.running():
            await stage.fleet.loaded()
            a, b = stage.models["a"], stage.models["b"]
            await b.embed_texts(["red"])
            await a.embed_texts(["red"])
            worker = stage.made["b"][0]
            worker.may_answer.clear()
            worker.has_begun_call.clear()
            a_busy = stage.made["a"][0]
            a_busy.may_answer.clear()
            a_busy.has_begun_call.clear()
            in_work = asyncio.ensure_future(b.embed_texts(["blue"]))
            in_work_too = asyncio.ensure_future(a.embed_texts(["blue"]))
            await happens(worker.has_begun_call)
            await happens(a_busy.has_begun_call)
            third = asyncio.ensure_future(stage.models["c"].embed_texts(["red"]))
            await until(lambda: b.state == "unloading", b)
            assert not worker.is_closed and a.state == "live"
            worker.may_answer.set()
            a_busy.may_answer.set()
            assert (await in_work).shape == (1, 8) and (await in_work_too).shape == (1, 8)
            assert (await third).shape == (1, 8)
            assert (a.state, b.state) == ("live", "idle") and worker.is_closed
            assert (await b.embed_texts(["red"])).shape == (1, 8)
            assert [one.state for one in stage.models.values()].count("live") == 2

    run(story())


def test_the_expected_size_makes_room_before_the_load() -> None:
    async def story() -> None:
        big = ModelSpec(id="b", preload=False, memory_bytes=90)
        stage = Stage(A, big, num_bytes=40, memory_budget_bytes=100)
        async with stage.fleet.running():
            await stage.fleet.loaded()
            await stage.models["b"].embed_texts(["red"])
            assert stage.made["a"][0].is_closed and stage.models["a"].state == "idle"
            assert stage.models["b"].known_bytes == 40

    run(story())


def test_a_model_larger_than_the_budget_is_refused_with_both_numbers() -> None:
    async def story() -> None:
        stage = Stage(A, num_bytes=101, memory_budget_bytes=100)
        async with stage.fleet.running():
            with pytest.raises(ConfigError, match="101 bytes.*100.*MEMORY_BUDGET"):
                await stage.fleet.loaded()
            assert stage.made["a"][0].is_closed

    run(story())


def test_a_checkpoint_that_changed_between_two_workers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        stage = Stage(A)
        async with stage.fleet.running():
            await stage.fleet.loaded()
            monkeypatch.setattr(fleet_module, "_FIRST_PAUSE_SECONDS", 25.0)
            stage.arrange = lambda worker: setattr(worker.engine, "fingerprint", "f" * 64)
            stage.made["a"][0].die()
            model = stage.models["a"]
            await until(lambda: model.state == "failed", model)
            assert "have changed" in str(model.error)

    run(story())


def test_more_pixels_than_the_queue_may_hold_are_refused_when_the_model_is_loaded() -> None:
    async def story() -> None:
        stage = Stage(A, max_pixel_bytes=64 * 8 * 8 * 3 - 1)
        async with stage.fleet.running():
            with pytest.raises(ConfigError, match="MAX_PIXEL_BYTES"):
                await stage.fleet.loaded()

    run(story())


def test_closing_during_a_load_ends_it_and_answers_who_waits() -> None:
    async def story() -> None:
        stage = Stage(LAZY)
        stage.arrange = lambda worker: worker.may_load.clear()
        async with stage.fleet.running():
            waits = asyncio.ensure_future(stage.models["a"].embed_texts(["red"]))
            await until(lambda: bool(stage.made["a"]), stage.models["a"])
            await happens(stage.made["a"][0].has_begun_loading)
        assert stage.made["a"][0].is_closed
        with pytest.raises(UnavailableError, match="stopping"):
            await waits

    run(story())


def test_closing_during_a_call_waits_for_it_and_then_ends_the_worker() -> None:
    async def story() -> None:
        stage = Stage(A, shutdown_seconds=0.05)
        async with stage.fleet.running():
            await stage.fleet.loaded()
            worker = stage.made["a"][0]
            worker.may_answer.clear()
            hangs = asyncio.ensure_future(stage.models["a"].embed_texts(["red"]))
            await happens(worker.has_begun_call)
        with pytest.raises(ClipworksError):
            await hangs
        assert worker.is_closed

    run(story())


def test_closing_during_a_call_in_a_thread_that_never_ends_gives_it_up() -> None:
    """A thread cannot be ended from outside, so `close` of such a worker does not end its calls."""

    async def story() -> None:
        stage = Stage(A, shutdown_seconds=0.05)
        stage.arrange = lambda worker: setattr(worker, "close", lambda: None)
        async with stage.fleet.running():
            await stage.fleet.loaded()
            worker = stage.made["a"][0]
            worker.may_answer.clear()
            hangs = asyncio.ensure_future(stage.models["a"].embed_texts(["red"]))
            await happens(worker.has_begun_call)
            started = time.monotonic()
        with pytest.raises(BatchError):
            await hangs
        assert time.monotonic() - started < 5
        worker.may_answer.set()

    run(story())


def test_a_head_is_built_once_for_all_who_ask_and_kept() -> None:
    async def story() -> None:
        stage = Stage(A, max_texts=4, max_text_queue=4)
        async with stage.fleet.running():
            await stage.fleet.loaded()
            model, engine = stage.models["a"], stage.made["a"][0].engine
            labels, templates = ["red", "green", "blue"], ["a {}", "the {}"]
            heads = await asyncio.gather(*(model.label_head(labels, templates) for _ in range(5)))
            for head in heads:
                np.testing.assert_allclose(head, engine.label_head(labels, templates), atol=1e-6)
            assert sum(count for _, count in stage.made["a"][0].calls) == 6

    run(story())


def test_both_towers_are_asked_when_readiness_is() -> None:
    async def story() -> None:
        stage = Stage(A)
        async with stage.fleet.running():
            await stage.fleet.loaded()
            model = stage.models["a"]
            assert await model.is_ready(0.0)
            assert sorted(stage.made["a"][0].calls) == [("images", 1), ("texts", 1)]
            await model.embed_images([Picture(data=picture(), param="x")])

    run(story())


def test_a_fault_in_what_watches_a_model_is_told_to_who_waits_and_leaves_other_models_alone() -> None:
    async def story() -> None:
        stage = Stage(LAZY, B)

        def fail(worker: HeldWorker) -> None:
            if worker.engine.name == "a":
                raise ValueError("a bug of ours")

        stage.arrange = fail
        async with stage.fleet.running():
            await stage.fleet.loaded()
            model = stage.models["a"]
            for _ in range(2):
                with pytest.raises(UnavailableError) as caught:
                    await model.embed_texts(["red"])
                assert caught.value.code == "model_failed" and caught.value.retry_after_seconds > 3000
            assert model.state == "failed" and "a bug of ours" in str(model.error)
            assert (await stage.models["b"].embed_texts(["red"])).shape == (1, 8)

    run(story())


def test_a_model_that_was_shut_down_is_not_loaded() -> None:
    async def story() -> None:
        over = ModelSpec(id="a", status="deprecated", shutdown_date=datetime.date(2020, 1, 1))
        stage = Stage(over, B)
        async with stage.fleet.running():
            await stage.fleet.loaded()
            assert stage.made["a"] == [] and stage.models["b"].state == "live"

    run(story())
