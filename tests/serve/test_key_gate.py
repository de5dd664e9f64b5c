"""Who is let in and what it costs, through the application: keys, scopes, money, limits, headers."""

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from clipworks.errors import ConfigError
from clipworks.serve import keys, ledger
from clipworks.serve.app import create_app
from clipworks.serve.database import Database, open_database
from clipworks.serve.guard import is_open
from clipworks.serve.key_gate import KeyGate
from clipworks.serve.keys import KeyTerms
from clipworks.serve.prices import read_prices
from clipworks.serve.problems import RequestError
from clipworks.serve.settings import ServeSettings
from tests.serve.cluster import new_sqlite
from tests.serve.colours import ColourEngine, data_uri, picture, refusal, talk
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

EMBEDDINGS = "/v1/embeddings"
SECRET = "cw_verysecretkey0123456789"
BODY = {"model": "colours", "input": "red"}


@pytest.fixture
def place(tmp_path: Path) -> str:
    return new_sqlite(tmp_path)


@pytest.fixture
def engine() -> ColourEngine:
    return ColourEngine()


@pytest.fixture
def served(place: str, engine: ColourEngine) -> Iterator[tuple[TestClient, Database]]:
    with paid_server(place, engine, max_body_bytes=100_000) as server:
        yield server


def test_every_route_needs_a_key_or_a_session_unless_it_is_listed_as_open(place: str) -> None:
    engines: Any = {"colours": ColourEngine()}
    app = create_app(ServeSettings(require_keys=True, database=place), engines)
    found: dict[str, set[str]] = {"open": set(), "session": set()}
    with TestClient(app) as client:
        for route in app.routes:
            assert isinstance(route, Route | Mount)
            path = re.sub(r"{\w+(:path)?}", "x", route.path)
            path += "/site.css" if isinstance(route, Mount) else ""
            methods = (route.methods or set()) if isinstance(route, Route) else {"GET"}
            for method in methods:
                answer = client.request(method, path, follow_redirects=False)
                if is_open(method, path):
                    found["open"].add(f"{method} {route.path}")
                    assert answer.status_code != 401
                elif path.startswith(("/account", "/operator")):
                    found["session"].add(f"{method} {route.path}")
                    assert answer.status_code == 303, (method, path)
                    assert answer.headers["location"].startswith("/sign-in?next=%2F")
                else:
                    assert answer.status_code == 401, (method, path)
                    assert method == "HEAD" or "asks for a key" in answer.text
        refusal(client.get("/v1/unknown"), 401, "invalid_api_key", None)
        odd_ones = ("//v1/usage", "/static/../v1/usage", "/v1/models/../usage", "/V1/USAGE", "/livez/")
        for odd in (*odd_ones, "/ACCOUNT", "/accounts", "/operators", "/sign-in/", "/sign-out"):
            assert client.get(odd, follow_redirects=False).status_code in (401, 404), odd
        for paid in ("/models/x", "/models", "/compare", "/playground", "/docs/x"):  # open to read, no more
            assert client.post(paid, json={}).status_code == 401, paid
    assert {line for line in found["open"] if not line.startswith("HEAD ")} == {
        *("GET /livez", "GET /readyz", "GET /health", "GET /openapi.json", "GET /static"),
        *("GET /v1/models", "GET /v1/models/{id:path}", "GET /models", "GET /models/{model:path}"),
        *("GET /models.json", "GET /llms.txt", "GET /compare", "GET /playground"),
        *("GET /docs", "GET /docs/api", "GET /docs/{page}", "POST /sign-out"),
        *("GET /", "POST /", "GET /sign-in", "POST /sign-in", "GET /sign-up", "POST /sign-up"),
    }
    assert "POST /account/close" in found["session"]
    # The canaries of /readyz and /health are all that the engine was asked.
    assert engines["colours"].calls == [("images", 1), ("texts", 1)]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer  "},
        {"authorization": "Basic Y3dfOg=="},
        {"authorization": "Bearer cw_" + "0" * 48},
        {"authorization": "Bearer " + "x" * 10_000},
    ],
)
def test_no_key_or_a_wrong_one_is_a_401_that_does_not_repeat_it(
    served: tuple[TestClient, Database], headers: dict[str, str]
) -> None:
    answer = served[0].post(EMBEDDINGS, json=BODY, headers=headers)
    refusal(answer, 401, "invalid_api_key", None)
    assert answer.json()["error"]["type"] == "authentication_error"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "000000" not in answer.text and "xxxx" not in answer.text


