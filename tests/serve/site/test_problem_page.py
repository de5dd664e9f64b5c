"""A browser that meets a fault is shown a page; programs get the error object."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from clipworks.serve.app import create_app
from clipworks.serve.database import Database
from clipworks.serve.roster import ModelSpec
from clipworks.serve.settings import ServeSettings
from tests.serve.cluster import new_sqlite
from tests.serve.colours import ADDRESS, ColourEngine, picture
from tests.serve.site.hostile import HOSTILE, wrongs
from tests.serve.site.people import SignedIn, people_server, token_of

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"}
FORM = {"label": "red, blue", "model": "colours", "mode": "classify"}

Server = tuple[TestClient, SignedIn, Database]


@pytest.fixture(scope="module")
def open_client() -> Iterator[TestClient]:
    """A server without accounts."""
    with TestClient(create_app(ServeSettings(), {"colours": ColourEngine()}), base_url=ADDRESS) as client:
        yield client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with accounts."""
    with people_server(new_sqlite(tmp_path_factory.mktemp("problems")), [ModelSpec(id="colours")]) as server:
        yield server


def page_of(answer: Any, status: int) -> str:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert wrongs(answer.text) == [] and "<nav" in answer.text
    return str(answer.text)


@pytest.mark.parametrize("path", ["/nowhere", "/v1/nowhere", f"/{HOSTILE[0]}", "/gallery/none.png"])
def test_a_browser_that_asks_for_what_is_not_there_gets_a_page(open_client: TestClient, path: str) -> None:
    assert "There is no such page" in page_of(open_client.get(path, headers=BROWSER), 404)
    assert open_client.get(path).json()["error"]["code"] in ("not_found", "no_gallery")


@pytest.mark.parametrize("path", ["/account", "/account/keys", "/operator", "/sign-in"])
def test_pages_of_accounts_say_where_there_are_none(open_client: TestClient, path: str) -> None:
    page = page_of(open_client.get(path, headers=BROWSER), 404)
    assert "This server has no accounts" in page and "/docs/accounts" in page


def test_an_unknown_address_is_not_called_a_matter_of_keys_to_a_browser(server: Server) -> None:
    client, people, _ = server
    people.as_nobody()
    assert "There is no such page" in page_of(client.get("/nowhere", headers=BROWSER), 404)
    page = page_of(client.get("/v1/usage", headers=BROWSER), 401)
    assert "Sign in first" in page and 'for who is <a href="/sign-in">signed in' in page
    assert client.get("/nowhere").json()["error"]["code"] == "invalid_api_key"
    people.as_account("ann")
    assert "There is no such page" in page_of(client.get("/operator", headers=BROWSER), 404)


def test_a_form_of_another_site_is_refused_on_a_page(server: Server) -> None:
    client, people, _ = server
    people.as_account("ann")
    foreign = BROWSER | {"sec-fetch-site": "cross-site"}
    assert "another site" in page_of(client.post("/account/keys", data={}, headers=foreign), 403)


def test_a_failure_of_the_server_is_a_page_with_its_id(
    open_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(request: Request) -> None:
        raise RuntimeError("inside")

    app: Any = open_client.app
    (route,) = (one for one in app.routes if getattr(one, "path", "") == "/compare")
    monkeypatch.setattr(route, "app", lambda scope, receive, send: fail(Request(scope)))
    page = page_of(open_client.get("/compare", headers=BROWSER), 500)
    assert "The server failed" in page and "request id req_" in page and "inside" not in page


def test_the_playgrounds_form_is_answered_to_who_is_signed_in_without_scripts(server: Server) -> None:
    client, people, _ = server
    people.as_account("bob")
    fields = FORM | {"form_token": token_of(client)}
    answer = client.post(
        "/playground", data=fields, files={"file": ("a.png", picture("red"))}, headers=BROWSER
    )
    page = page_of(answer, 200)
    assert "blue" in page and "x-request-cost-usd" in answer.headers


@pytest.mark.parametrize("token", ["", "0" * 64])
def test_the_playgrounds_form_of_another_session_is_refused_and_costs_nothing(
    server: Server, token: str
) -> None:
    client, people, _ = server
    people.as_account("bob")
    before = client.get("/v1/credits").json()
    fields = FORM | {"form_token": token}
    answer = client.post(
        "/playground", data=fields, files={"file": ("a.png", picture("red"))}, headers=BROWSER
    )
    assert "too old, or was not of this site" in page_of(answer, 403)
    assert client.get("/v1/credits").json() == before
