"""`"on_error": "null"` on a server with keys: what could not be used costs nothing, the rest is paid."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from clipworks.serve.database import Database
from clipworks.serve.keys import KeyTerms
from tests.serve.cluster import new_sqlite
from tests.serve.colours import ColourEngine, data_uri, picture, refusal
from tests.serve.paying import (
    IMAGE_COST,
    TEXT_COST,
    assert_books_agree,
    balance,
    bearer,
    new_key,
    paid_server,
    rows,
)

RED = data_uri(picture("red"))
CUT = data_uri(picture("red")[:40])
"""A picture by its head, and damaged."""

GOOD = {"text": "a red boat", "picture": RED}
BAD = {"no picture": {"image": "AAAA"}, "cut": CUT, "no base64": {"image": "data:image/png;base64,?"}}
FUSED = {"text": "a boat", "image": RED}
LOST = {"text": "a boat", "image": CUT}


def post(client: TestClient, secret: str, items: list[Any], **fields: Any) -> Any:
    body = {"model": "colours", "input": items, "on_error": "null", **fields}
    return client.post("/v1/embeddings", json=body, headers=bearer(secret))


@pytest.mark.parametrize("bad", BAD)
def test_a_picture_that_cannot_be_used_is_null_and_not_paid_for(address: str, bad: str) -> None:
    with paid_server(address) as (client, database):
        _, secret = new_key(database)
        answer = post(client, secret, ["red", BAD[bad], RED])
        assert answer.status_code == 200, answer.text
        cost = TEXT_COST + IMAGE_COST
        assert [row["embedding"] is None for row in answer.json()["data"]] == [False, True, False]
        assert answer.json()["data"][1]["error"]
        assert answer.json()["usage"]["images"] == 1
        assert answer.json()["usage"]["cost_usd"] == cost / 1e6
        assert answer.headers["x-request-cost-usd"] == f"{cost / 1e6:.6f}"
        assert answer.headers["x-credit-remaining-usd"] == f"{1 - cost / 1e6:.6f}"
        assert balance(database) == 1_000_000 - cost
        (row,) = rows(database, "settle")
        assert (row.images, row.texts, row.cost_micro_usd) == (1, 1, cost)
        assert_books_agree(database)


def test_a_request_of_which_nothing_can_be_used_is_answered_and_free(address: str) -> None:
    with paid_server(address) as (client, database):
        _, secret = new_key(database)
        answer = post(client, secret, list(BAD.values()))
        assert answer.status_code == 200
        assert all(row["embedding"] is None for row in answer.json()["data"])
        assert answer.headers["x-request-cost-usd"] == "0.000000"
        assert answer.headers["x-credit-remaining-usd"] == "1.000000"
        assert balance(database) == 1_000_000 and rows(database, "settle") == []
        assert_books_agree(database)


def test_credit_budget_and_limit_need_to_suffice_for_what_was_sent_only_once(address: str) -> None:
    """What is set aside is for everything; what could be used is not set aside a second time."""
    budget = 2 * IMAGE_COST
    terms = KeyTerms(name="a", images_per_minute=2, budget_micro_usd=budget)
    with paid_server(address) as (client, database):
        _, secret = new_key(database, credit=budget, terms=terms)
        assert post(client, secret, [RED, CUT]).status_code == 200
        assert balance(database) == IMAGE_COST
        key = client.get("/v1/key", headers=bearer(secret)).json()["data"]
        assert key["limit_remaining"] == key["usage"] == IMAGE_COST / 1e6
        refusal(post(client, secret, [RED, CUT]), 429, "rate_limit_exceeded", None)
        refusal(post(client, secret, ["a"] * 10), 402, "credit_balance_exhausted", None)
        assert_books_agree(database)


def test_an_engine_that_fails_takes_nothing(address: str) -> None:
    engine = ColourEngine()
    with paid_server(address, engine) as (client, database):
        _, secret = new_key(database)
        engine.failure = RuntimeError("out of memory")
        assert post(client, secret, [RED, CUT, "a"]).status_code == 500
        assert balance(database) == 1_000_000 and rows(database, "settle") == []
        assert_books_agree(database)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Any:
    place: Path = tmp_path_factory.mktemp("partial")
    with paid_server(new_sqlite(place), max_images=16) as server:
        yield server


ITEMS = st.lists(st.sampled_from([*GOOD.values(), *BAD.values(), FUSED, LOST]), min_size=1, max_size=6)


@given(items=ITEMS)
@settings(max_examples=15, deadline=None)
def test_the_cost_is_that_of_the_vectors_whatever_is_among_the_items(
    shop: tuple[TestClient, Database], items: list[Any]
) -> None:
    client, database = shop
    name = f"payer {len(rows(database, 'grant'))}"
    _, secret = new_key(database, name)
    answer = post(client, secret, items, fusion="mean")
    assert answer.status_code == 200, answer.text
    prices = [
        {GOOD["text"]: TEXT_COST, RED: IMAGE_COST}.get(item, 0)
        if isinstance(item, str)
        else (TEXT_COST + IMAGE_COST) * (item == FUSED)
        for item in items
    ]
    answered = [row["embedding"] is not None for row in answer.json()["data"]]
    assert answered == [price > 0 for price in prices]
    assert balance(database, name) == 1_000_000 - sum(prices)
    assert answer.headers["x-request-cost-usd"] == f"{sum(prices) / 1e6:.6f}"
    assert answer.json()["usage"]["cost_usd"] == pytest.approx(sum(prices) / 1e6)
    assert_books_agree(database)
