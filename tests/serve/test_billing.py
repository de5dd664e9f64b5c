"""Usage, credit and the key itself, and the administrator's routes."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from starlette.testclient import TestClient

from clipworks.serve.billing import key_details
from clipworks.serve.database import Database
from clipworks.serve.keys import KeyTerms
from tests.serve.cluster import new_sqlite
from tests.serve.colours import data_uri, picture, refusal
from tests.serve.paying import (
    IMAGE_COST,
    TEXT_COST,
    assert_books_agree,
    balance,
    bearer,
    new_key,
    paid_server,
)

EMBEDDINGS = "/v1/embeddings"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[TestClient, Database]]:
    with paid_server(new_sqlite(tmp_path), signup_credit_usd=0.5) as server:
        yield server


@pytest.fixture
def boss(served: tuple[TestClient, Database]) -> dict[str, str]:
    return bearer(new_key(served[1], "boss", terms=KeyTerms(name="boss", scopes=("admin",)))[1])


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, dict[str, str]]]:
    """A server and an administrator, for requests that change nothing."""
    with paid_server(new_sqlite(tmp_path_factory.mktemp("office"))) as (client, database):
        yield client, bearer(new_key(database, "boss", terms=KeyTerms(name="boss", scopes=("admin",)))[1])


def test_usage_is_summed_by_day_model_and_key(served: tuple[TestClient, Database]) -> None:
    client, database = served
    key, secret = new_key(database, terms=KeyTerms(name="=1+1"))
    _, other = new_key(database, terms=KeyTerms(name="second"))
    _, stranger = new_key(database, "stranger")
    for owner, items in (
        (secret, ["a", "b"]),
        (secret, [data_uri(picture())]),
        (other, ["a"]),
        (stranger, ["a"]),
    ):
        body = {"model": "colours", "input": items}
        assert client.post(EMBEDDINGS, json=body, headers=bearer(owner)).status_code == 200
    usage = client.get("/v1/usage", headers=bearer(secret)).json()
    assert usage["object"] == "list" and len(usage["data"]) == 2
    mine = next(row for row in usage["data"] if row["key"]["id"] == key.id)
    assert (mine["model"], mine["requests"], mine["images"], mine["texts"]) == ("colours", 2, 1, 2)
    assert mine["cost_usd"] == "0.000084" and mine["date"] == usage["to"]
    total = 3 * TEXT_COST + IMAGE_COST
    assert usage["total"] == {"requests": 3, "images": 1, "texts": 3, "cost_usd": f"0.{total:06d}"}
    answer = client.get("/v1/usage?format=csv&key=this", headers=bearer(secret))
    assert answer.headers["content-type"].startswith("text/csv")
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["key_id"], row["texts"], row["key_name"]) == (key.id, "2", "'=1+1")
    assert client.get("/v1/usage?from=2001-01-01&to=2001-02-01", headers=bearer(secret)).json()["data"] == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("from=yesterday", "from"),
        ("to=20260101", "to"),
        ("from=2026-02-02&to=2026-02-01", "from"),
        ("from=1990-01-01&to=2026-01-01", "from"),
        ("to=0001-01-01", "to"),
        ("format=xml", "format"),
        ("key=that", "key"),
        ("key=this&key=that", "key"),
        ("foo=1", "foo"),
    ],
)
def test_dates_and_formats_that_make_no_sense_are_refused(
    served: tuple[TestClient, Database], query: str, param: str
) -> None:
    _, secret = new_key(served[1])
    refusal(served[0].get(f"/v1/usage?{query}", headers=bearer(secret)), 400, "invalid_value", param)


def test_credit_and_key_are_told_as_openrouter_tells_them(served: tuple[TestClient, Database]) -> None:
    client, database = served
    terms = KeyTerms(name="app", budget_micro_usd=1000, budget_period="month", requests_per_minute=600)
    key, secret = new_key(database, credit=5_000_000, terms=terms)
    client.post(EMBEDDINGS, json={"model": "colours", "input": "a"}, headers=bearer(secret))
    assert client.get("/v1/credits", headers=bearer(secret)).json()["data"] == {
        "account": "payer",
        "total_credits": 5.0,
        "total_usage": TEXT_COST / 1e6,
        "balance_usd": "4.999988",
    }
    data = client.get("/v1/key", headers=bearer(secret)).json()["data"]
    assert data["label"] == key.label and secret not in str(data)
    assert (data["limit"], data["limit_remaining"], data["limit_reset"]) == (0.001, 0.000988, "month")
    assert data["usage"] == data["usage_daily"] == data["usage_weekly"] == data["usage_monthly"] == 0.000012
    assert data["rate_limit"]["requests_per_minute"] == 600
    assert (data["is_provisioning_key"], data["models"], data["expires_at"]) == (False, None, None)


def test_what_a_key_spent_is_asked_in_one_statement_that_reads_its_own_rows(
    served: tuple[TestClient, Database],
) -> None:
    key, _ = new_key(served[1])
    asked: list[str] = []
    with served[1].read() as connection:
        event.listen(connection, "before_cursor_execute", lambda *given: asked.append(given[2]))
        key_details(connection, key)
        (statement,) = (words for words in asked if "ledger" in words)
        plan = connection.exec_driver_sql(
            f"EXPLAIN QUERY PLAN {statement}", tuple("x" * statement.count("?"))
        ).all()
    assert "ledger_of_a_key" in str(plan)


def test_asking_what_was_used_counts_in_the_limit_of_requests(served: tuple[TestClient, Database]) -> None:
    terms = KeyTerms(name="slow", requests_per_minute=2)
    _, secret = new_key(served[1], terms=terms)
    codes = [served[0].get("/v1/key", headers=bearer(secret)).status_code for _ in range(3)]
    assert codes == [200, 200, 429]


def test_an_administrator_makes_accounts_gives_credit_and_puts_it_right(
    served: tuple[TestClient, Database], boss: dict[str, str]
) -> None:
    client, database = served
    made = client.post("/v1/admin/accounts", json={"name": "museum", "credit_usd": "2.50"}, headers=boss)
    assert made.status_code == 201 and made.json()["balance_usd"] == "2.500000"
    signed_up = client.post("/v1/admin/accounts", json={"name": "visitor"}, headers=boss)
    assert signed_up.json()["balance_usd"] == "0.500000"
    place = f"/v1/admin/accounts/{made.json()['id']}"
    granted = client.post(f"{place}/grants", json={"amount_usd": 1.5, "note": "more"}, headers=boss)
    assert granted.json()["balance_usd"] == "4.000000"
    taken = client.post(f"{place}/adjustments", json={"amount_usd": "-4", "note": "closed"}, headers=boss)
    assert taken.json()["balance_usd"] == "0.000000"
    less = client.post(f"{place}/adjustments", json={"amount_usd": "-1", "note": "x"}, headers=boss)
    refusal(less, 400, "invalid_value", "amount_usd")
    assert client.get("/v1/admin/accounts/museum", headers=boss).json() == taken.json()
    names = [row["name"] for row in client.get("/v1/admin/accounts", headers=boss).json()["data"]]
    assert names == ["boss", "museum", "visitor"]
    refusal(client.get("/v1/admin/accounts/none", headers=boss), 404, "account_not_found", "account")
    assert_books_agree(database)


def test_an_administrator_makes_rotates_and_revokes_keys(
    served: tuple[TestClient, Database], boss: dict[str, str]
) -> None:
    client, _ = served
    client.post("/v1/admin/accounts", json={"name": "museum"}, headers=boss)
    terms = {
        "name": "app",
        "account": "museum",
        "scopes": ["inference"],
        "models": ["colours"],
        "expires_in_days": 30,
        "budget_usd": "0.1",
        "budget_period": "day",
        "images_per_minute": 5,
    }
    made = client.post("/v1/admin/keys", json=terms, headers=boss)
    secret = made.json()["key"]
    assert (
        made.status_code == 201 and secret.startswith("cw_") and made.headers["cache-control"] == "no-store"
    )
    ask = {"model": "colours", "input": "a"}
    assert client.post(EMBEDDINGS, json=ask, headers=bearer(secret)).status_code == 200
    place = f"/v1/admin/keys/{made.json()['id']}"
    rotated = client.post(f"{place}/rotate", json={"grace_seconds": 0}, headers=boss).json()["key"]
    refusal(client.post(EMBEDDINGS, json=ask, headers=bearer(secret)), 401, "invalid_api_key", None)
    assert client.post(EMBEDDINGS, json=ask, headers=bearer(rotated)).status_code == 200
    again = client.post(f"{place}/rotate", headers=boss).json()["key"]
    for works_for_a_day in (rotated, again):
        assert client.post(EMBEDDINGS, json=ask, headers=bearer(works_for_a_day)).status_code == 200
    rotated = again
    listed = client.get("/v1/admin/keys", headers=boss)
    assert secret not in listed.text and rotated not in listed.text
    assert [row["name"] for row in listed.json()["data"]] == ["boss", "app"]
    shown = client.get(place, headers=boss).json()
    assert shown["usage"] == 0.000048 and shown["limit"] == 0.1 and shown["expires_at"]
    assert client.delete(place, headers=boss).json()["revoked_at"]
    refusal(client.post(EMBEDDINGS, json=ask, headers=bearer(rotated)), 401, "invalid_api_key", None)
    refusal(client.get("/v1/admin/keys/none", headers=boss), 404, "key_not_found", "key")


def test_a_name_with_a_slash_is_reached_by_its_name(
    served: tuple[TestClient, Database], boss: dict[str, str]
) -> None:
    client, _ = served
    for name in ("team/art", "team/art/grants"):
        assert client.post("/v1/admin/accounts", json={"name": name}, headers=boss).status_code == 201
        terms = {"name": f"{name}/app", "account": name}
        assert client.post("/v1/admin/keys", json=terms, headers=boss).status_code == 201
        for place in (f"/v1/admin/accounts/{name}", f"/v1/admin/accounts/{name.replace('/', '%2F')}"):
            assert client.get(place, headers=boss).json()["name"] == name
            granted = client.post(f"{place}/grants", json={"amount_usd": 1}, headers=boss)
            assert granted.json()["name"] == name
        assert client.get(f"/v1/admin/keys/{name}/app", headers=boss).json()["account"] == name
        rotated = client.post(f"/v1/admin/keys/{name}/app/rotate", headers=boss)
        assert rotated.json()["account"] == name


def test_an_account_has_one_working_key_of_a_name(
    served: tuple[TestClient, Database], boss: dict[str, str]
) -> None:
    client, _ = served
    for name in ("museum", "school"):
        client.post("/v1/admin/accounts", json={"name": name}, headers=boss)
    terms = {"name": "app", "account": "museum"}
    first = client.post("/v1/admin/keys", json=terms, headers=boss).json()
    again = client.post("/v1/admin/keys", json=terms, headers=boss)
    assert first["id"] in refusal(again, 400, "invalid_value", "name") and "rotate" in again.text
    assert client.delete("/v1/admin/keys/app", headers=boss).json()["id"] == first["id"]
    second = client.post("/v1/admin/keys", json=terms, headers=boss).json()
    assert client.get("/v1/admin/keys/app", headers=boss).json()["id"] == second["id"]
    elsewhere = {"name": "app", "account": "school"}
    assert client.post("/v1/admin/keys", json=elsewhere, headers=boss).status_code == 201
    refused = client.get("/v1/admin/keys/app", headers=boss)
    assert second["id"] in refusal(refused, 400, "invalid_value", "key")


def test_an_administrator_is_told_that_a_request_sent_twice_is_done_twice(
    served: tuple[TestClient, Database], boss: dict[str, str]
) -> None:
    headers = {**boss, "idempotency-key": "once"}
    answer = served[0].post("/v1/admin/accounts/boss/grants", json={"amount_usd": 1}, headers=headers)
    assert "done twice" in refusal(answer, 400, "invalid_value", None)
    assert balance(served[1], "boss") == 1_000_000


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("accounts", {}, "name"),
        ("accounts", {"name": 5}, "name"),
        ("accounts", {"name": "a", "credit_usd": "much"}, "credit_usd"),
        ("accounts", {"name": "a", "credit_usd": -1}, "credit_usd"),
        ("accounts", {"name": "boss"}, "name"),
        ("accounts/boss/grants", {"amount_usd": True}, "amount_usd"),
        ("accounts/boss/grants", {"amount_usd": 1, "note": 5}, "note"),
        ("accounts/boss/grants", {"amount_usd": "0.0000001"}, "amount_usd"),
        ("accounts", {"name": "a\ud800"}, "name"),
        ("accounts", {"name": "a\0"}, "name"),
        ("accounts/boss/grants", {"amount_usd": 1, "note": "a\ud800"}, "note"),
        ("accounts/boss/adjustments", {"amount_usd": 1, "note": "a\0"}, "note"),
        ("accounts/boss%00/grants", {"amount_usd": 1}, "account"),
        ("keys/boss%00/rotate", {}, "key"),
        ("keys", {"name": "a", "account": "boss\ud800"}, "account"),
        ("keys", {"name": "a", "account": "boss\0"}, "account"),
        ("keys", {"name": "a\ud800", "account": "boss"}, "name"),
        ("keys", {"name": "a", "account": "boss", "models": ["a\0"]}, "models"),
        ("keys", {"name": "a"}, "account"),
        ("keys", {"name": "", "account": "boss"}, "name"),
        ("keys", {"name": "a", "account": "boss", "scopes": "admin"}, "scopes"),
        ("keys", {"name": "a", "account": "boss", "budget_usd": -1}, "budget_usd"),
        ("keys", {"name": "a", "account": "boss", "budget_period": "year"}, "budget_period"),
        ("keys", {"name": "a", "account": "boss", "expires_in_days": 0}, "expires_in_days"),
        ("keys", {"name": "a", "account": "boss", "requests_per_minute": "9"}, "requests_per_minute"),
        ("keys", {"name": "a", "account": "boss", "colour": 1}, "colour"),
        ("keys/boss/rotate", {"grace_seconds": "long"}, "grace_seconds"),
        ("keys/boss/rotate", {"grace_seconds": -1}, "grace_seconds"),
    ],
)
def test_what_an_administrator_cannot_mean_is_refused_by_name(
    office: tuple[TestClient, dict[str, str]], path: str, body: dict[str, Any], param: str
) -> None:
    headers = {**office[1], "content-type": "application/json"}
    answer = office[0].post(f"/v1/admin/{path}", content=json.dumps(body), headers=headers)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param, answer.text
