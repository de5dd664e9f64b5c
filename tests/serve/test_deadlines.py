"""What a request hears when its time is over, its model is not there, or bodies fill the memory."""

import datetime
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from clipworks.errors import CheckpointError
from clipworks.serve.app import create_service_app
from clipworks.serve.fleet import Fleet
from clipworks.serve.roster import ModelSpec
from clipworks.serve.service import Service
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ADDRESS, ColourEngine, data_uri, picture, refusal
from tests.serve.workers import HeldWorker

YESTERDAY = datetime.date.today() - datetime.timedelta(days=1)
SPECS = (
    ModelSpec(id="colours", aliases=("default",)),
    ModelSpec(id="lazy", preload=False),
    ModelSpec(id="next", status="coming_soon"),
    ModelSpec(id="leaving", status="deprecated", shutdown_date=datetime.date(2999, 1, 1)),
    ModelSpec(id="gone", status="deprecated", shutdown_date=YESTERDAY, preload=False),
)
EMBEDDINGS = "/v1/embeddings"


@contextmanager
def served(**settings: Any) -> Iterator[tuple[TestClient, dict[str, HeldWorker]]]:
    """A client, and the newest worker of each model."""
    workers = {spec.id: HeldWorker(ColourEngine(spec.id)) for spec in SPECS}
    workers["lazy"].may_load.clear()
    given = ServeSettings(**settings)
    service = Service(given, Fleet(given, SPECS, lambda spec: workers[spec.id]), None)
    with TestClient(create_service_app(service), base_url=ADDRESS) as client:
        yield client, workers


def test_an_answer_that_takes_too_long_is_a_504_and_what_waited_is_never_worked_on() -> None:
    with served() as (client, workers), ThreadPoolExecutor(1) as pool:
        worker = workers["colours"]
        assert client.post(EMBEDDINGS, json={"model": "colours", "input": "red"}).status_code == 200
        worker.may_answer.clear()
        worker.has_begun_call.clear()
        first = pool.submit(client.post, EMBEDDINGS, json={"model": "colours", "input": "red"})
        assert worker.has_begun_call.wait(10)
        late = client.post(
            EMBEDDINGS,
            json={"model": "colours", "input": ["a", "b"]},
            headers={"x-request-timeout-ms": "20"},
        )
        assert "within 0.02 seconds" in refusal(late, 504, "deadline_exceeded", None)
        assert int(late.headers["retry-after"]) >= 1
        worker.may_answer.set()
        assert first.result().status_code == 200
        assert client.post(EMBEDDINGS, json={"model": "colours", "input": "blue"}).status_code == 200
        assert worker.calls == [("texts", 1)] * 3


def test_the_servers_own_limit_holds_where_the_client_names_none_or_more() -> None:
    with served(request_seconds=0.02) as (client, workers):
        client.get("/readyz")
        workers["colours"].may_answer.clear()
        for headers in ({}, {"x-request-timeout-ms": "9999999"}):
            answer = client.post(EMBEDDINGS, json={"model": "colours", "input": "red"}, headers=headers)
            assert answer.status_code in (503, 504)
        workers["colours"].may_answer.set()


@pytest.mark.parametrize("given", ["0", "-5", "1.5", "soon", "9" * 30, ""])
def test_a_time_that_is_no_number_is_refused(given: str) -> None:
    with served() as (client, _):
        answer = client.post(EMBEDDINGS, json={"input": "a"}, headers={"x-request-timeout-ms": given})
        refusal(answer, 400, "invalid_value", None)


def test_a_model_that_is_still_loading_is_a_503_with_a_time() -> None:
    with served() as (client, workers):
        ask = {"model": "lazy", "input": "red"}
        late = client.post(EMBEDDINGS, json=ask, headers={"x-request-timeout-ms": "20"})
        assert "being loaded" in refusal(late, 503, "model_loading", None)
        assert int(late.headers["retry-after-ms"]) >= 1
        states = {row["id"]: row["status"] for row in client.get("/v1/models").json()["data"]}
        ready = client.get("/readyz")
        assert states["lazy"] == ready.json()["models"]["lazy"] == "loading" and ready.status_code == 200
        workers["lazy"].may_load.set()
        assert client.post(EMBEDDINGS, json=ask).status_code == 200
        assert client.get("/v1/models/lazy").json()["status"] == "live"


