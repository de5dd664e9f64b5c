"""The playground as the server renders it; `test_playground_in_browser.py` drives it in a browser."""

import asyncio
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from clipworks.search.library import Library
from clipworks.serve.app import create_app
from clipworks.serve.settings import ServeSettings
from clipworks.serve.site.layout import Layout, Viewer
from clipworks.serve.site.playground_page import PlaygroundPage
from tests.serve.cluster import new_sqlite
from tests.serve.colours import ADDRESS, ColourEngine, picture, scope_of
from tests.serve.paying import IMAGE_COST, TEXT_COST, balance, bearer, new_key, paid_server

ATTACK = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
RED = ("my red.png", picture("red"), "image/png")
BLUE = ("b.png", picture("blue"), "image/png")


@pytest.fixture(scope="module")
def client(settings: ServeSettings, gallery: Library) -> Iterator[TestClient]:
    """The server of `shared_client`, whose first model is called as on the page."""
    engines: Any = {"colours": ColourEngine(), "team/other": ColourEngine("other")}
    with TestClient(create_app(settings, engines, gallery), base_url=ADDRESS) as client:
        yield client


def post(client: TestClient, *files: Any, **fields: Any) -> Any:
    return client.post("/playground", data=fields, files=[("file", file) for file in files or [("", b"")]])


def elements_from_outside(page: str) -> list[str]:
    """Elements that only markup of a visitor's could have made."""
    found: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            given = dict(attributes)
            is_strange = tag == "script" and not (given.get("src") or "").startswith("/static/")
            if is_strange or given.get("src") == "x" or any(name.startswith("on") for name in given):
                found.append(tag)

    Parser().feed(page)
    return found


