"""A request that is sent again under its `Idempotency-Key`: the same bytes, no work, nothing paid."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from clipworks.serve import repeats
from clipworks.serve.database import Database
from clipworks.serve.keys import KeyTerms, now_ms
from clipworks.serve.problems import RequestError
from clipworks.serve.repeats import Answer, Repeat
from clipworks.serve.tables import REPEATS
from tests.serve.cluster import new_sqlite
from tests.serve.colours import ColourEngine, data_uri, picture, refusal
from tests.serve.paying import (
    TEXT_COST,
    assert_books_agree,
    balance,
    bearer,
    code_of,
    new_key,
    order_of,
    paid_server,
    release,
    reserve,
    rows,
    settle,
)

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
        kept = ("content-type", "content-length", "x-model-fingerprint")
        for header in (*kept, "x-request-cost-usd", "x-credit-remaining-usd"):
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
            assert one.headers.get("x-should-retry") != "false" and one.headers["retry-after-ms"] == "500"
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


def test_the_same_idempotency_key_is_the_same_charge(database: Database) -> None:
    key, _ = new_key(database)
    order = order_of(key, repeat=Repeat(key="mine", digest="a" * 64))
    first = reserve(database, order)
    assert code_of(lambda: reserve(database, order)) == (409, "idempotency_in_progress")
    settle(database, order, first.charge_id)
    again = reserve(database, order)
    assert (again.is_settled, again.charge_id, again.cost_micro_usd) == (True, first.charge_id, 47)
    other = replace(order, repeat=Repeat(key="mine", digest="b" * 64))
    assert code_of(lambda: reserve(database, other)) == (409, "idempotency_conflict")
    assert balance(database) == 1_000_000 - 47
    assert_books_agree(database)


def test_an_idempotency_key_is_free_again_when_its_charge_is_released_or_old(database: Database) -> None:
    key, _ = new_key(database)
    order = order_of(key, repeat=Repeat(key="mine", digest="a" * 64))
    release(database, reserve(database, order).charge_id)
    settle(database, order, reserve(database, order).charge_id)
    with database.write() as connection:
        repeats.forget(connection, before_ms=now_ms() + 1)
    assert not reserve(database, order).is_settled


def test_what_was_answered_is_kept_with_the_charge(database: Database) -> None:
    key, _ = new_key(database)
    repeat = Repeat(key="mine", digest="a" * 64)
    order, answer = order_of(key, repeat=repeat), Answer(body=b"\x00\xff", media_type="text/plain")
    with database.read() as connection:
        assert repeats.earlier(connection, key.account_id, repeat) is None
    charge_id = settle(database, order, reserve(database, order).charge_id, answer)
    with database.read() as connection:
        known = repeats.earlier(connection, key.account_id, repeat)
        assert known is not None and known.answer == answer
        other = Repeat(key="mine", digest="b" * 64)
        assert code_of(lambda: repeats.earlier(connection, key.account_id, other))[0] == 409
    release(database, charge_id, may_refund=True)
    with database.read() as connection:
        assert repeats.earlier(connection, key.account_id, repeat) is None


def test_a_request_that_was_taken_for_abandoned_and_sent_again_is_paid_once(database: Database) -> None:
    key, _ = new_key(database)
    order = order_of(key, repeat=Repeat(key="mine", digest="a" * 64))
    late = reserve(database, order)
    release(database, late.charge_id)
    again = reserve(database, order)
    assert code_of(lambda: settle(database, order, late.charge_id)) == (409, "idempotency_in_progress")
    settle(database, order, again.charge_id)
    assert code_of(lambda: settle(database, order, late.charge_id)) == (409, "idempotency_in_progress")
    assert balance(database) == 1_000_000 - 47
    release(database, again.charge_id, may_refund=True)
    anew = settle(database, order, late.charge_id)
    assert reserve(database, order).charge_id == anew, "the request is remembered under the new charge"
    assert_books_agree(database)


def test_two_equal_requests_at_the_same_time_are_one_charge(database: Database) -> None:
    key, _ = new_key(database)
    order = order_of(key, repeat=Repeat(key="mine", digest="a" * 64))

    def ask(_: int) -> str:
        try:
            return reserve(database, order).charge_id
        except RequestError as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(ask, range(8)))
    assert outcomes.count("idempotency_in_progress") == 7
    assert balance(database) == 1_000_000 - 47


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with paid_server(new_sqlite(tmp_path_factory.mktemp("repeats"))) as server:
        yield server


TRIES = st.lists(
    st.tuples(st.sampled_from(["one", "two", "three"]), st.sampled_from(["red", "blue", 5])), max_size=10
)


@given(tries=TRIES)
@settings(max_examples=12, deadline=None)
def test_whatever_is_sent_again_a_name_is_paid_once_and_says_one_thing(
    shop: tuple[TestClient, Database], tries: list[tuple[str, Any]]
) -> None:
    client, database = shop
    account = f"payer {len(rows(database, 'grant'))}"
    _, secret = new_key(database, account)
    said: dict[str, tuple[Any, bytes]] = {}
    for name, item in tries:
        answer = client.post(EMBEDDINGS, json={**BODY, "input": item}, headers=named(secret, name))
        first = said.get(name)
        if answer.status_code == 200:
            assert item != 5 and said.setdefault(name, (item, answer.content)) == (item, answer.content)
        elif first is None:
            assert item == 5 and answer.status_code == 400
        else:
            assert item != first[0] and answer.status_code == 409
    assert balance(database, account) == 1_000_000 - TEXT_COST * len(said)
    assert_books_agree(database)
