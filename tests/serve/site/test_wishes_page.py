"""Votes: one of each account, counted, shown, and told of when the model comes."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from starlette.testclient import TestClient

from clipworks.serve.closing import close_account
from clipworks.serve.database import Database
from clipworks.serve.model_terms import events
from clipworks.serve.roster import ModelSpec
from clipworks.serve.wishes import count_wishes, news_of, note_live, take_back, want, wishers
from tests.serve.cluster import new_sqlite
from tests.serve.colours import refusal
from tests.serve.paying import new_key
from tests.serve.site.people import people_server, send, token_of

HTML = {"accept": "text/html"}
NEXT = "next/model"
METACLIP = "facebook/metaclip-b16-fullcc2.5b"
SPECS = [ModelSpec(id="colours"), ModelSpec(id=NEXT, status="coming_soon")]


def test_an_account_votes_once_and_may_take_it_back(tmp_path: Path) -> None:
    with people_server(new_sqlite(tmp_path), SPECS) as (client, people, _):
        people.as_account("ann")
        page = client.get(f"/models/{NEXT}", headers=HTML).text
        assert "I want this model" in page and "0 votes" in page and f'value="{token_of(client)}"' in page
        for _ in range(2):
            answer = send(client, "/account/wishes", model=NEXT, wants="yes")
            assert (answer.status_code, answer.headers["location"]) == (303, f"/models/{NEXT}")
        people.as_account("bob")
        send(client, "/account/wishes", model="metaclip-b16", wants="yes", back="/models")
        send(client, "/account/wishes", model=NEXT, wants="yes")
        page = client.get("/models", params={"sort": "demand"}, headers=HTML).text
        assert page.index(NEXT) < page.index(METACLIP) < page.index("openai/clip")
        assert "2 votes · press again" in page and "1 vote · press again to take yours back<" in page
        assert page.count("✓ You want this model") == 2
        send(client, "/account/wishes", model=NEXT, wants="no")
        assert client.get("/models.json?sort=demand").json()["data"][0]["votes"] == 1
        mine = client.get("/account/wishes").text
        assert METACLIP in mine and NEXT not in mine


def test_who_is_not_signed_in_sees_the_votes_and_cannot_vote(tmp_path: Path) -> None:
    with people_server(new_sqlite(tmp_path), SPECS) as (client, people, _):
        assert "Sign in to vote." in client.get(f"/models/{NEXT}", headers=HTML).text
        for answer in (send(client, "/account/wishes", model=NEXT), client.get("/account/wishes")):
            assert answer.status_code == 303 and answer.headers["location"].startswith("/sign-in?next=")
        people.as_account("ann")
        assert "Sign in to vote." not in client.get(f"/models/{NEXT}", headers=HTML).text


def test_a_form_of_another_session_or_of_no_form_is_refused(tmp_path: Path) -> None:
    with people_server(new_sqlite(tmp_path), SPECS) as (client, people, _):
        people.as_account("ann")
        for token in ("", "another", "é"):
            answer = client.post("/account/wishes", data={"form_token": token, "model": NEXT})
            assert "not of this site" in refusal(answer, 403, "foreign_form", None)
        assert client.post("/account/wishes", json={"model": NEXT}).status_code == 415
        many = "&".join(f"a{i}=1" for i in range(300))
        kind = {"content-type": "application/x-www-form-urlencoded"}
        assert client.post("/account/wishes", content=many, headers=kind).status_code == 400
        assert client.post("/account/wishes", content=b"a=" + b"x" * 70_000, headers=kind).status_code == 413
        assert client.post("/account/wishes", content=b"\xff=1", headers=kind).status_code == 400
        assert client.get("/models.json?sort=demand").json()["data"][0]["votes"] == 0


def test_only_a_model_that_is_coming_takes_votes(tmp_path: Path) -> None:
    with people_server(new_sqlite(tmp_path), SPECS) as (client, people, _):
        people.as_account("ann")
        assert "it is live" in refusal(
            send(client, "/account/wishes", model="colours"), 400, "invalid_value", "model"
        )
        assert "Nearest: " in refusal(
            send(client, "/account/wishes", model="nex"), 404, "model_not_found", "model"
        )
        assert "I want this model" not in client.get("/models/colours", headers=HTML).text
        away = send(client, "/account/wishes", model=NEXT, back="https://example.org/")
        assert away.headers["location"] == f"/models/{NEXT}"


def test_a_server_without_accounts_has_no_votes_and_says_so(shared_client: TestClient) -> None:
    page = shared_client.get("/models", headers=HTML).text
    assert "This server has no accounts, so no votes." in page and "I want this model" not in page
    for path in ("/account/wishes", "/operator/models"):
        refusal(shared_client.post(path), 404, "not_found", None)
        refusal(shared_client.get(path), 404, "not_found", None)


def test_who_wanted_a_model_is_told_when_the_next_start_serves_it(tmp_path: Path) -> None:
    address = new_sqlite(tmp_path)
    with people_server(address, SPECS) as (client, people, _):
        people.as_account("ann")
        send(client, "/account/wishes", model=NEXT, wants="yes")
        assert "is live" not in client.get("/account/wishes").text
    with people_server(address, [ModelSpec(id="colours"), ModelSpec(id=NEXT)]) as (client, people, database):
        people.as_account("ann")
        page = client.get("/account/wishes").text
        assert f"{NEXT}</a> is live</strong> since {time.gmtime().tm_year}-" in page
        people.as_account("bob")
        assert "is live" not in client.get("/account/wishes").text
        with database.read() as connection:
            assert [(one.model, one.kind) for one in events(connection, limit=9)] == [(NEXT, "live")]
    with (
        people_server(address, [ModelSpec(id=NEXT)]) as (client, people, database),
        database.read() as connection,
    ):
        assert len(events(connection, limit=9)) == 1  # told once


def test_who_wanted_a_model_is_told_also_where_it_is_served_by_another_name(tmp_path: Path) -> None:
    address = new_sqlite(tmp_path)
    with people_server(address, SPECS) as (client, people, _):
        people.as_account("ann")
        send(client, "/account/wishes", model=METACLIP, wants="yes")
    with people_server(address, [ModelSpec(id="ours", source=METACLIP)]) as (client, people, _):
        people.as_account("ann")
        page = client.get("/account/wishes").text
        assert f"{METACLIP}</a> is live</strong>" in page
        assert client.get(f"/models/{METACLIP}", headers=HTML).status_code == 200


def test_votes_are_kept_in_either_database(database: Database) -> None:
    new_key(database, "ann")
    new_key(database, "bob")
    with database.write() as connection:
        for account, model in (("ann", "a"), ("ann", "a"), ("bob", "a"), ("bob", "b")):
            want(connection, account, model)
        assert count_wishes(connection) == {"a": 2, "b": 1}
        assert wishers(connection, most=2) == {"a": ["ann", "bob"], "b": ["bob"]}
        assert wishers(connection, most=1) == {"a": ["ann"], "b": ["bob"]}
        assert note_live(connection, ["a", "c"]) == ["a"] and note_live(connection, ["a"]) == []
        assert [one.model for one in news_of(connection, "ann")] == ["a"]
        take_back(connection, "ann", "a")
        take_back(connection, "ann", "a")
        assert count_wishes(connection) == {"a": 1, "b": 1} and news_of(connection, "ann") == []


def test_votes_of_one_account_at_the_same_time_are_one(database: Database) -> None:
    new_key(database, "ann")
    start = threading.Barrier(2)

    def vote(model: str) -> None:
        start.wait(timeout=30)
        with database.write() as connection:
            want(connection, "ann", model)

    models = [f"model {number}" for number in range(10)]
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(lambda: [vote(model) for model in models]) for _ in range(2)]
        for one in both:
            one.result()
    with database.read() as connection:
        assert count_wishes(connection) == dict.fromkeys(models, 1)


def test_a_closed_account_has_no_votes(database: Database) -> None:
    """Signing up, voting and closing again would count as often as one likes."""
    key, _ = new_key(database, "ann")
    with database.write() as connection:
        want(connection, "ann", NEXT)
        close_account(connection, key.account_id)
        assert count_wishes(connection) == {} and wishers(connection, most=9) == {}


def test_the_readers_own_key_is_named_by_its_start_and_never_in_full(tmp_path: Path) -> None:
    with people_server(new_sqlite(tmp_path), SPECS) as (client, people, database):
        people.as_account("ann")
        assert "YOUR_KEY" in client.get("/models/colours", headers=HTML).text
        key, secret = new_key(database, "ann")
        start = key.label.partition("…")[0]
        page = client.get("/models/colours", headers=HTML).text
        assert secret.startswith(start) and f'<mark class="key">{start}…</mark>' in page
        assert secret not in page and secret[: len(start) + 1] not in page and "YOUR_KEY" not in page
        people.as_nobody()
        assert start not in client.get("/models/colours", headers=HTML).text
