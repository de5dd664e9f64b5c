"""Skimming a page changes nothing of what is found on it."""

from collections import Counter
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipworks.collect import pages
from clipworks.collect.records import read_records
from clipworks.collect.responses import decode_body, read_response
from clipworks.collect.skim import skim

ARCHIVE = Path(__file__).parents[2] / "examples" / "crawl" / "scikit.warc.gz"


def both(body: bytes, *, with_links: bool = True) -> tuple[object, object]:
    """What is found with skimming and on the whole page."""
    found = []
    for function in (skim, lambda html: None):
        with patch.object(pages, "skim", function):
            one = pages.read_page(body, url="https://a.example/", content_type=b"", counts=Counter())
        if one is not None and not with_links:
            found.append([picture._replace(link=None) for picture in one.pictures])
        else:
            found.append(one if one is not None and one.pictures else None)
    return found[0] or None, found[1] or None


def test_real_pages_give_the_same_skimmed_and_whole() -> None:
    num_skimmed = num_pages = 0
    for record in read_records(ARCHIVE, Counter()):
        response = read_response(record) if record.kind == b"response" else None
        if response is not None and response.media_type == "text/html":
            body = decode_body(response)
            assert body is not None
            one, other = both(body)
            assert one == other
            skimmed = skim(body)
            num_pages += 1
            num_skimmed += skimmed is not None and len(skimmed) < len(body) / 4
    assert num_pages == 83 and num_skimmed > 75


_IMAGES = st.sampled_from(
    [
        "<img src=a.png alt=x>",
        '<IMG SRC="b.png" ALT="a > b">',
        "<img src='c.png' title='<p>'/>",
        '<img alt=5" src=d.png>',
    ]
    + ["<image src=e.png>", "<img\nsrc=f.png\t/alt=y>", "<img/src=g.png/>", "<img =x src=h.png>"]
)
_FLAT = st.sampled_from(
    [
        "text",
        " < b",
        "<!-- <img src=x.png> -->",
        "<!--><br>",
        "<!---->",
        "<!doctype html>",
        "<?php <img ?>",
        "</ x>",
    ]
    + ["<script>if (a<b) '<img src=x.png>'</script>", "<style>a>b{}</style>", "<textarea><img></textarea>"]
    + [
        "<title>a <b> c</title>",
        "<iframe><img src=x.png></iframe>",
        "<br/>",
        "<input value='>'>",
        "&lt;img&gt;",
    ]
    + ["<select><option>a</select>", "<svg><path d='M0'/></svg>", "<base href=/q/>", "<SCRIPT\n>x</script >"]
)


def _around(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    frames = st.sampled_from(
        [
            "<div>{}</div>",
            "<a href=l.html>{}</a>",
            "<figure>{}<figcaption>c <b>d</b>e<p>f</figcaption></figure>",
        ]
        + ["<p>{}</p>", "<picture><source srcset='s.png 9w'>{}</picture>", "<noscript>{}</noscript>"]
        + [
            "<template>{}</template>",
            "<ul><li>{}</ul>",
            "<span a='{{'>{}</span>",
            "<table><tr><td>{}</table>",
        ]
    )
    return st.tuples(frames, st.lists(inner, max_size=3)).map(lambda pair: pair[0].format("".join(pair[1])))


_BODIES = st.lists(st.recursive(st.one_of(_IMAGES, _FLAT), _around, max_leaves=8), max_size=8).map("".join)


@given(_BODIES)
@settings(max_examples=300, deadline=None)
@pytest.mark.slow
def test_made_pages_give_the_same_skimmed_and_whole(body: str) -> None:
    one, other = both(body.encode(), with_links=False)
    assert one == other


@given(st.binary(max_size=200), st.text(alphabet="<>!-/=\"' aimgscrptle[?", max_size=200))
@settings(max_examples=300, deadline=None)
def test_no_bytes_stop_the_skimming(noise: bytes, markup: str) -> None:
    skim(noise)
    skim(markup.encode())


@pytest.mark.parametrize(
    "body",
    [
        "<script>unended <img src=a.png>",
        "<!-- unended <img src=a.png>",
        "<plaintext><img src=a.png>",
        "<frameset><img src=a.png>",
        "<select><img src=a.png></select>",
        "<svg><![CDATA[<img src=a.png>]]></svg>",
        "<svg><script href=x /><img src=a.png></svg>",
        "<script><!-- <script> </script> <img src=a.png> --></script>",
        "<title>unended",
        "<? <img src=a.png",
    ],
)
def test_a_page_that_could_be_misread_is_parsed_whole(body: str) -> None:
    assert skim(body.encode()) is None


def test_many_links_around_pictures_fit() -> None:
    body = b"<a><img>" * 5000
    skimmed = skim(body)
    assert skimmed is not None and skimmed.count(b"<img>") == 5000
