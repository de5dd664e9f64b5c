"""Labels, captions, file names and addresses that try to be markup are words on every page."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from clipworks.serve.app import create_app
from clipworks.serve.roster import ModelSpec
from clipworks.serve.settings import ServeSettings
from tests.serve.cluster import new_sqlite
from tests.serve.colours import ADDRESS, ColourEngine, picture
from tests.serve.site.hostile import HOSTILE, words_of, write_hostile_gallery, wrongs
from tests.serve.site.people import people_server

PLACES = (
    "/?q=red {}",
    "/?q={}",
    "/?q=red&where=words%3D{}",
    "/?q=red&sort={}",
    "/?q=red&n={}",
    "/?like={}",
    "/?q=red {}&fragment=1",
    "/docs?q={}",
    "/docs/{}",
    "/{}",
    "/models/{}",
    "/models?q={}",
    "/compare?m={}",
    "/playground?label={}&mode={}&url={}&picture={}",
)
"""Addresses that take words of a stranger's; a page that takes some adds a line."""

SIGNED_IN_PLACES = (
    "/account?done={}",
    "/account/{}",
    "/account/usage?from={}&to={}",
    "/account/prices?images={}",
    "/account/wishes?done={}",
    "/operator?q={}&page={}",
    "/operator/accounts/{}",
    "/operator/ledger?account={}&from={}&kind={}",
    "/operator/models?done={}",
    "/operator/health?audit={}",
)
"""The same of pages of who is signed in."""

REPEATED = {"/?q=red {}", "/?q={}", "/docs?q={}"}
"""Those that show the words again."""


@pytest.fixture(scope="module")
def hostile_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server whose model's name and whose gallery try to be markup."""
    gallery = write_hostile_gallery(tmp_path_factory.mktemp("hostile"), ColourEngine())
    engines: Any = {"colours": ColourEngine(), "<b>bold</b>": ColourEngine("other")}
    with TestClient(create_app(ServeSettings(), engines, gallery), base_url=ADDRESS) as client:
        yield client


@pytest.mark.parametrize("words", [" ".join(HOSTILE), "javascript:hacked()"], ids=["all", "javascript"])
@pytest.mark.parametrize("place", PLACES)
def test_words_in_an_address_stay_words(hostile_client: TestClient, place: str, words: str) -> None:
    answer = hostile_client.get(place.replace("{}", quote(words, safe="")))
    if answer.headers["content-type"].startswith("text/html"):
        assert wrongs(answer.text) == []
        if place in REPEATED and answer.status_code == 200:
            assert words[:100] in words_of(answer.text)
    else:
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("data", [picture("red"), b"no picture"], ids=["picture", "no picture"])
def test_the_name_of_an_uploaded_file_stays_words(hostile_client: TestClient, data: bytes) -> None:
    name = " ".join(HOSTILE).replace("\0", "").replace("\ufeff", "").replace("\u202e", "")
    answer = hostile_client.post("/", files={"image": (name, data)})
    assert answer.headers["content-type"].startswith("text/html")
    assert wrongs(answer.text) == []


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Who runs a server whose accounts and models are called what tries to be markup."""
    name = HOSTILE[0][:60]
    database = new_sqlite(tmp_path_factory.mktemp("people"))
    with people_server(database, [ModelSpec(id="<b>bold</b>")], (name,)) as (client, people, _):
        people.as_account(name, is_operator=True)
        yield client


@pytest.mark.parametrize("place", SIGNED_IN_PLACES)
def test_words_in_an_address_stay_words_to_who_is_signed_in(operator: TestClient, place: str) -> None:
    words = quote(" ".join(HOSTILE), safe="")
    answer = operator.get(place.replace("{}", words), headers={"accept": "text/html"})
    assert answer.headers["content-type"].startswith("text/html") and wrongs(answer.text) == []


def test_captions_names_and_sources_of_a_gallery_stay_words(hostile_client: TestClient) -> None:
    for colour, words in zip(("red", "green", "blue", "black"), HOSTILE, strict=False):
        page = hostile_client.get(f"/?q={colour}").text
        assert wrongs(page) == []
        assert f"{colour} {words}" in words_of(page) and "<b>bold</b>" in words_of(page)


def test_the_reader_of_pages_finds_what_it_looks_for() -> None:
    for html in (
        "<script>1</script>",
        "<p onclick=x>",
        "<a href='javascript:x'>",
        "<img src='//evil.example/x'>",
        "<p style='color:red'>",
        "<iframe>",
    ):
        assert wrongs(html), html
    assert wrongs("<a href='https://example.org/'>x</a><script src='/static/x.js'></script>") == []
