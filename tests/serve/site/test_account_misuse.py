"""What could be done to accounts by guessing, flooding and caches between the server and its readers."""

import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from starlette.requests import Request
from starlette.testclient import TestClient

from clipworks.serve.books import Books
from clipworks.serve.closing import close_account
from clipworks.serve.database import Database, open_database
from clipworks.serve.keys import KeyTerms, key_named
from clipworks.serve.logins import find_login
from clipworks.serve.problems import RequestError
from clipworks.serve.repeats import Answer, Repeat
from clipworks.serve.roster import ModelSpec
from clipworks.serve.settings import ServeSettings
from clipworks.serve.site import account_page, keys_page, sign_in_page
from clipworks.serve.site.forms import read_form
from clipworks.serve.tables import REPEATS, TALLIES
from clipworks.serve.visitors import Visitors
from tests.serve.cluster import new_sqlite
from tests.serve.paying import assert_books_agree, new_key, order_of, paid_server, reserve, settle
from tests.serve.people import PASSWORD, Person, problem_on
from tests.serve.site.people import people_server, send

Served = tuple[TestClient, Database]


def test_nothing_of_who_is_signed_in_is_kept_by_a_cache(person: Person) -> None:
    for path in ("/account/usage.csv", "/account/usage", "/v1/credits", "/v1/usage", "/models.json"):
        assert person.get(path).headers["cache-control"] == "no-store", path
    person.client.cookies.clear()
    assert "cache-control" not in person.get("/models.json").headers


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/account/password", {"new": "eleven yellow pears"}),
        ("/account/close", {"name": "mira"}),
    ],
)
def test_whoever_holds_a_session_cannot_guess_its_password(
    person: Person, monkeypatch: pytest.MonkeyPatch, path: str, fields: dict[str, str]
) -> None:
    monkeypatch.setattr(account_page, "MAX_TRIES", 2)
    guesses = [
        person.send("/account/settings", path, {**fields, "current": word})
        for word in ("wrong wrong wrong", "another wrong one", PASSWORD)
    ]
    assert [answer.status_code for answer in guesses] == [403, 403, 429]
    assert "too many wrong tries" in problem_on(guesses[-1].text)
    assert int(guesses[-1].headers["retry-after"]) > 0


def test_right_passwords_of_who_is_signed_in_are_no_tries(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_page, "MAX_TRIES", 1)
    old = PASSWORD
    for new in ("eleven yellow pears", "twelve green plums"):
        changed = person.send("/account/settings", "/account/password", {"current": old, "new": new})
        assert changed.status_code == 303
        old = new


def test_an_address_that_has_tried_too_often_fills_no_table(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, database = served
    monkeypatch.setitem(sign_in_page.MAX_TRIES, "sign-in address", 1)
    counts: list[Any] = []
    for name in ("first", "second", "third"):
        Person(client, name).sign_in()
        with database.read() as connection:
            counts.append(connection.execute(select(func.count()).select_from(TALLIES)).scalar())
    assert counts == [3, 3, 3]


@pytest.mark.parametrize("path", ["/sign-in", "/sign-up"])
def test_a_mistake_at_the_door_does_not_change_where_it_leads(served: Served, path: str) -> None:
    fields = {"name": "mira", "password": "wrong", "next": "/playground?mode=heat"}
    answer = Person(served[0]).send(path, path, fields)
    assert answer.status_code in (400, 403)
    assert re.findall(r'name="next" value="([^"]*)"', answer.text) == ["/playground?mode=heat"]
    fields["next"] = "https://evil.example"
    assert "evil.example" not in Person(served[0]).send(path, path, fields).text


def test_the_key_of_the_pages_gets_no_secret(served: Served, person: Person) -> None:
    with served[1].read() as connection:
        login = find_login(connection, "mira")
    assert login is not None
    answer = person.send("/account/keys", f"/account/keys/{login.pages_key_id}/rotate")
    assert answer.status_code == 400 and "has no secret" in problem_on(answer.text)


def test_keys_made_and_ended_in_a_loop_fill_no_table(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_page, "MAX_NEW_KEYS", 2)
    person.make_key("one")
    page = person.get("/account/keys").text
    (identity,) = re.findall(r"/account/keys/(\w+)/rotate", page)
    rotate = f"/account/keys/{identity}/rotate"
    assert [person.send("/account/keys", rotate).status_code for _ in range(2)] == [200, 429]
    refused = person.send("/account/keys", "/account/keys", {"name": "two", "scopes": "usage"})
    assert refused.status_code == 429 and "Enough keys" in problem_on(refused.text)


def test_two_keys_of_one_name_are_not_made_at_the_same_time(database: Database) -> None:
    owner = new_key(database, "ann")[0].account_id
    start = threading.Barrier(2)

    def make(name: str) -> bool:
        start.wait(timeout=30)
        try:
            with database.write() as connection:
                keys_page._create(connection, owner, KeyTerms(name=name))
        except RequestError:
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        made = [list(threads.map(make, (name, name))) for name in map(str, range(8))]
    assert [sorted(both) for both in made] == [[False, True]] * 8


def test_what_is_answered_after_an_account_was_closed_is_not_kept(database: Database) -> None:
    key, _ = new_key(database)
    order = order_of(key, repeat=Repeat(key="again", digest="d"))
    charge = reserve(database, order).charge_id
    with database.write() as connection:
        close_account(connection, key.account_id)
    settle(database, order, charge, Answer(body=b"secret", media_type="text/plain"))
    with database.read() as connection:
        assert connection.execute(REPEATS.select()).all() == []
    assert_books_agree(database)


def test_a_key_for_a_model_by_another_of_its_names_opens_that_model(tmp_path: Path) -> None:
    specs = [ModelSpec(id="colours", aliases=("hues",))]
    with people_server(new_sqlite(tmp_path), specs) as (client, people, database):
        people.as_account("ann")
        answer = send(client, "/account/keys", name="app", scopes="inference", models="hues")
        assert answer.status_code == 200
        with database.read() as connection:
            assert key_named(connection, "app").terms.models == ("colours",)


def test_a_form_that_does_not_arrive_is_given_up(tmp_path: Path) -> None:
    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    settings = ServeSettings(database=new_sqlite(tmp_path), body_seconds=0.01)
    database = open_database(settings.database)
    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    request = Request({"type": "http", "method": "POST", "path": "/sign-in", "headers": headers}, receive)
    reading = read_form(request, Visitors(Books(database), settings), is_signed_in=False)
    with pytest.raises(RequestError, match="did not arrive within 0.01 seconds"):
        asyncio.run(asyncio.wait_for(reading, 10))
    database.close()


def test_the_overview_is_of_the_last_days_whatever_the_address_says(person: Person) -> None:
    assert person.get("/account?from=nonsense&to=1999").status_code == 200


def test_examples_name_the_address_that_people_know(tmp_path: Path) -> None:
    """A key that is copied with `http://` in front would go over the wire for everybody to read."""
    with paid_server(new_sqlite(tmp_path), public_url="https://clip.example.org") as (client, _):
        for path in ("/", "/docs/api", "/models.json", "/llms.txt", "/models/colours"):
            text = client.get(path, headers={"accept": "text/html", "host": "other.example"}).text
            assert "https://clip.example.org" in text and "other.example" not in text, path


def test_too_large_a_form_is_refused(served: Served, person: Person) -> None:
    fields = {"name": "x" * 70_000, "scopes": "inference"}
    assert person.send("/account/keys", "/account/keys", fields).status_code == 413
    fields = {f"field{n}": "x" for n in range(300)}
    assert person.send("/account/keys", "/account/keys", fields).status_code == 400