def table(page: str) -> list[list[str]]:
    """The text of every cell, row by row, of all tables."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)
    return [
        [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[dh]\b.*?</t[dh]>", row)]
        for row in rows
    ]


def test_the_page_is_filled_in_as_the_link_says(client: TestClient) -> None:
    answer = client.get(
        "/playground",
        params={
            **{"mode": "matrix", "against": "texts", "label": "a\nb, c", "template": "the {}"},
            **{"model": "team/other", "show": "cosine", "picture": "blue one.png"},
        },
    )
    page = answer.text
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    assert re.search(r"<textarea[^>]*>\na\nb, c</textarea>", page)
    assert re.search(r"<textarea[^>]*>\nthe \{\}</textarea>", page)
    for name, value in (("mode", "matrix"), ("against", "texts"), ("show", "cosine")):
        assert f'name="{name}" value="{value}" checked' in page
    assert re.search(r'value="team/other"[^>]* selected', page) and "All live models (2)" in page
    assert re.search(r'value="blue one.png"[^>]* data-name="a blue square" checked', page)
    assert page.count(" checked>") == 4 + 1 + 1, "three choices, a picture, live, and a tab"


def test_everything_that_the_page_loads_is_its_own(client: TestClient) -> None:
    page = post(client, RED, label="red,blue", mode="heat", picture="red one.png").text
    loaded = re.findall(r'(?:src|<(?:link|image)[^>]* href)="([^"]+)"', page)
    assert len(loaded) > 8 and all(address.startswith(("/static/", "/gallery/")) for address in loaded)
    for address in loaded:
        assert client.get(address).status_code == 200, address
    assert " style=" not in page and not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=", page)


def test_a_form_without_scripts_gets_bars_best_first(client: TestClient) -> None:
    page = post(client, RED, BLUE, label="green, red,blue", template="a {} square", model="colours").text
    first, second = page.split("<article")[1:]
    assert "Picture 1" in first and "Picture 2" in second and "data:" not in page
    rows = table(first)
    assert rows[0] == ["label", "", "score", "cosine"]
    assert [row[0] for row in rows[1:]] == ["red", "blue", "green"]
    assert rows[1][2:] == ["100.0 %", "1.000"]
    values = [float(value) for value in re.findall(r'<progress class="bar" value="([^"]+)"', first)]
    assert values == sorted(values, reverse=True) and sum(values) == pytest.approx(1, abs=1e-5)
    assert table(second)[1][0] == "blue"


def test_gallery_pictures_are_shown_and_bars_may_be_cosines(client: TestClient) -> None:
    page = post(client, picture="green one.png", label="green\nsky", show="cosine").text
    assert 'src="/gallery/green%20one.png"' in page and "<h3>a green square</h3>" in page
    values = [float(value) for value in re.findall(r'<progress class="bar" value="([^"]+)"', page)]
    cosines = [float(row[3]) for row in table(page)[1:]]
    assert values == pytest.approx([max(0.0, cosine) for cosine in cosines], abs=1e-3)


def test_all_live_models_answer_each_with_its_time(client: TestClient) -> None:
    page = post(client, RED, label="red,blue", model="*").text
    assert re.findall(r"<h2>(\S+) <span[^>]*>(\d+) ms", page) != []
    assert [name for name, _ in re.findall(r"<h2>(\S+) <span[^>]*>(\d+) ms", page)] == [
        "colours",
        "team/other",
    ]


@pytest.mark.parametrize(
    ("against", "heads", "shape"),
    [
        ("both", ["red", "blue"], (1, 2)),
        ("texts", ["red", "blue"], (2, 2)),
        ("pictures", ["Picture 1"], (1, 1)),
    ],
)
def test_the_matrix_compares_what_is_asked(
    client: TestClient, against: str, heads: list[str], shape: tuple[int, int]
) -> None:
    rows = table(post(client, RED, label="red,blue", mode="matrix", against=against).text)
    assert rows[0][1:] == heads and (len(rows) - 1, len(rows[1]) - 1) == shape
    assert rows[1][1] == "1.000"


def test_heat_maps_are_drawn_as_squares(client: TestClient) -> None:
    page = post(client, RED, picture="blue one.png", label="red,blue", mode="heat").text
    assert page.count("<svg ") == 4 and page.count("<rect ") == 16
    assert page.count("<image ") == 2, "only the gallery's picture can be shown"
    assert "Where “red” is matched" in page


def test_labels_templates_models_and_addresses_that_try_to_be_markup_are_escaped(client: TestClient) -> None:
    fields = {"label": ATTACK, "template": ATTACK + "{}", "url": ATTACK, "picture": ATTACK}
    pages = [
        client.get("/playground", params=fields),
        client.get("/playground", params={"mode": ATTACK}),
        client.get("/playground", params={"model": ATTACK}),
        post(client, RED, label=ATTACK + ",red", template="{} " + ATTACK),
        post(client, RED, label=ATTACK, mode="heat"),
        post(client, RED, label=ATTACK, mode="matrix"),
        post(client, RED, label="red", url=ATTACK),
        post(client, RED, label="red", picture=ATTACK),
        post(client, (ATTACK, b"no picture", ATTACK), label="red"),
        client.get("/playground", params={"picture": "black one.png"}),
    ]
    assert [page.status_code for page in pages] == [200, 400, 404, 200, 200, 200, 400, 404, 400, 200]
    for page in pages:
        assert elements_from_outside(page.text) == []
    assert "&lt;script&gt;alert(1)" in pages[3].text
    assert "The gallery has no picture" in pages[0].text


@pytest.mark.parametrize(
    ("files", "fields", "status", "said"),
    [
        ((), {"label": "red"}, 400, "Choose a picture first."),
        ((RED,), {"label": " , "}, 400, "labels is an empty list"),
        ((RED,), {"label": "", "mode": "matrix"}, 400, "texts is an empty list"),
        ((("a.png", b"nothing"),), {"label": "red"}, 400, "Picture 1"),
        ((RED, ("a.png", b"nothing")), {"label": "red"}, 400, "Picture 2"),
        ((RED,), {"label": "red", "template": "no place"}, 400, "must hold {} once"),
        ((RED,) * 9, {"label": "red"}, 400, "Too many"),
        ((RED,) * 7, {"label": "red", "picture": ["red one.png", "blue one.png"]}, 400, "At most 8"),
        ((RED,), {"label": "red", "url": "https://example.org/a.png"}, 403, "this server fetches nothing"),
        ((RED,), {"label": "red", "picture": "../secret.txt"}, 404, "no such picture"),
        ((RED,), {"label": "red", "model": "nope"}, 404, "is not served here"),
        ((RED,), {"label": "red", "colour": "x"}, 400, "There is no field"),
        ((RED,), {"label": "red", "mode": "poem"}, 400, "mode is"),
    ],
)  # fmt: skip
def test_mistakes_are_said_on_the_page(
    client: TestClient, files: Any, fields: dict[str, Any], status: int, said: str
) -> None:
    answer = post(client, *files, **fields)
    assert answer.status_code == status and answer.text.startswith("<!doctype html>")
    (problem,) = re.findall(r'role="alert">(.*?)</p>', answer.text)
    assert said in problem.replace("&#39;", "'")


def test_what_was_typed_stays_on_the_page_after_a_mistake(client: TestClient) -> None:
    page = post(client, label="red\nmy own label", mode="matrix").text
    assert "my own label</textarea>" in page and 'value="matrix" checked' in page


def test_a_failing_engine_tells_nothing_of_its_inside(gallery: Library) -> None:
    engine: Any = ColourEngine()
    with TestClient(create_app(ServeSettings(), {"colours": engine}, gallery), base_url=ADDRESS) as client:
        client.get("/playground")
        engine.failure = RuntimeError("secret inside")
        answer = post(client, RED, label="red")
    assert answer.status_code == 500 and "secret" not in answer.text
    assert answer.headers["x-request-id"] in answer.text


def test_without_a_gallery_and_with_one_model_there_is_less_to_choose() -> None:
    engines: Any = {"colours": ColourEngine()}
    with TestClient(create_app(ServeSettings(url_mode="public"), engines), base_url=ADDRESS) as client:
        page = client.get("/playground").text
    assert "From the gallery" not in page and "All live models" not in page and 'id="url"' in page


# --- with accounts --------------------------------------------------------------------------------


def test_with_keys_a_form_is_charged_for_each_model(tmp_path: Path) -> None:
    with paid_server(new_sqlite(tmp_path), ColourEngine()) as (client, database):
        _, secret = new_key(database)
        before = balance(database)
        answer = client.post(
            "/playground", data={"label": "red,blue,green"}, files=[("file", RED)], headers=bearer(secret)
        )
        assert answer.status_code == 200 and "$0.0000" in answer.text
        assert before - balance(database) == IMAGE_COST + 3 * TEXT_COST
        answer = client.post("/playground", data={"label": ""}, files=[("file", RED)], headers=bearer(secret))
        assert answer.status_code == 400 and before - balance(database) == IMAGE_COST + 3 * TEXT_COST
        assert client.post("/playground", data={"label": "red"}).status_code == 401


def shown_to(viewer: Viewer | None, client: TestClient) -> str:
    """The page of a server with accounts, for somebody."""
    service = client.app.state.service  # type: ignore[attr-defined]
    service.settings = ServeSettings(require_keys=True)

    async def nothing() -> list[Any]:
        return []

    scope = scope_of("GET", "/playground") | {"state": {"viewer": viewer}}
    page = PlaygroundPage(service, Layout(service.settings), nothing)
    return bytes(asyncio.run(page.show(Request(scope))).body).decode()


def test_with_accounts_who_is_not_signed_in_is_asked_to(gallery: Library) -> None:
    engines: Any = {"colours": ColourEngine()}
    with TestClient(create_app(ServeSettings(), engines, gallery), base_url=ADDRESS) as client:
        page = shown_to(None, client)
        assert "Sign in to run." in page and 'href="/sign-in?next=/playground"' in page
        assert '<button class="main"' not in page and 'data-may-run=""' in page
        signed_in = shown_to(Viewer(account="ada", form_token='t"<>'), client)
    assert "Sign in to run" not in signed_in and 'data-may-run="yes"' in signed_in
    assert '<meta name="form-token" content="t&#34;&lt;&gt;">' in signed_in
    assert 'name="form_token" value="t&#34;&lt;&gt;"' in signed_in
    assert "each run is charged" in signed_in and not re.search(r'id="live"[^>]* checked', signed_in)