def test_an_answer_is_paid_for_and_says_so(served: tuple[TestClient, Database]) -> None:
    client, database = served
    _, secret = new_key(database)
    body = {"model": "colours", "input": ["red", "blue", data_uri(picture())]}
    answer = client.post(EMBEDDINGS, json=body, headers=bearer(secret))
    cost = 2 * TEXT_COST + IMAGE_COST
    assert answer.status_code == 200
    assert answer.json()["usage"]["cost_usd"] == cost / 1e6
    assert answer.headers["x-request-cost-usd"] == "0.000084"
    assert answer.headers["x-credit-remaining-usd"] == "0.999916"
    assert balance(database) == 1_000_000 - cost
    (row,) = rows(database, "settle")
    assert (row.images, row.texts, row.request_id) == (1, 2, answer.headers["x-request-id"])
    assert "x-ratelimit-limit-requests" not in answer.headers
    assert_books_agree(database)


def test_what_fails_is_not_paid_for(served: tuple[TestClient, Database], engine: ColourEngine) -> None:
    client, database = served
    _, secret = new_key(database)
    bad = {"model": "colours", "input": ["red", {"image": "AAAA"}]}
    answer = client.post(EMBEDDINGS, json=bad, headers=bearer(secret))
    assert answer.status_code == 400
    assert answer.headers["x-request-cost-usd"] == "0.000000"
    assert answer.headers["x-credit-remaining-usd"] == "1.000000"
    engine.failure = RuntimeError("out of memory")
    assert client.post(EMBEDDINGS, json=BODY, headers=bearer(secret)).status_code == 500
    assert balance(database) == 1_000_000 and rows(database, "settle") == []
    assert_books_agree(database)


def test_credit_that_is_out_is_a_402_that_is_not_retried(served: tuple[TestClient, Database]) -> None:
    client, database = served
    _, secret = new_key(database, credit=TEXT_COST)
    assert client.post(EMBEDDINGS, json=BODY, headers=bearer(secret)).status_code == 200
    answer = client.post(EMBEDDINGS, json=BODY, headers=bearer(secret))
    refusal(answer, 402, "credit_balance_exhausted", None)
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-credit-remaining-usd"] == "0.000000"
    assert answer.json()["error"]["type"] == "insufficient_quota"


def test_a_key_ends_with_its_revocation_on_a_server_that_runs(served: tuple[TestClient, Database]) -> None:
    client, database = served
    key, secret = new_key(database)
    assert client.post(EMBEDDINGS, json=BODY, headers=bearer(secret)).status_code == 200
    with database.write() as connection:
        keys.revoke_key(connection, key)
    refusal(client.post(EMBEDDINGS, json=BODY, headers=bearer(secret)), 401, "invalid_api_key", None)


def test_a_key_does_only_what_it_was_made_for(served: tuple[TestClient, Database]) -> None:
    client, database = served
    _, looker = new_key(database, terms=KeyTerms(name="a", scopes=("usage",)))
    _, other = new_key(database, terms=KeyTerms(name="b", models=("team/other",)))
    refused = client.post(EMBEDDINGS, json=BODY, headers=bearer(looker))
    assert "'inference'" in refusal(refused, 403, "scope_not_allowed", None)
    assert refused.json()["error"]["type"] == "permission_error"
    assert client.get("/v1/credits", headers=bearer(looker)).status_code == 200
    refusal(client.get("/v1/admin/keys", headers=bearer(looker)), 403, "scope_not_allowed", None)
    refused = client.post(EMBEDDINGS, json=BODY, headers=bearer(other))
    assert "team/other" in refusal(refused, 403, "model_not_allowed", "model")


