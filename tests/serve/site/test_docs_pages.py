"""The pages below /docs: all of `docs/` is there and leads on, the reference is complete, words are found."""

import asyncio
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.testclient import TestClient

from clipworks.serve.settings import ServeSettings
from clipworks.serve.site.docs_pages import DocsPages
from clipworks.serve.site.layout import Layout, Viewer
from clipworks.serve.site.lookup import Lookup, Passage
from clipworks.serve.site.manual import Manual, folder_of_docs
from clipworks.serve.site.prose import highlighted, read_article
from clipworks.serve.site.reference import anchor_of, kind_of
from tests.serve.colours import scope_of
from tests.serve.site.hostile import HOSTILE, words_of, wrongs

ROOT = Path(__file__).parents[3]


def ids_of(html: str) -> set[str]:
    return set(re.findall(r'\bid="([^"]+)"', html))


def text_of(html: str) -> str:
    """The words of a page or of a part of one, spaces and lines as one space."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def test_every_file_of_the_folder_is_a_page() -> None:
    manual = Manual()
    assert {entry.file for entry in manual.entries} == {path.name for path in (ROOT / "docs").glob("*.md")}
    assert len({entry.address for entry in manual.entries}) == len(manual.entries)
    assert all(entry.label and (entry.part or not entry.name) for entry in manual.entries)


@pytest.mark.slow
def test_every_link_on_a_page_leads_to_a_page_and_a_place_on_it(shared_client: TestClient) -> None:
    pages = {entry.address: shared_client.get(entry.address).text for entry in Manual().entries}
    pages["/docs/api"] = shared_client.get("/docs/api").text
    places = {address: ids_of(html) for address, html in pages.items()}
    dead = []
    for address, html in pages.items():
        assert "<!--" not in html and "&lt;!--" not in html and html.count("<h1") == 1, address
        for link in map(unescape, re.findall(r'(?:href|src)="(/docs[^"?]*|#[^"]*)"', html)):
            page, _, anchor = link.partition("#")
            page = page or address
            if page.endswith(".svg"):
                assert shared_client.get(page).headers["content-type"] == "image/svg+xml"
            elif anchor != "content" and (page not in places or (anchor and anchor not in places[page])):
                dead.append(f"{address}: {link}")
    assert dead == []


def test_a_page_shows_its_file_and_leads_before_and_after(shared_client: TestClient) -> None:
    page = shared_client.get("/docs/finetune").text
    assert "<title>finetune · docs · clipworks</title>" in page and 'aria-current="page">finetune' in page
    assert re.search(r'href="/docs/train" rel="prev"', page) and re.search(
        r'href="/docs/probe" rel="next"', page
    )
    assert "the class names reach 44.8%, LoRA in four epochs" in text_of(page)
    assert 'href="/docs/probe">probe</a>' in page and wrongs(page) == []


def test_a_page_is_compressed_for_who_takes_that_and_is_not_signed_in(shared_client: TestClient) -> None:
    packed = shared_client.get("/docs/api", headers={"accept-encoding": "gzip"})
    plain_page = shared_client.get("/docs/api", headers={"accept-encoding": "identity"})
    assert packed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain_page.headers
    assert (
        packed.text == plain_page.text and int(packed.headers["content-length"]) < len(plain_page.content) / 4
    )
    viewer = Viewer(account="a", form_token="secret")
    scope = {
        **scope_of("GET", "/docs/api"),
        "headers": [(b"accept-encoding", b"gzip")],
        "state": {"viewer": viewer},
    }
    pages = DocsPages(Layout(ServeSettings()), shared_client.get("/openapi.json").json())
    assert "content-encoding" not in asyncio.run(pages.api(Request(scope))).headers


def test_code_keeps_every_character() -> None:
    manual = Manual()
    (entry,) = (entry for entry in manual.entries if entry.name == "quickstart")
    source = (ROOT / "docs" / entry.file).read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", source, re.DOTALL | re.MULTILINE)
    shown = unescape(re.sub(r"<[^>]+>", "", manual.article(entry).html))
    assert len(blocks) > 4 and all(block.rstrip("\n") in shown for block in blocks)


def test_a_page_that_is_not_there_is_said_to_be_not_there(shared_client: TestClient) -> None:
    answer = shared_client.get("/docs/sreve")
    assert answer.status_code == 404 and "Nearest: serve" in answer.text
    for address in ("/docs/index.md", "/docs/serve.md", "/docs/..%2fREADME.md", "/docs/log.svg"):
        assert shared_client.get(address).status_code == 404, address


def test_words_are_found_with_the_place_that_has_them_first(shared_client: TestClient) -> None:
    for question, wanted in {
        "sending a request again": "/docs/keys#sending-a-request-twice",
        "systemd": "/docs/serve#systemd",
        "prometheus metrics": "/docs/api#get-metrics",
        "how do I limit the rate of a key?": "/docs/keys#errors",
        "docker container": "/docs/serve#container",
    }.items():
        page = shared_client.get("/docs", params={"q": question}).text
        assert re.findall(r'<li>\s*<a href="([^"]+)"', page.partition('class="found"')[2])[0] == wanted
        assert "<mark>" in page
    nothing = shared_client.get("/docs?q=xyzzy").text
    assert "0 places for “xyzzy”" in nothing and "No page has one of these words" in nothing


def test_the_reference_shows_everything_that_the_document_says(shared_client: TestClient) -> None:
    described: dict[str, Any] = shared_client.get("/openapi.json").json()
    html = shared_client.get("/docs/api").text
    words, anchors = text_of(html), ids_of(html)
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert anchor_of(method, path) in anchors
            section = html.partition(f'id="{anchor_of(method, path)}"')[2].partition("</section>")[0]
            assert plain(operation["summary"]) in text_of(section)
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            schema = content.get("schema", {})
            names = [*schema.get("properties", {}), *(one["name"] for one in operation.get("parameters", ()))]
            for name in names:
                assert f"<code>{name}</code>" in section, f"{method} {path}: {name}"
            assert section.count("required</span>") == len(schema.get("required", ())) + sum(
                one.get("required", False) for one in operation.get("parameters", ())
            )
            shared = html.partition(section)[0].rpartition('class="shared"')[2].partition("</details>")[0]
            for status, answer in operation["responses"].items():
                assert status == "default" or status in text_of(section.partition('class="statuses"')[2])
                for code in answer.get("x-codes", ()):
                    assert f'href="#error-{code}"' in section or f'href="#error-{code}"' in shared, code
            assert ("Answer, its" in section) == any(
                "example" in kind
                for one in operation["responses"].values()
                for kind in one.get("content", {}).values()
            )
    assert {f"error-{code}" for code in described["x-errors"]} <= anchors
    assert {f"schema-{name}" for name in described["components"]["schemas"]} <= anchors
    assert all(plain(error["cause"]) in words for error in described["x-errors"].values())
    assert wrongs(html) == []


def plain(words: str) -> str:
    """Words with code in them as `text_of` has them."""
    return " ".join(re.sub(r" ?`([^`]*)` ?", r" \1 ", words).split())


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"$ref": "#/components/schemas/Image"}, "Image"),
        ({"enum": ["float", None]}, '"float" or null'),
        (
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 8},
            "list of text (1 to 8)",
        ),
        ({"type": "integer", "minimum": 1, "maximum": 1000}, "whole number (1 to 1,000)"),
        ({"type": "string", "minLength": 2}, "text (from 2 characters)"),
        ({"type": ["boolean", "null"]}, "true or false or null"),
        ({"type": "object", "properties": {"a": {}, "b": {}}}, "object with a, b"),
        ({"anyOf": [{"type": "string"}, {"type": "array"}]}, "text or list of anything"),
        ({}, "anything"),
    ],
)
def test_a_schema_is_put_into_words(schema: dict[str, Any], words: str) -> None:
    assert kind_of(schema) == words


def test_markup_in_markdown_is_shown_and_does_nothing() -> None:
    text = "\n\n".join(["# " + HOSTILE[1], *HOSTILE, f"```\n{HOSTILE[0]}\n```", "[x](javascript:hacked())"])
    text += "\n\n[a](b.md) ![c](d.svg) [e](https://example.org) <b onclick=hacked()>f</b>"
    text += "\n\n| g |\n|---|\n| <i>h</i> |\n"
    article = read_article(text, lambda target: None)
    assert wrongs(article.html) == []
    assert (
        "<b" not in article.html
        and "<i>" not in article.html
        and 'href="https://example.org"' in article.html
    )
    assert article.links == ["https://example.org"] and ">a<" not in article.html
    assert "<script>hacked()</script>" in words_of(article.html)


def test_headings_of_one_name_have_different_anchors_and_comments_in_code_stay() -> None:
    text = "# A\n\n## Limits\n\nfirst <!-- gone -->words\n\n## Limits\n\n```\n<!-- stays -->\n```\n"
    article = read_article(text, lambda target: None)
    assert [section.anchor for section in article.sections] == ["a", "limits", "limits-1"]
    assert article.sections[1].words == "first words" and "<!-- stays -->" in article.sections[2].words
    assert "&lt;!-- stays --&gt;" in article.html and "gone" not in article.html


def test_code_of_an_unknown_language_is_plain() -> None:
    assert highlighted("a < b", "no-such-language") == "a &lt; b"
    assert "t-k" in highlighted("import os", "python")


def test_a_search_puts_rare_words_before_frequent_ones_and_finds_longer_words() -> None:
    passages = [
        Passage(address=str(i), page="p", title=f"t{i}", words=words)
        for i, words in enumerate(
            ["the key key key", "the bucket of a key", "buckets", "max_images is a limit"]
        )
    ]
    lookup = Lookup(passages)
    assert [one.passage.address for one in lookup.find("bucket key")] == ["1", "0", "2"]
    assert [one.passage.address for one in lookup.find("bucke")] == ["2", "1"]
    assert [one.passage.address for one in lookup.find("images")] == ["3"]
    assert lookup.find("limit")[0].snippet == [("max_images is a ", False), ("limit", True)]
    assert lookup.find("") == [] and lookup.find("?!") == [] and lookup.find("xyzzy") == []


def test_the_files_stand_beside_the_package_in_a_clone() -> None:
    assert folder_of_docs() == ROOT / "docs"
