"""The page `/` where work is paid for: who searches with whose money, and when none is spent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from clipworks.search.library import Library
from clipworks.serve import ledger, logins
from clipworks.serve.app import create_app
from clipworks.serve.database import Database, open_database
from clipworks.serve.settings import ServeSettings
from tests.serve.cluster import new_sqlite
from tests.serve.colours import ADDRESS, ColourEngine, picture
from tests.serve.paying import IMAGE_COST, TEXT_COST, assert_books_agree, balance, rows
from tests.serve.people import Person, problem_on

Served = tuple[Person, Database, ColourEngine]


@pytest.fixture
def served(tmp_path: Path, gallery: Library) -> Iterator[Served]:
    place, engine = new_sqlite(tmp_path), ColourEngine()
    engines: Any = {"colours": engine}
    database = open_database(place)
    app = create_app(ServeSettings(require_keys=True, database=place), engines, gallery)
    with TestClient(app, base_url=ADDRESS) as client:
        person = Person(client)
        assert person.sign_up().status_code == 303
        yield person, database, engine
    database.close()


def spent(database: Database) -> int:
    assert_books_agree(database)
    return 1_000_000 - balance(database, "mira")


def spend_all(database: Database) -> None:
    with database.write() as connection:
        login = logins.find_login(connection, "mira")
        assert login is not None
        ledger.adjust(connection, login.account_id, -1_000_000, note="all of it")


def test_words_and_pictures_are_searched_with_ones_own_credit(served: Served) -> None:
    person, database, _ = served
    assert person.get("/").status_code == 200 and spent(database) == 0
    found = person.get("/?q=something+red")
    assert "1 picture for “something red”" in found.text
    assert found.headers["x-request-cost-usd"] == "0.000012" and spent(database) == TEXT_COST
    assert "a blue square" in person.get("/?like=blue one.png&fragment=1").text
    assert spent(database) == TEXT_COST  # its vector is known: nothing is read anew
    assert person.get("/?q=something+red&minus=blue").status_code == 200
    assert spent(database) == 3 * TEXT_COST
    files = {"image": ("b.jpg", picture("blue", "JPEG"))}
    form = {"form_token": person.token("/")}
    assert "a blue square" in person.client.post("/", files=files, data=form).text
    headers = {"x-form-token": form["form_token"]}
    assert "a blue square" in person.client.post("/?fragment=1", files=files, headers=headers).text
    assert spent(database) == 3 * TEXT_COST + 2 * IMAGE_COST
    assert {row.model for row in rows(database, "settle")} == {"colours"}


def test_pictures_of_the_gallery_are_shown_to_who_is_signed_in(served: Served) -> None:
    person, _, _ = served
    for side in ("", "?side=240"):
        shown = person.get(f"/gallery/red%20one.png{side}")
        assert (shown.status_code, shown.headers["cache-control"]) == (200, "private, max-age=86400")
    person.client.cookies.clear()
    assert person.get("/gallery/red%20one.png").status_code == 401


@pytest.mark.parametrize("form", [{}, {"form_token": "0" * 64}])
def test_a_picture_without_the_form_token_is_not_searched_for(served: Served, form: dict[str, str]) -> None:
    person, database, _ = served
    answer = person.client.post("/", files={"image": ("b.jpg", picture("blue", "JPEG"))}, data=form)
    assert answer.status_code == 403 and "not of this site" in problem_on(answer.text)
    assert spent(database) == 0


def test_a_link_of_another_site_waits_for_a_click(served: Served) -> None:
    person, database, _ = served
    page = person.get("/?q=%3Cb%3Ered", headers={"sec-fetch-site": "cross-site"}).text
    assert "Another site led you here to search for “&lt;b&gt;red”" in page
    assert 'href="/?q=%3Cb%3Ered"' in page and "$0.000012" in page
    assert spent(database) == 0
    assert person.get("/?q=red", headers={"sec-fetch-site": "none"}).status_code == 200
    assert spent(database) == TEXT_COST


def test_who_has_no_credit_is_told_so(served: Served) -> None:
    person, database, _ = served
    spend_all(database)
    answer = person.get("/?q=red")
    assert answer.status_code == 402 and "The credit is used up" in problem_on(answer.text)


def test_a_part_of_the_page_is_never_a_page_of_its_own(served: Served) -> None:
    person, database, _ = served
    spend_all(database)
    poor = person.get("/?q=red&fragment=1")
    assert poor.status_code == 402 and "credit is used up" in poor.text
    person.client.cookies.clear()
    gone = person.get("/?q=red&minus=<b>&fragment=1")
    assert gone.status_code == 401 and "You are signed out." in gone.text
    assert 'href="/sign-in?next=%2F%3Fq%3Dred%26minus%3D%253Cb%253E"' in gone.text
    sent = person.client.post("/?fragment=1", files={"image": ("b.jpg", picture("blue", "JPEG"))})
    for answer in (poor, gone, sent):
        assert answer.status_code in (401, 402) and "<html" not in answer.text and "<h1" not in answer.text


def test_a_search_that_fails_costs_nothing(served: Served) -> None:
    person, database, engine = served
    person.get("/")
    assert person.get("/?q=red&where=colour%3Dred").status_code == 400
    engine.failure = RuntimeError("secret inside")
    assert person.get("/?q=blue").status_code == 500
    assert spent(database) == 0


def test_without_a_gallery_the_page_welcomes_also_who_is_signed_in(tmp_path: Path) -> None:
    engines: Any = {"colours": ColourEngine()}
    settings = ServeSettings(require_keys=True, database=new_sqlite(tmp_path))
    with TestClient(create_app(settings, engines), base_url=ADDRESS) as client:
        Person(client).sign_up()
        assert "Make a key" in client.get("/?q=red").text