def test_limits_are_kept_and_said_in_headers(served: tuple[TestClient, Database]) -> None:
    client, database = served
    terms = KeyTerms(name="a", requests_per_minute=3, images_per_minute=2)
    _, secret = new_key(database, terms=terms)
    pictures = {"model": "colours", "input": [data_uri(picture())] * 2}
    answer = client.post(EMBEDDINGS, json=pictures, headers=bearer(secret))
    assert answer.headers["x-ratelimit-limit-requests"] == "3"
    assert answer.headers["x-ratelimit-remaining-requests"] == "2"
    assert answer.headers["x-ratelimit-remaining-images"] == "0"
    assert answer.headers["x-ratelimit-reset-images"].endswith("s")
    answer = client.post(EMBEDDINGS, json=pictures, headers=bearer(secret))
    assert "2 images in a minute" in refusal(answer, 429, "rate_limit_exceeded", None)
    assert int(answer.headers["retry-after"]) > 1 and int(answer.headers["retry-after-ms"]) > 1000
    many = {"model": "colours", "input": [data_uri(picture())] * 3}
    answer = client.post(EMBEDDINGS, json=many, headers=bearer(secret))
    refusal(answer, 429, "rate_limit_exceeded", None)
    assert answer.headers["x-should-retry"] == "false"
    answer = client.post(EMBEDDINGS, json=BODY, headers=bearer(secret))
    assert "3 requests in a minute" in refusal(answer, 429, "rate_limit_exceeded", None)
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    refusal(client.get("/v1/credits", headers=bearer(secret)), 429, "rate_limit_exceeded", None)
    assert_books_agree(database)


def test_pictures_that_were_not_answered_count_in_no_limit(tmp_path: Path) -> None:
    engine = ColourEngine()
    with paid_server(new_sqlite(tmp_path), engine) as (client, database):
        _, secret = new_key(database, terms=KeyTerms(name="a", images_per_minute=2))
        pictures = {"model": "colours", "input": [data_uri(picture())] * 2}
        engine.failure = RuntimeError("out of memory")
        answer = client.post(EMBEDDINGS, json=pictures, headers=bearer(secret))
        assert answer.status_code == 500
        engine.failure = None
        answer = client.post(EMBEDDINGS, json=pictures, headers=bearer(secret))
        assert answer.status_code == 200 and answer.headers["x-ratelimit-remaining-images"] == "0"
        assert_books_agree(database)


def test_bytes_are_counted_before_the_body_is_read(served: tuple[TestClient, Database]) -> None:
    client, database = served
    _, secret = new_key(database, terms=KeyTerms(name="a", bytes_per_minute=1000))
    big = {"model": "colours", "input": "red " * 200}
    assert client.post(EMBEDDINGS, json=big, headers=bearer(secret)).status_code == 200
    answer = client.post(EMBEDDINGS, json=big, headers=bearer(secret))
    assert "1,000 bytes" in refusal(answer, 429, "rate_limit_exceeded", None)

    def pieces() -> Iterator[bytes]:
        yield json.dumps(BODY).encode()

    headers = {**bearer(secret), "content-type": "application/json"}
    refusal(client.post(EMBEDDINGS, content=pieces(), headers=headers), 411, "length_required", None)


