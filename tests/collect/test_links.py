"""Addresses become what a browser would ask for."""

import ada_url
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipworks.collect.links import Base, host_of

PAGE = "https://a.example/docs/page.html?q=/x/#part"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("cat.png", "https://a.example/docs/cat.png"),
        ("../cat.png", "https://a.example/cat.png"),
        ("./img/../cat.png", "https://a.example/docs/cat.png"),
        ("/img/cat.png", "https://a.example/img/cat.png"),
        ("//b.example/cat.png", "https://b.example/cat.png"),
        ("?v=1", "https://a.example/docs/page.html?v=1"),
        ("HTTP://B.example:80/Cat.png", "http://b.example/Cat.png"),
        ("  \n cat\n\t.png ", "https://a.example/docs/cat.png"),
        ("cat and dog.png", "https://a.example/docs/cat%20and%20dog.png"),
        ("kätzchen.png?ä=ö", "https://a.example/docs/k%C3%A4tzchen.png?%C3%A4=%C3%B6"),
        ("https://bücher.example/cat.png", "https://xn--bcher-kva.example/cat.png"),
        ("img\\cat.png", "https://a.example/docs/img/cat.png"),
        ("cat.svg#icon", "https://a.example/docs/cat.svg"),
        ("images//cat.png", "https://a.example/docs/images/cat.png"),
        ("../..//img//cat.png", "https://a.example/img/cat.png"),
        ("/fit/https://b.example/cat.png", "https://a.example/fit/https://b.example/cat.png"),
        ("https://b.example/x//cat.png", "https://b.example/x//cat.png"),
        ("cat.png?next=//b", "https://a.example/docs/cat.png?next=//b"),
    ],
)
def test_an_address_is_resolved_as_browsers_do_it(text: str, url: str) -> None:
    assert Base(PAGE).resolve(text) == (url, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no_address"),
        (" \n", "no_address"),
        ("#top", "no_address"),
        ("data:image/png;base64,AAAA", "data_address"),
        (" DATA:image/png,x", "data_address"),
        ("java\nscript:alert(1)", "other_scheme"),
        ("blob:https://a.example/1", "other_scheme"),
        ("https://", "malformed_address"),
        ("https://b c/cat.png", "malformed_address"),
    ],
)
def test_what_leads_nowhere_has_a_reason(text: str, reason: str) -> None:
    assert Base(PAGE).resolve(text) == ("", reason)


@pytest.mark.parametrize(
    ("href", "url"),
    [
        ("/other/", "https://a.example/other/cat.png"),
        ("other/x.html", "https://a.example/docs/other/cat.png"),
        ("https://b.example", "https://b.example/cat.png"),
        ("javascript:x", "https://a.example/docs/cat.png"),
        ("https://", "https://a.example/docs/cat.png"),
        ("  ", "https://a.example/docs/cat.png"),
    ],
)
def test_a_base_moves_what_is_relative(href: str, url: str) -> None:
    assert Base(PAGE, href).resolve("cat.png") == (url, None)


def test_a_page_without_a_usable_address_still_has_absolute_ones() -> None:
    base = Base("not an address")
    assert base.resolve("https://b.example/a%20b.png") == ("https://b.example/a%20b.png", None)
    assert base.resolve("cat.png") == ("", "malformed_address")
    assert Base("about:blank").resolve("cat.png")[0] == ""


_PIECES = st.sampled_from(
    [
        "a",
        "B-2",
        "x_y.png",
        "..",
        ".",
        "~",
        "%41",
        "1",
        "",
        "ä",
        " ",
        "//",
        "/",
        "?q=1",
        ":",
        "http://h.example",
    ]
)


@given(st.lists(_PIECES, max_size=6).map("".join))
def test_shortcuts_give_what_the_parser_gives(text: str) -> None:
    url, reason = Base(PAGE).resolve(text)
    if reason is None and "//" not in text:
        assert url == ada_url.join_url(PAGE, text).partition("#")[0]


@given(
    st.sampled_from(["https://a.example/x/y/z.html", "http://a.example/", "https://a.example/x//y/?q=/"]),
    st.lists(st.sampled_from(["../", "./", "a/", "b.png", "..", "?q=../"]), max_size=7).map("".join),
)
def test_shortcuts_upwards_give_what_the_parser_gives(page: str, text: str) -> None:
    if text:
        assert Base(page).resolve(text) == (ada_url.join_url(page, text), None)


@given(st.from_regex(r"https?://[a-z0-9.-]{1,12}\.[a-z]{2,3}/[a-zA-Z0-9/._~-]{1,12}", fullmatch=True))
def test_shortcuts_for_absolute_addresses_give_what_the_parser_gives(text: str) -> None:
    url, reason = Base(PAGE).resolve(text)
    assert url == (ada_url.normalize_url(text) if reason is None else "")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://a.example/x@y:z", "a.example"),
        ("https://u:p@a.example:8080?x", "a.example"),
        ("https://[::1]:80/", "[::1]"),
        ("https://a.example", "a.example"),
    ],
)
def test_the_host_stands_alone(url: str, host: str) -> None:
    assert host_of(url) == host
