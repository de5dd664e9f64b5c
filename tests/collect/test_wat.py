"""WAT records are read as far as they tell, whatever is missing in them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from web_archive import gzipped, record

from clipworks.collect.records import Record, read_records
from clipworks.collect.wat import Noted, is_wat, read_noted


def noted(tmp_path: Path, document: Any, counts: Counter[str] | None = None) -> Noted | None:
    one = wat(tmp_path, json.dumps(document).encode())
    return read_noted(one, Counter() if counts is None else counts)


def wat(tmp_path: Path, block: bytes) -> Record:
    data = record("metadata", "https://a.example/", block, content_type="application/json")
    (tmp_path / "a").write_bytes(gzipped([data]))
    (one,) = read_records(tmp_path / "a", Counter())
    assert is_wat(one)
    return one


def document(links: Any, **head: Any) -> dict[str, Any]:
    answer = {"Response-Message": {"Status": "200"}, "HTML-Metadata": {"Head": head, "Links": links}}
    return {
        "Container": {"Filename": "x.warc.gz", "Offset": "77"},
        "Envelope": {
            "WARC-Header-Metadata": {"WARC-Target-URI": "https://a.example/d/"},
            "Payload-Metadata": {"HTTP-Response-Metadata": answer},
        },
    }


IMAGE = {"path": "IMG@/src", "url": "a.png", "alt": "x", "title": "y"}


def test_a_record_gives_its_pictures_and_where_the_page_is(tmp_path: Path) -> None:
    links = [{"path": "A@/href", "url": "/"}, IMAGE, {"path": "IMG@/longdesc", "url": "b"}]
    metas = [{"name": "HTML@/lang", "content": "fr"}, {"http-equiv": "Content-Language", "content": "de"}]
    found = noted(tmp_path, document(links, Title=" T\n t", Base="/base/", Metas=metas))
    assert found is not None
    assert (found.url, found.status, found.archive, found.offset) == (
        "https://a.example/d/",
        200,
        "x.warc.gz",
        77,
    )
    assert (found.page.title, found.page.language) == ("T t", "fr")
    (picture,) = found.page.pictures
    assert picture.url == "https://a.example/base/a.png"
    assert picture.texts == (("alt", "x"), ("title", "y"))


_NASTY = st.text(st.sampled_from('{}[],:"\\ aIMG@/src'), max_size=12)
_LINK = st.fixed_dictionaries(
    {"path": st.sampled_from(["IMG@/src", "A@/href", "IMG@/longdesc"])},
    optional={"url": st.just("a.png"), "alt": _NASTY, "title": _NASTY, "text": _NASTY},
)


@given(st.lists(_LINK, max_size=4), st.booleans(), st.booleans(), _NASTY)
@settings(max_examples=100, deadline=None)
def test_pictures_among_many_links_are_those_of_the_whole_document(
    links: list[dict[str, str]], is_tight: bool, is_turned: bool, title: str
) -> None:
    """The long link makes the links worth being looked through."""
    links = [dict(reversed(link.items())) if is_turned else link for link in links]
    whole = document([{"path": "A@/href", "url": "x" * 2000}, *links], Title=title)
    block = json.dumps(whole, separators=(",", ":") if is_tight else None).encode()
    counts, expected = Counter[str](), Counter[str]()
    found = read_noted(Record(b"metadata", b"", b"", block, 0), counts)
    short = json.dumps(document(links, Title=title)).encode()
    assert found == read_noted(Record(b"metadata", b"", b"", short, 0), expected)
    assert counts == expected


def test_addresses_that_lead_nowhere_are_counted(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    links = [{**IMAGE, "url": "data:,"}, {**IMAGE, "url": None}, {"path": "IMG@/src"}]
    assert noted(tmp_path, document(links), counts) is None
    assert counts == Counter(images=3, data_address=1, no_address=2)


@pytest.mark.parametrize(
    "value",
    [
        [],
        "IMG@",
        {"Envelope": "IMG@"},
        {"Envelope": {"Payload-Metadata": ["IMG@"]}},
        document("IMG@"),
        document([1, "IMG@"]),
    ],
)
def test_another_form_gives_nothing(tmp_path: Path, value: Any) -> None:
    assert noted(tmp_path, value) is None


def test_what_is_no_json_is_damage(tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    assert read_noted(wat(tmp_path, b'{"IMG@/src'), counts) is None
    assert counts == Counter(damaged_records=1)


def test_what_a_record_does_not_say_is_unknown(tmp_path: Path) -> None:
    value = document([IMAGE])
    value["Container"] = None
    value["Envelope"]["WARC-Header-Metadata"] = {}
    value["Envelope"]["ARC-Header-Metadata"] = {"Target-URI": "https://b.example/"}
    value["Envelope"]["Payload-Metadata"]["HTTP-Response-Metadata"]["Response-Message"] = {}
    found = noted(tmp_path, value)
    assert found is not None
    assert (found.url, found.status, found.archive, found.offset) == ("https://b.example/", 0, "", -1)
    assert (found.page.title, found.page.language) == (None, None)


@pytest.mark.parametrize("number", ["9" * 25, "9" * 5000, "-7", 1e300, None, []])
def test_numbers_that_cannot_be_right_are_none(tmp_path: Path, number: Any) -> None:
    page = document([IMAGE])
    page["Container"]["Offset"] = number
    answer = page["Envelope"]["Payload-Metadata"]["HTTP-Response-Metadata"]
    answer["Response-Message"]["Status"] = number
    found = noted(tmp_path, page)
    assert found is not None and (found.offset, found.status) == (-1, 0)