def test_the_same_request_with_the_same_idempotency_key_is_paid_once(
    served: tuple[TestClient, Database],
) -> None:
    client, database = served
    _, secret = new_key(database)
    headers = {**bearer(secret), "idempotency-key": "order-1"}
    first = client.post(EMBEDDINGS, json=BODY, headers=headers)
    again = client.post(EMBEDDINGS, json=dict(reversed(BODY.items())), headers=headers)
    assert first.content == again.content
    assert "idempotent-replayed" not in first.headers and again.headers["idempotent-replayed"] == "true"
    assert balance(database) == 1_000_000 - TEXT_COST
    other = client.post(EMBEDDINGS, json={**BODY, "input": "blue"}, headers=headers)
    refusal(other, 409, "idempotency_conflict", None)
    assert other.headers["x-should-retry"] == "false"
    upload = {"data": {"labels": "red,blue"}, "files": {"file": ("a.png", picture(), "image/png")}}
    form = {**bearer(secret), "idempotency-key": "order-2"}
    assert client.post("/v1/classify", headers=form, **upload).status_code == 200
    replayed = client.post("/v1/classify", headers=form, **upload)
    assert replayed.headers["idempotent-replayed"] == "true"
    for strange in ("", "x" * 256):
        answer = client.post(EMBEDDINGS, json=BODY, headers={**bearer(secret), "idempotency-key": strange})
        assert answer.status_code == 400
    assert_books_agree(database)


def test_a_failed_request_may_be_repeated_under_its_idempotency_key(
    served: tuple[TestClient, Database], engine: ColourEngine
) -> None:
    client, database = served
    _, secret = new_key(database)
    headers = {**bearer(secret), "idempotency-key": "order-1"}
    engine.failure = RuntimeError("not now")
    assert client.post(EMBEDDINGS, json=BODY, headers=headers).status_code == 500
    engine.failure = None
    assert client.post(EMBEDDINGS, json=BODY, headers=headers).status_code == 200
    assert balance(database) == 1_000_000 - TEXT_COST


def test_secrets_stand_in_no_log_and_no_error(
    served: tuple[TestClient, Database], caplog: pytest.LogCaptureFixture, engine: ColourEngine
) -> None:
    caplog.set_level(logging.DEBUG)
    client, database = served
    _, secret = new_key(database)
    engine.failure = RuntimeError("inside")
    answers = [
        client.post(EMBEDDINGS, json=BODY, headers=bearer(secret)),
        client.post(EMBEDDINGS, json=BODY, headers=bearer(secret + "0")),
        client.get("/v1/usage?format=csv", headers=bearer(secret)),
    ]
    with database.write() as connection:
        connection.exec_driver_sql("DROP TABLE secrets")
    answers.append(client.post(EMBEDDINGS, json=BODY, headers=bearer(secret)))
    refusal(answers[-1], 503, "accounts_unavailable", None)
    ours = "".join(record.getMessage() for record in caplog.records if not record.name.startswith("httpx"))
    assert secret not in ours and all(secret not in answer.text for answer in answers)
    assert "no such table" in caplog.text


def test_with_keys_the_first_page_searches_for_nobody_who_is_not_signed_in(
    served: tuple[TestClient, Database],
) -> None:
    client, database = served
    _, secret = new_key(database)
    page = client.get("/?q=red", headers=bearer(secret))
    assert page.status_code == 200 and "Sign in" in page.text and 'href="/sign-up"' in page.text
    assert client.post("/", headers=bearer(secret)).status_code == 403
    assert rows(database, "reserve") == []


def test_what_a_dead_process_left_in_work_is_released_at_the_start(place: str) -> None:
    database = open_database(place)
    key, _ = new_key(database)
    values = {"account_id": key.account_id, "key_id": key.id, "budget_period": "total", "model": "colours"}
    gate = KeyGate(database, read_prices(), ServeSettings(require_keys=True))
    boot, namespace, _, _ = gate.server.split("/")
    with database.write() as connection:
        for server in (f"{boot}/{namespace}/{2**22 + 1}/5", f"another-boot/{namespace}/1/5", gate.server):
            order = ledger.Order(
                **values,
                images=1,
                texts=0,
                price=read_prices().of("x"),
                request_id="r",
                server=server,
                expires_at_ms=keys.now_ms() + 60_000,
                repeat=None,
            )
            ledger.reserve(connection, order)
    with paid_server(place):
        assert balance(database) == 1_000_000 - 2 * IMAGE_COST
    database.close()


