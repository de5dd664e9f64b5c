"""What could be done to accounts by guessing, flooding and caches between the server and its readers."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from starlette.testclient import TestClient

from clipworks.serve.database import Database
from clipworks.serve.site import account_page, sign_in_page
from clipworks.serve.tables import TALLIES
from tests.serve.cluster import new_sqlite
from tests.serve.paying import paid_server
from tests.serve.people import PASSWORD, Person, problem_on

Served = tuple[TestClient, Database]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with paid_server(new_sqlite(tmp_path)) as server:
        yield server


@pytest.fixture
def person(served: Served) -> Person:
    person = Person(served[0])
    assert person.sign_up().status_code == 303
    return person


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
