"""What an operator sets while the server runs: it holds at once, after a restart, and on other servers."""

import datetime
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from clipworks.search.library import Library
from clipworks.serve import shelf, wishes
from clipworks.serve.database import Database
from clipworks.serve.model_terms import ModelTerms, events, read_terms, write_terms
from clipworks.serve.prices import Price
from clipworks.serve.problems import RequestError
from clipworks.serve.roster import ModelSpec, ProviderSpec
from tests.serve.cluster import new_sqlite
from tests.serve.colours import refusal
from tests.serve.paying import bearer, new_key
from tests.serve.site.people import SignedIn, people_server, send

EMBEDDINGS, PAGE = "/v1/embeddings", "/operator/models"
METACLIP = "facebook/metaclip-b16-fullcc2.5b"
FAR = ProviderSpec(name="far", url="http://127.0.0.1:9/v1", private=True)
SPECS = [
    ModelSpec(id="colours"),
    ModelSpec(id="next/model", status="coming_soon"),
    ModelSpec(id="shared", providers=(ProviderSpec(name="local"), FAR)),
]

Server = tuple[TestClient, SignedIn, Database]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with people_server(new_sqlite(tmp_path), SPECS) as (client, people, database):
        people.as_account("ann", is_operator=True)
        yield client, people, database


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same for tests after which nothing has changed."""
    with people_server(new_sqlite(tmp_path_factory.mktemp("lasting")), SPECS) as (client, people, database):
        people.as_account("ann", is_operator=True)
        yield client, people, database


def ask(client: TestClient, model: str, secret: str) -> int:
    answer = client.post(EMBEDDINGS, json={"model": model, "input": "red"}, headers=bearer(secret))
    return answer.status_code


def set_of(client: TestClient, model: str, **fields: str) -> None:
    answer = send(client, PAGE, model=model, note="a test", **fields)
    assert answer.status_code == 303, answer.text


def test_a_model_that_is_coming_goes_live_at_once_and_who_wanted_it_is_told(server: Server) -> None:
    client, people, database = server
    _, secret = new_key(database, "payer")
    people.as_account("bob")
    send(client, "/account/wishes", model="next/model", wants="yes")
    people.as_account("ann", is_operator=True)
    assert "1 vote: bob" in client.get(PAGE).text
    assert ask(client, "next/model", secret) == 404
    set_of(client, "next/model", status="live")
    assert ask(client, "next/model", secret) == 200
    assert client.get("/v1/models/next/model").json()["status"] == "live"
    people.as_account("bob")
    assert "is live" in client.get("/account/wishes").text


def test_a_model_is_taken_away_deprecated_and_given_back(server: Server) -> None:
    client, _, database = server
    _, secret = new_key(database, "payer")
    assert ask(client, "colours", secret) == 200
    set_of(client, "colours", status="coming_soon")
    assert ask(client, "colours", secret) == 404
    assert client.get("/v1/models/colours").json()["status"] == "coming_soon"
    set_of(client, "colours", status="deprecated", shutdown_date="2999-01-01")
    assert ask(client, "colours", secret) == 200
    row = client.get("/v1/models/colours").json()
    assert (row["status"], row["shutdown_date"]) == ("deprecated", "2999-01-01")
    yesterday = str(datetime.date.today() - datetime.timedelta(days=1))
    set_of(client, "colours", status="deprecated", shutdown_date=yesterday)
    assert ask(client, "colours", secret) == 404
    set_of(client, "colours", status="")
    assert ask(client, "colours", secret) == 200
    assert client.get("/v1/models/colours").json()["status"] == "live"


def test_a_price_holds_from_the_next_request_on_and_stands_in_the_catalogue(server: Server) -> None:
    client, _, database = server
    _, secret = new_key(database, "payer")

    def cost() -> str:
        answer = client.post(EMBEDDINGS, json={"model": "colours", "input": "red"}, headers=bearer(secret))
        return answer.headers["x-request-cost-usd"]

    before = cost()
    set_of(client, "colours", usd_per_1k_images="0.5", usd_per_1k_texts="0.25")
    assert (before, cost()) == ("0.000012", "0.000250")
    assert "$0.5<" in client.get("/models", headers={"accept": "text/html"}).text
    set_of(client, "colours")
    assert cost() == before
    set_of(client, METACLIP, usd_per_1k_images="0.01", usd_per_1k_texts="0")
    assert client.get(f"/models/{METACLIP}.json").json()["price"]["usd_per_1k_images"] == "0.01"


def test_providers_change_places_and_are_left_out(server: Server) -> None:
    client, _, _ = server

    def listed() -> list[tuple[str, bool]]:
        rows = client.get("/v1/models/shared").json()["providers"]
        return [(row["name"], row["status"] == "disabled") for row in rows]

    assert listed() == [("local", False), ("far", False)]
    places = {"asks-local": "yes", "place-local": "2", "asks-far": "yes", "place-far": "1"}
    set_of(client, "shared", **places)
    assert listed() == [("far", False), ("local", False)]
    set_of(client, "shared", **{"asks-local": "yes"})
    assert listed() == [("local", False), ("far", True)]
    assert 'name="asks-far" value="yes">' in client.get(PAGE).text
    set_of(client, "shared", **(places | {"place-local": "1", "place-far": "2"}))
    assert listed() == [("local", False), ("far", False)]
    none = send(client, PAGE, model="shared", note="a test")
    assert none.status_code == 400 and "without a provider" in none.text


def test_every_change_is_noted_with_who_did_it_and_why(server: Server) -> None:
    client, _, database = server
    set_of(client, "colours", status="deprecated", usd_per_1k_images="1", usd_per_1k_texts="2")
    with database.read() as connection:
        (event,) = events(connection, limit=9)
    assert event.words == "status as started -> deprecated; price as started -> 1/2"
    assert (event.model, event.operator, event.note) == ("colours", "ann", "a test")
    assert event.words.replace(">", "&gt;") in client.get(PAGE).text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"status": "li<b>ve"}, "There is no status &#39;li&lt;b&gt;ve&#39;. Nearest: "),
        ({"status": "live", "shutdown_date": "2999-01-01"}, "Only a deprecated model has a day"),
        ({"status": "deprecated", "shutdown_date": "soon"}, "The day &#39;soon&#39; cannot be read."),
        ({"usd_per_1k_images": "1"}, "Fill in both or none."),
        ({"usd_per_1k_images": "-1", "usd_per_1k_texts": "0"}, "it must be a decimal number from 0 up"),
        ({"usd_per_1k_images": "much", "usd_per_1k_texts": "0"}, "it must be a decimal number from 0 up"),
        ({"model": METACLIP, "status": "live"}, "only its price can be set"),
        ({"model": "col"}, "There is no model &#39;col&#39;."),
        ({"status": "deprecated", "note": " "}, "A change needs a note"),
        ({"status": "deprecated", "note": "x" * 401}, "A change needs a note"),
        ({}, "Nothing changes of colours."),
        ({"model": "shared", "asks-local": "yes", "place-local": "first"}, "it must be a whole number"),
    ],
)
def test_what_cannot_be_set_is_said_and_nothing_changes(
    lasting: Server, fields: dict[str, str], words: str
) -> None:
    client, _, database = lasting
    answer = send(client, PAGE, **{"model": "colours", "note": "a test"} | fields)
    assert answer.status_code == (404 if "There is no model" in words else 400) and words in answer.text
    with database.read() as connection:
        assert events(connection, limit=9) == [] and read_terms(connection) == {}


def test_the_page_is_for_operators_only(server: Server) -> None:
    client, people, _ = server
    people.as_account("bob")
    refusal(client.get(PAGE), 404, "not_found", None)
    refusal(send(client, PAGE, model="colours", status="deprecated", note="x"), 404, "not_found", None)
    people.as_nobody()
    for answer in (client.get(PAGE), send(client, PAGE, model="colours", status="deprecated", note="x")):
        assert answer.status_code == 303 and answer.headers["location"].startswith("/sign-in?next=")
    people.as_account("ann", is_operator=True)
    answer = client.post(PAGE, data={"form_token": "another", "model": "colours", "note": "x"})
    refusal(answer, 403, "foreign_form", None)


def test_what_is_set_holds_after_a_restart_and_before_anything_is_loaded(tmp_path: Path) -> None:
    address = new_sqlite(tmp_path)
    with people_server(address, SPECS) as (client, people, _):
        people.as_account("ann", is_operator=True)
        set_of(client, "colours", status="coming_soon")
        set_of(client, "shared", **{"asks-far": "yes"})
    with people_server(address, SPECS) as (client, _, _):
        assert client.get("/v1/models/colours").json()["status"] == "coming_soon"
        assert client.get("/readyz").json()["models"]["colours"] == "coming_soon"
    # A provider that the new start does not have any more leaves those that are there.
    fewer = [*SPECS[:2], ModelSpec(id="shared", providers=(ProviderSpec(name="local"),))]
    with people_server(address, fewer) as (client, _, _):
        (row,) = client.get("/v1/models/shared").json()["providers"]
        assert row["name"] == "local" and row["status"] != "disabled"


def test_another_server_takes_it_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "REFRESH_SECONDS", 0.02)
    address = new_sqlite(tmp_path)
    with people_server(address, SPECS) as (client, people, _), people_server(address, SPECS) as (other, _, _):
        people.as_account("ann", is_operator=True)
        set_of(client, "colours", status="deprecated")
        until = time.monotonic() + 20
        while other.get("/v1/models/colours").json()["status"] != "deprecated":
            assert time.monotonic() < until


def test_terms_are_kept_in_either_database(database: Database) -> None:
    terms = ModelTerms(
        model="a/b",
        status="deprecated",
        shutdown_date=datetime.date(2999, 1, 1),
        price=Price(model="a/b", usd_per_1k_images="1", usd_per_1k_texts="0.5"),
        providers=("far", "local"),
    )
    with database.write() as connection:
        write_terms(connection, terms, words="all", operator="ann", note="one")
        assert read_terms(connection) == {"a/b": terms}
        write_terms(connection, ModelTerms(model="a/b"), words="none", operator="ann", note="two")
        assert read_terms(connection) == {} and ModelTerms(model="a/b").is_empty
        assert [one.note for one in events(connection, limit=1)] == ["two"]


def test_the_model_that_searches_the_gallery_stays(tmp_path: Path, gallery: Library) -> None:
    with people_server(new_sqlite(tmp_path), SPECS, gallery=gallery) as (client, people, _):
        people.as_account("ann", is_operator=True)
        for fields in ({"status": "coming_soon"}, {"status": "deprecated", "shutdown_date": "2999-01-01"}):
            answer = send(client, PAGE, model="colours", note="a test", **fields)
            assert answer.status_code == 400 and "The gallery is searched by colours" in answer.text
        set_of(client, "colours", status="deprecated")


def test_pages_are_shown_also_where_the_database_does_not_answer(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, people, _ = server
    client.get("/models.json")

    def fail(*given: object, **named: object) -> None:
        raise RequestError("It does not answer.", code="accounts_unavailable")

    for name in ("wishes_of", "count_wishes"):
        monkeypatch.setattr(wishes, name, fail)
    monkeypatch.setattr(shelf, "list_keys", fail)
    monkeypatch.setattr(shelf, "REFRESH_SECONDS", -1.0)
    people.as_account("ann")
    page = client.get("/models/next/model", headers={"accept": "text/html"})
    assert page.status_code == 200 and "Votes cannot be read now." in page.text and "YOUR_KEY" in page.text


def test_two_operators_at_the_same_time_are_both_noted_and_one_holds(database: Database) -> None:
    start = threading.Barrier(2)
    models = [f"model {number}" for number in range(8)]

    def set_all(price: str) -> None:
        for model in models:
            terms = ModelTerms(
                model=model, price=Price(model=model, usd_per_1k_images=price, usd_per_1k_texts="1")
            )
            start.wait(timeout=30)
            with database.write() as connection:
                write_terms(connection, terms, words="price", operator=price, note="why")

    with ThreadPoolExecutor(2) as threads:
        for one in [threads.submit(set_all, price) for price in ("1", "2")]:
            one.result()
    with database.read() as connection:
        assert sorted(read_terms(connection)) == models
        assert len(events(connection, limit=99)) == 16
