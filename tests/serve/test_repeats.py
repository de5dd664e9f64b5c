"""A request that is sent again under its `Idempotency-Key`: the same bytes, no work, nothing paid."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from clipworks.serve.database import Database
from clipworks.serve.keys import KeyTerms
from clipworks.serve.tables import REPEATS
from tests.serve.colours import ColourEngine, data_uri, picture, refusal
from tests.serve.paying import TEXT_COST, assert_books_agree, balance, bearer, new_key, paid_server, rows

EMBEDDINGS = "/v1/embeddings"
BODY = {"model": "colours", "input": "red"}
RED = data_uri(picture("red"))


def named(secret: str, name: str = "order-1") -> dict[str, str]:
    return {**bearer(secret), "idempotency-key": name}


def num_kept(database: Database) -> int:
    with database.read() as connection:
        return len(connection.execute(REPEATS.select()).all())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (EMBEDDINGS, {**BODY, "input": ["red", RED, "a text"]}),
        (EMBEDDINGS, {**BODY, "encoding_format": "base64"}),
        (EMBEDDINGS, {**BODY, "input": ["red", {"image": "AAAA"}], "on_error": "null"}),
        ("/v1/classify", {"model": "colours", "input": RED, "labels": ["red", "blue"]}),
        ("/v2/rerank", {"model": "colours", "query": "red", "documents": ["red", "blue"]}),
        ("/v2/embed", {"model": "colours", "texts": ["red"], "embedding_types": ["float", "int8"]}),
        ("/embed", {"inputs": ["red"]}),
    ],
)
def test_every_family_is_answered_byte_for_byte_and_the_engine_is_not_asked(
    address: str, path: str, body: dict[str, Any]
) -> None:
    engine = ColourEngine()
    with paid_server(address, engine) as (client, database):
        _, secret = new_key(database)
        first = client.post(path, json=body, headers=named(secret))
        assert first.status_code == 200, first.text
        assert "idempotent-replayed" not in first.headers
        paid, calls = balance(database), list(engine.calls)
        again = client.post(path, json=body, headers=named(secret))
        assert (again.status_code, again.content) == (200, first.content)
        assert again.headers["idempotent-replayed"] == "true"
        for header in ("content-type", "content-length", "x-request-cost-usd", "x-credit-remaining-usd"):
            assert again.headers[header] == first.headers[header]
        assert again.headers["x-request-id"] != first.headers["x-request-id"]
        assert balance(database) == paid and engine.calls == calls and len(rows(database, "settle")) == 1
        assert_books_agree(database)


def test_the_next_server_answers_the_same_to_an_account_whose_credit_is_out(address: str) -> None:
    with paid_server(address) as (client, database):
        _, secret = new_key(database, credit=TEXT_COST, terms=KeyTerms(name="a", images_per_minute=1))
        first = client.post(EMBEDDINGS, json=BODY, headers=named(secret))
    with paid_server(address) as (client, database):
        again = client.post(EMBEDDINGS, json=BODY, headers=named(secret))
        assert (again.status_code, again.content) == (200, first.content)
        refusal(
            client.post(EMBEDDINGS, json=BODY, headers=bearer(secret)), 402, "credit_balance_exhausted", None
        )


def test_an_answer_that_is_too_large_to_keep_is_computed_again_and_not_paid_again(address: str) -> None:
    engine = ColourEngine()
    with paid_server(address, engine, idempotency_bytes=10) as (client, database):
        _, secret = new_key(database)
        first = client.post(EMBEDDINGS, json=BODY, headers=named(secret))
        again = client.post(EMBEDDINGS, json=BODY, headers=named(secret))
        assert again.json()["data"] == first.json()["data"] and again.json()["id"] != first.json()["id"]
        assert again.headers["idempotent-replayed"] == "true"
        assert len(engine.calls) == 2 and balance(database) == 1_000_000 - TEXT_COST


def test_a_name_belongs_to_its_account_and_to_one_request(address: str) -> None:
    with paid_server(address) as (client, database):
        (_, mine), (_, other) = new_key(database), new_key(database, "other")
        assert client.post(EMBEDDINGS, json=BODY, headers=named(mine)).status_code == 200
        answer = client.post(EMBEDDINGS, json={**BODY, "input": "blue"}, headers=named(other))
        assert answer.status_code == 200 and "idempotent-replayed" not in answer.headers
        for path, body in ((EMBEDDINGS, {**BODY, "input": "blue"}), ("/embeddings", BODY)):
            refused = client.post(path, json=body, headers=named(mine))
            assert refused.status_code == 409 and refused.headers["x-should-retry"] == "false"


def test_equal_requests_at_the_same_time_are_one_answer_and_refusals_that_may_be_retried(
    address: str,
) -> None:
    engine = ColourEngine()
    engine.gate = threading.Event()
    with paid_server(address, engine) as (client, database), ThreadPoolExecutor(8) as pool:
        _, secret = new_key(database)
        asking = [pool.submit(client.post, EMBEDDINGS, json=BODY, headers=named(secret)) for _ in range(8)]
        refused = []
        while len(refused) < 7:
            refused = [one.result() for one in asking if one.done()]
        engine.gate.set()
        (answer,) = [one.result() for one in asking if one.result().status_code == 200]
        for one in refused:
            refusal(one, 409, "idempotency_in_progress", None)
            assert one.headers.get("x-should-retry") != "false"
        assert client.post(EMBEDDINGS, json=BODY, headers=named(secret)).content == answer.content
        assert balance(database) == 1_000_000 - TEXT_COST
        assert_books_agree(database)


def test_what_was_not_answered_or_cost_nothing_is_not_remembered(address: str) -> None:
    engine = ColourEngine()
    with paid_server(address, engine) as (client, database):
        _, secret = new_key(database)
        engine.failure = RuntimeError("not now")
        assert client.post(EMBEDDINGS, json=BODY, headers=named(secret)).status_code == 500
        assert client.post(EMBEDDINGS, json={"input": 5}, headers=named(secret)).status_code == 400
        engine.failure = None
        free = {**BODY, "input": [{"image": "AAAA"}], "on_error": "null"}
        assert client.post(EMBEDDINGS, json=free, headers=named(secret)).status_code == 200
        assert num_kept(database) == 0 and balance(database) == 1_000_000
        answer = client.post(EMBEDDINGS, json=BODY, headers=named(secret))
        assert answer.status_code == 200 and "idempotent-replayed" not in answer.headers


def test_a_name_is_forgotten_after_its_time(address: str) -> None:
    hours = 1e-9
    with paid_server(address, idempotency_hours=hours) as (client, database):
        _, secret = new_key(database)
        assert client.post(EMBEDDINGS, json=BODY, headers=named(secret)).status_code == 200
    with paid_server(address, idempotency_hours=hours) as (client, database):
        assert num_kept(database) == 0
        answer = client.post(EMBEDDINGS, json={**BODY, "input": "blue"}, headers=named(secret))
        assert answer.status_code == 200 and balance(database) == 1_000_000 - 2 * TEXT_COST