def test_a_lazy_model_that_failed_leaves_the_server_ready_and_is_tried_again_for_the_next_request() -> None:
    with served() as (client, workers):
        lazy = workers["lazy"]
        lazy.failure, ask = CheckpointError("The weights are torn."), {"model": "lazy", "input": "red"}
        lazy.may_load.set()
        refusal(client.post(EMBEDDINGS, json=ask), 503, "model_failed", None)
        ready = client.get("/readyz")
        assert ready.status_code == 200 and ready.json()["models"]["lazy"] == "failed"
        lazy.failure, lazy.is_closed, until = None, False, time.monotonic() + 20
        while client.get("/v1/models/lazy").json()["status"] == "failed":
            assert time.monotonic() < until
        assert client.get("/v1/models/lazy").json()["status"] == "idle"
        assert client.post(EMBEDDINGS, json=ask).status_code == 200


def test_a_model_that_is_not_served_is_a_404_that_says_why() -> None:
    with served() as (client, _):
        for name, words in (("next", "coming_soon"), ("gone", f"shut down on {YESTERDAY}")):
            answer = client.post(EMBEDDINGS, json={"model": name, "input": "a"})
            assert words in refusal(answer, 404, "model_not_found", "model")
        assert client.get("/v1/models/next").json()["status"] == "coming_soon"


def test_models_are_listed_with_status_and_aliases_and_answer_under_them() -> None:
    with served() as (client, _):
        answer = client.post(EMBEDDINGS, json={"model": "default", "input": "a"})
        assert answer.status_code == 200 and answer.json()["model"] == "colours"
        assert client.post(EMBEDDINGS, json={"model": "leaving", "input": "a"}).status_code == 200
        rows = {row["id"]: row for row in client.get("/v1/models").json()["data"]}
        assert rows["colours"]["aliases"] == ["default"] and rows["colours"]["status"] == "live"
        assert rows["leaving"]["status"] == "deprecated"
        assert rows["leaving"]["shutdown_date"] == "2999-01-01"
        assert (rows["leaving"]["status"], rows["gone"]["status"]) == ("deprecated", "shut_down")
        assert client.get("/v1/models/default").json()["id"] == "colours"
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["models"] == {
            "colours": "ready",
            "lazy": "idle",
            "next": "coming_soon",
            "leaving": "ready",
            "gone": "idle",
        }


def test_the_bodies_of_all_requests_together_are_bounded() -> None:
    with (
        served(max_body_bytes=3000, max_bodies_bytes=4000) as (client, workers),
        ThreadPoolExecutor(1) as pool,
    ):
        worker = workers["colours"]
        body = {"model": "colours", "input": ["red " * 500]}
        assert client.post(EMBEDDINGS, json=body).status_code == 200
        worker.may_answer.clear()
        worker.has_begun_call.clear()
        first = pool.submit(client.post, EMBEDDINGS, json=body)
        assert worker.has_begun_call.wait(10)
        second = client.post(EMBEDDINGS, json=body)
        assert "bodies of requests" in refusal(second, 429, "server_is_overloaded", None)
        assert int(second.headers["retry-after-ms"]) >= 1
        worker.may_answer.set()
        assert first.result().status_code == 200
        assert client.post(EMBEDDINGS, json=body).status_code == 200


def test_a_worker_that_dies_in_a_call_is_a_503_and_the_next_request_is_answered() -> None:
    workers: list[HeldWorker] = []

    def make(spec: ModelSpec) -> HeldWorker:
        workers.append(HeldWorker(ColourEngine(spec.id)))
        if len(workers) == 1:
            workers[0].may_answer.clear()
        return workers[-1]

    settings = ServeSettings()
    service = Service(settings, Fleet(settings, SPECS[:1], make), None)
    with TestClient(create_service_app(service), base_url=ADDRESS) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, EMBEDDINGS, json={"input": [data_uri(picture())]})
        while not workers:
            client.get("/livez")
        assert workers[0].has_begun_call.wait(10)
        workers[0].die()
        refusal(first.result(), 503, "worker_lost", None)
        assert first.result().headers["retry-after"] == "2"
        assert client.post(EMBEDDINGS, json={"input": [data_uri(picture())]}).status_code == 200
        assert len(workers) == 2


def test_many_clients_of_a_dying_worker_all_hear_something() -> None:
    workers: list[HeldWorker] = []
    has_died = threading.Event()

    def make(spec: ModelSpec) -> HeldWorker:
        workers.append(HeldWorker(ColourEngine(spec.id)))
        return workers[-1]

    def ask(place: int) -> int:
        if place == 30:
            workers[0].die()
            has_died.set()
        return client.post(EMBEDDINGS, json={"input": [data_uri(picture()), "red"]}).status_code

    settings = ServeSettings(image_batch=2)
    service = Service(settings, Fleet(settings, SPECS[:1], make), None)
    with TestClient(create_service_app(service), base_url=ADDRESS) as client, ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, range(80)))
        assert set(statuses) <= {200, 503} and statuses.count(503) <= 16 and has_died.is_set()
        assert len(workers) == 2