def test_an_answer_that_cannot_be_paid_for_is_not_given(
    served: tuple[TestClient, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, database = served
    _, secret = new_key(database)

    def refuse(*_: Any, **__: Any) -> str:
        raise RequestError("gone", code="credit_balance_exhausted")

    monkeypatch.setattr(ledger, "settle", refuse)
    refusal(client.post(EMBEDDINGS, json=BODY, headers=bearer(secret)), 402, "credit_balance_exhausted", None)
    assert balance(database) == 1_000_000
    assert_books_agree(database)


def test_a_server_without_keys_has_no_accounts(client: TestClient) -> None:
    for method, path in (
        ("GET", "/v1/usage"),
        ("GET", "/v1/credits"),
        ("GET", "/v1/key"),
        ("GET", "/v1/admin/accounts"),
        ("GET", "/v1/admin/keys/x"),
        ("DELETE", "/v1/admin/keys/x"),
    ):
        refusal(client.request(method, path), 404, "no_accounts", None)


def test_with_keys_other_machines_may_be_served_under_any_name(place: str) -> None:
    assert ServeSettings(require_keys=True, host="0.0.0.0").host_names() is None
    with pytest.raises(ConfigError, match="--require-keys"):
        ServeSettings(host="0.0.0.0")


def test_talk_is_closed_without_waiting_for_anybody(place: str) -> None:
    engines: Any = {"colours": ColourEngine()}
    app = create_app(ServeSettings(require_keys=True, database=place), engines)
    assert asyncio.run(talk(app, "GET", "/livez"))[0]["status"] == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_no_other_site_is_let_in_by_cors(client: TestClient, origin: str) -> None:
    ask = {"origin": origin, "access-control-request-method": "POST"}
    for method, address in (("OPTIONS", "/v1/embeddings"), ("GET", "/v1/models"), ("GET", "/")):
        answer = client.request(method, address, headers=ask)
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_secrets_and_query_strings_are_in_no_log_line(
    client: TestClient, engine: ColourEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = {"authorization": f"Bearer {SECRET}"}
    body = {"model": "colours", "input": "a", "user": SECRET}
    assert client.post("/v1/embeddings", json=body, headers=key).status_code == 200
    client.post(f"/v1/embeddings?api_key={SECRET}", json={"input": SECRET, SECRET: 1}, headers=key)
    client.post("/v1/embeddings", json={"model": SECRET, "input": SECRET}, headers=key)
    client.post("/v1/embeddings", json={"model": "colours", "input": [{"image": SECRET}]}, headers=key)
    client.post("/v1/embeddings", json={"input": [{"image": f"https://a.org/?{SECRET}"}]}, headers=key)
    client.post("/v1/embeddings", content=SECRET.encode(), headers={"content-type": SECRET})
    client.get("/", params={"q": SECRET}, headers={"cookie": SECRET})
    client.get("/livez", headers={"x-request-id": f"<{SECRET}>", "host": SECRET})
    engine.failure = RuntimeError("the engine fails")
    client.post("/v1/embeddings", json={**body, "input": [SECRET, data_uri(picture())]}, headers=key)
    ours = [record for record in caplog.records if record.name.startswith(("clipworks", "uvicorn"))]
    formatter = logging.Formatter("%(message)s")
    text = "\n".join(f"{formatter.format(record)} {record.__dict__.get('request')}" for record in ours)
    assert "the engine fails" in text and "POST /v1/embeddings 200" in text
    assert SECRET not in text and "api_key" not in text
