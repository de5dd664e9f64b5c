"""The list of models: for people, for Infinity's clients, and as twins for programs."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from clipworks.model.catalogue import rows
from clipworks.serve.app import create_app, create_service_app
from clipworks.serve.fleet import Fleet
from clipworks.serve.roster import ModelSpec
from clipworks.serve.service import Service
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ADDRESS, ColourEngine
from tests.serve.workers import HeldWorker

HTML = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
HOSTILE = "<img src=x onerror=alert(1)>\"'&`{{7*7}}/${x}"
SPECS = [
    ModelSpec(id="pictogram", aliases=("default",)),
    ModelSpec(id="mine"),
    ModelSpec(id="openai/clip-vit-base-patch16", status="coming_soon"),
    ModelSpec(id="old/one", status="deprecated"),
    ModelSpec(id=HOSTILE),
]


@pytest.fixture(scope="module")
def pages() -> Iterator[TestClient]:
    """A server with models of every kind, one of which has a name that tries to be markup."""
    settings = ServeSettings()
    fleet = Fleet(settings, SPECS, lambda spec: HeldWorker(ColourEngine(spec.id)))
    with TestClient(create_service_app(Service(settings, fleet, None)), base_url=ADDRESS) as client:
        while client.get("/readyz").status_code != 200:
            pass
        yield client


def cards(page: str) -> list[str]:
    return re.findall(r'<input type="checkbox" form="compare" name="m" value="([^"]*)"', page)


def shown(client: TestClient, **query: str) -> list[str]:
    answer = client.get("/models", params=query, headers=HTML)
    assert answer.status_code == 200
    return cards(answer.text)


def test_it_has_this_servers_models_and_the_known_ones_that_are_coming(pages: TestClient) -> None:
    page = pages.get("/models", headers=HTML).text
    found = cards(page)
    assert len(found) == 9 and {row.id for row in rows()} <= set(found)
    assert found[0] == "pictogram" and found.count("openai/clip-vit-base-patch16") == 1
    assert page.count('class="pill live"') == 3 and page.count('class="pill deprecated"') == 1
    assert page.count('class="pill coming-soon"') == 5
    for words in (
        "$0.047",
        "CC-BY-NC-4.0",
        "149.6 M",
        "72.1 %",
        "Providers",
        "Addresses and captions are CC-BY-4.0",
    ):
        assert words in page, words


def test_infinitys_clients_go_on_getting_their_list(pages: TestClient) -> None:
    for accept in (
        {},
        {"accept": "*/*"},
        {"accept": "application/json"},
        {"accept": "application/json, text/html"},
    ):
        answer = pages.get("/models", headers=accept)
        assert answer.headers["content-type"] == "application/json", accept
        assert "owned_by" not in answer.json()["data"][0] and len(answer.json()["data"]) == len(SPECS)
        assert answer.headers["vary"] == "accept"


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        ("text/html", True),
        ("text/html;q=0.5, application/json", False),
        ("text/html, application/json;q=0.9", True),
        ("text/*", True),
        ("text/html;q=nonsense", False),
        (";;,,=", False),
    ],
)
def test_a_page_comes_to_who_prefers_one(pages: TestClient, accept: str, is_page: bool) -> None:
    kind = pages.get("/models", headers={"accept": accept}).headers["content-type"]
    assert kind.startswith("text/html") == is_page


def test_words_are_searched_in_names_architectures_and_data(pages: TestClient) -> None:
    assert shown(pages, q="datacomp-b32") == ["laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K"]
    assert shown(pages, q="DATACOMP vit-l") == ["laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"]
    assert shown(pages, q="icon packages") == ["pictogram"]
    assert shown(pages, q="default") == ["pictogram"]
    nothing = pages.get("/models", params={"q": "no such <b>model</b>"}, headers=HTML)
    assert "No model meets all of that." in nothing.text and "&lt;b&gt;model" in nothing.text


def test_filters_narrow_and_can_be_combined(pages: TestClient) -> None:
    assert shown(pages, status="coming-soon", licence="CC-BY-NC-4.0") == ["facebook/metaclip-b16-fullcc2.5b"]
    assert shown(pages, size="large") == ["laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"]
    assert shown(pages, price="0.02") == ["pictogram"]
    assert shown(pages, task="drawings-and-icons") == ["pictogram"]
    assert len(shown(pages, licence="commercial")) == 4
    assert shown(pages, size="small", status="coming-soon") == []


@pytest.mark.parametrize(
    ("order", "first", "last"),
    [
        ("price", "pictogram", None),
        ("imagenet", "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K", None),
        ("average", "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K", None),
        ("size", "pictogram", None),
        ("speed", "pictogram", None),
        ("standing", "pictogram", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
    ],
)
def test_models_have_the_order_that_was_asked_for(
    pages: TestClient, order: str, first: str, last: str | None
) -> None:
    found = shown(pages, sort=order)
    assert found[0] == first and last in (None, found[-1]) and len(found) == 9


def test_what_is_asked_most_is_what_is_most_wanted_where_nobody_votes(pages: TestClient) -> None:
    for _ in range(3):
        assert pages.post("/v1/embeddings", json={"model": "mine", "input": "red"}).status_code == 200
    assert shown(pages, sort="demand")[0] == "mine"


@pytest.mark.parametrize("name", ["task", "licence", "size", "status", "price", "sort"])
def test_a_filter_that_means_nothing_is_said_and_left_out(pages: TestClient, name: str) -> None:
    answer = pages.get("/models", params={name: "<i>live"}, headers=HTML)
    assert answer.status_code == 400 and len(cards(answer.text)) == 9
    assert "&lt;i&gt;live" in answer.text and "Nearest: " in answer.text and 'role="alert"' in answer.text


def test_a_search_that_is_too_long_is_cut_and_said(pages: TestClient) -> None:
    answer = pages.get("/models", params={"q": "a" * 5000}, headers=HTML)
    assert answer.status_code == 400 and "Only the first 200 characters" in answer.text


def test_the_form_keeps_what_was_chosen(pages: TestClient) -> None:
    page = pages.get("/models", params={"q": "vit", "size": "base", "sort": "price"}, headers=HTML).text
    assert 'value="vit"' in page and '<option value="base" selected>' in page
    assert '<option value="price" selected>' in page and 'href="/models">show all' in page


def test_programs_get_the_same_models_by_the_same_filters(pages: TestClient) -> None:
    answer = pages.get("/models.json", params={"size": "large"}).json()
    (row,) = answer["data"]
    assert row["id"] == "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K" and row["status"] == "coming soon"
    assert row["pricing"] == {"usd_per_1k_images": "0.060", "usd_per_1k_texts": "0.012"}
    assert row["imagenet"] == 0.7921 and row["licence"] == "MIT" and "CC-BY-4.0" in row["data_licence"]
    assert pages.get(row["links"]["json"]).json()["id"] == row["id"]
    assert pages.get("/models.json", params={"size": "huge"}).json()["faults"] != []
    assert "downloads" not in row


def test_what_stands_where_is_said_for_programs_that_read(pages: TestClient) -> None:
    answer = pages.get("/llms.txt")
    assert answer.headers["content-type"].startswith("text/plain") and answer.text.startswith("# clipworks\n")
    assert "No key is needed, and nothing is charged." in answer.text
    links = re.findall(r"\]\((\S+?\.md)\)", answer.text)
    assert len(links) == 9
    for link in links:
        assert pages.get(link).headers["content-type"].startswith("text/markdown"), link


@pytest.mark.parametrize(
    "path", ["/models", "/models/{}", "/models/{}.md", "/models/{}.json", "/compare?m={}"]
)
def test_a_name_that_tries_to_be_markup_is_only_a_name(pages: TestClient, path: str) -> None:
    answer = pages.get(path.replace("{}", quote(HOSTILE, safe="")), headers=HTML)
    assert answer.status_code == 200
    if answer.headers["content-type"].startswith("text/html"):
        assert "<img src=x" not in answer.text and "&lt;img src=x" in answer.text and "{{7*7}}" in answer.text
    elif answer.headers["content-type"] == "application/json":
        assert answer.json()["id"] == HOSTILE
    else:
        assert "# \\<img src=x onerror=alert(1)\\>" in answer.text


@pytest.mark.parametrize("path", ["/models", "/models/pictogram", "/models/nothing-like-it", "/compare"])
def test_everything_that_the_pages_load_is_their_own(pages: TestClient, path: str) -> None:
    page = pages.get(path, headers=HTML).text
    loaded = re.findall(r'(?:\ssrc|<link rel="(?:stylesheet|icon)" href)="([^"]+)"', page)
    assert len(loaded) >= 3 and all(address.startswith("/static/") for address in loaded)
    assert " style=" not in page and not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=(?!alert)", page)
    for link in set(re.findall(r'href="(/[^"#]*)"', page)):
        assert pages.get(link.replace("&amp;", "&"), headers=HTML).status_code == 200, link


def test_a_server_with_keys_shows_its_models_to_everybody(tmp_path: Any) -> None:
    given = ServeSettings(require_keys=True, database=f"sqlite:///{tmp_path}/a.db")
    engines: Any = {"colours": ColourEngine()}
    with TestClient(create_app(given, engines), base_url=ADDRESS) as client:
        for path in (
            "/models",
            "/models.json",
            "/llms.txt",
            "/models/colours",
            "/models/colours.md",
            "/compare",
        ):
            assert client.get(path, headers=HTML).status_code == 200, path
        page = client.get("/models/colours", headers=HTML).text
        assert '<mark class="key">YOUR_KEY</mark>' in page
        refused = client.post("/models/colours", json={"inputs": "red"})
        assert refused.status_code == 401 and json.loads(refused.content)["error"]
