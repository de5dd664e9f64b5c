"""The largest picture is chosen, and the one that a script would load."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipworks.collect.candidates import MAX_SRCSET_CHARACTERS, choose_address, parse_srcset


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.png", [("a.png", 0, 1.0)]),
        ("a.png 1x, b.png 2x", [("a.png", 0, 1.0), ("b.png", 0, 2.0)]),
        ("a.png 320w,\n b.png 640w 480h", [("a.png", 320, 1.0), ("b.png", 640, 1.0)]),
        ("a,b.png 1.5x, , c.png,", [("a,b.png", 0, 1.5), ("c.png", 0, 1.0)]),
        ("data:image/png;base64,AA== 1x", [("data:image/png;base64,AA==", 0, 1.0)]),
        ("a.png 0w, b.png -1x, c.png 1x 2x, d.png 3w 2x, e.png wide, f.png 5h", []),
        ("a.png calc(1, 2) 3w, b.png 4w", [("b.png", 4, 1.0)]),
        (", ,", []),
        ("", []),
    ],
)
def test_a_srcset_is_read_as_the_standard_says(text: str, found: list[tuple[str, int, float]]) -> None:
    assert list(parse_srcset(text)) == found


@pytest.mark.parametrize(
    ("image", "sources", "chosen"),
    [
        ({"src": "a.png"}, [], "a.png"),
        ({}, [], ""),
        ({"src": "a.png", "srcset": "b.png 300w, c.png 900w"}, [], "c.png"),
        ({"src": "a.png", "srcset": "b.png 1x"}, [], "a.png"),
        ({"src": "a.png", "srcset": "b.png 2x"}, [], "b.png"),
        ({"srcset": "b.png"}, [], "b.png"),
        ({"src": "data:image/gif,x", "srcset": "b.png 1x"}, [], "b.png"),
        ({"src": "blank.gif", "data-src": "img/cat.jpg"}, [], "img/cat.jpg"),
        ({"src": "a.png", "data-src": "7"}, [], "a.png"),
        ({"src": "a.png", "data-src": "data:image/gif,x"}, [], "a.png"),
        ({"src": "a.png", "data-src": "{{ url }}/x.png"}, [], "a.png"),
        ({"src": "blank.gif", "data-srcset": "b.png 300w, c.png 900w", "srcset": "d.png 9w"}, [], "c.png"),
        ({"src": "a.png"}, [{"srcset": "b.webp 100w, c.webp 200w", "type": "image/webp"}], "c.webp"),
        ({"src": "a.png"}, [{"srcset": "b.jxl 900w", "type": "image/jxl"}], "a.png"),
        ({"src": "a.png", "srcset": "x.png 200w"}, [{"srcset": "c.webp 200w"}], "x.png"),
        ({"src": None, "alt": None}, [{}], ""),
    ],
)
def test_one_address_is_chosen(
    image: dict[str, str | None], sources: list[dict[str, str | None]], chosen: str
) -> None:
    assert choose_address(image, sources) == chosen


_URLS = st.from_regex(r"[a-z/]{1,8}\.png", fullmatch=True)


@given(st.lists(st.tuples(_URLS, st.integers(1, 9999)), min_size=1))
@pytest.mark.slow
def test_what_is_written_is_read_back(offers: list[tuple[str, int]]) -> None:
    text = ", ".join(f"{url} {width}w" for url, width in offers)
    assert [(url, width) for url, width, _ in parse_srcset(text)] == offers
    assert dict.fromkeys(offers).keys() >= {(choose_address({"srcset": text}), max(w for _, w in offers))}


@given(st.text(max_size=60))
def test_no_text_stops_the_reading(text: str) -> None:
    list(parse_srcset(text))


def test_an_endless_srcset_is_cut() -> None:
    assert len(list(parse_srcset("a.png 1w," * MAX_SRCSET_CHARACTERS))) < MAX_SRCSET_CHARACTERS / 8
