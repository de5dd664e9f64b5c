"""What is read of a page's tags, beside the tree that html5lib, the standard's other parser, makes of it."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipworks.collect import pages
from clipworks.collect.charsets import to_utf8
from clipworks.collect.entities import Doubtful, unescape
from clipworks.collect.links import Base
from clipworks.collect.pages import Picture, clean_text, read_page
from clipworks.collect.records import read_records
from clipworks.collect.responses import decode_body, read_response
from clipworks.collect.skim import skim
from clipworks.collect.tags import Shown, read_tags

html5lib = pytest.importorskip("html5lib", reason="html5lib, a test extra, is not installed")

ARCHIVE = Path(__file__).parents[2] / "examples" / "crawl" / "scikit.warc.gz"
URL = "https://a.example/d/"

NASTY = [
    "<img src=a.png alt=x>",
    "<img src=a.png alt=a&amp;b title='c &lt; d'>",
    "<img src=a.png alt=x alt=y SRC=b.png>",
    "<IMG ALT='a > b' SRC=\"a.png\"/>",
    "<img src=a.png/ alt=5\" title=don't>",
    "<img src = a.png alt= x title\n=\n'y' >",
    "<img/src=a.png/alt=x>",
    "<img =x src=a.png alt=x>",
    '<img src=a.png alt="x"title="y"width="7"height=\'8\'>',
    "<img alt src=a.png title='' width=50% height=7px>",
    "<img src=a.png?a=1&b=2&copy=3&amp=4 alt='&copy;&eacute;&#233;&#xe9;&nbsp;x'>",
    "<img src=a.png alt='&copy &copyx &notit; &notin; &#65 &#0; &#128; &bogus; & &; &#x;'>",
    "<img src=a.png alt='\"' title=\"'\">",
    "<img src=a.png alt='<img src=b.png alt=y>'>",
    "<!-- <img src=a.png alt=x> --><img src=b.png alt=y>",
    "<!--><img src=a.png alt=x>-->",
    "<!----!><img src=a.png alt=x>",
    "<![CDATA[<img src=a.png alt=x>]]><img src=b.png alt=y>",
    "<?php echo '<img src=a.png>' ?><img src=b.png alt=y>",
    "<script>'<img src=a.png alt=x>'</script><img src=b.png alt=y>",
    "<script><!-- <script> </script> <img src=a.png alt=x> --></script><img src=b.png alt=y>",
    "<style><img src=a.png alt=x></style><textarea><img src=b.png></textarea>",
    "<title><img src=a.png alt=x></title><img src=b.png alt=y>",
    "<xmp><img src=a.png></xmp><iframe><img src=a.png></iframe><img src=b.png alt=y>",
    "<svg><image src=a.png alt=x /></svg><image src=b.png alt=y>",
    "<svg><title>s</title></svg><img src=a.png alt=x>",
    "<svg><img src=a.png alt=x></svg>",
    "<math><mi><img src=a.png alt=x></mi></math>",
    "<base href=/q/><base href=/r/><img src=a.png alt=x>",
    "<base target=x><base href='https://b.example/e/'><img src=a.png alt=x>",
    "<picture><source srcset='b.png 9w' type=image/webp><img src=a.png alt=x></picture>",
    "<picture><img src=a.png alt=x><source srcset='b.png 9w'></picture><img src=c.png alt=y>",
    "<img srcset='a.png 1x, b.png 2x' src=a.png alt=x>",
    "<img src=data:, data-src=a.png alt=x>",
    "<a href=l.html><img src=a.png alt=x></a><img src=b.png alt=y>",
    "<a href=1><img src=a.png alt=x><a href=2><img src=b.png alt=y></a>",
    "<a><img src=a.png alt=x></a>",
    "<figure><img src=a.png><figcaption>c <b>d</b><br>e</figcaption></figure>",
    "<table><img src=a.png alt=x><tr><td><img src=b.png alt=y></table>",
    "<noscript><img src=a.png alt=x></noscript><img src=b.png alt='a\0b'>",
    "<p><b><img src=a.png alt=x></p><img src=b.png alt=y>",
    "<img src=a.png alt='x\ny' title='\tz\r\n'>",
    "<img src=a.png alt=\xe4\u4e2d\U0001f600>",
    "<img src=a.png alt=x",
    "<img src=a.png alt='x",
    "<html lang=en><body><html lang=de xml:lang=fr><img src=a.png alt=x>",
]

DIFFERENT = {
    "<template><img src=a.png alt=x></template><img src=b.png alt=y>": "html5lib knows no <template>",
    "<select><img src=a.png alt=x></select>": "html5lib drops what a <select> may hold since 2025",
}
"""Where the two may differ, and why; docs/collect.md says the same."""

Key = tuple[str, tuple[tuple[str, str], ...], int | None, int | None]


def ours(body: str) -> list[Key]:
    page = read_page(body.encode(), url=URL, content_type=b"text/html; charset=utf-8", counts=Counter())
    return [] if page is None else [_key(picture) for picture in page.pictures]


@pytest.mark.slow
def test_real_pages_are_read_as_html5lib_reads_them() -> None:
    num_pages = num_pictures = 0
    for record in read_records(ARCHIVE, Counter()):
        response = read_response(record) if record.kind == b"response" else None
        if response is not None and response.media_type == "text/html":
            body = to_utf8(decode_body(response) or b"", response.content_type).decode(errors="replace")
            wanted = theirs(body)
            assert ours(body) == wanted
            num_pages, num_pictures = num_pages + 1, num_pictures + len(wanted)
    assert (num_pages, num_pictures) == (83, 286)


def theirs(body: str) -> list[Key]:
    """The same rules for addresses and texts on html5lib's tree."""
    tree = html5lib.parse(body, namespaceHTMLElements=False)
    parents = {child: parent for parent in tree.iter() for child in parent}
    base = next((node.get("href") for node in tree.iter("base") if "href" in node.attrib), "")
    found = []
    for node in tree.iter("img"):
        above = parents.get(node)
        picture = figure = None
        while above is not None:
            picture = above if above.tag == "picture" and picture is None else picture
            figure = above if above.tag == "figure" and figure is None else figure
            above = parents.get(above)
        sources = [dict(one.attrib) for one in picture.iter("source")] if picture is not None else []
        caption = figure.find(".//figcaption") if figure is not None else None
        words = "" if caption is None else " ".join("".join(_words(caption)).split())
        shown = Shown(dict(node.attrib), sources, words, None)
        one = pages._read_picture(shown, Base(URL, base), Counter())
        found += [] if one is None else [_key(one)]
    return found


def _words(node: Any) -> Iterator[str]:
    yield node.text or ""
    for child in node:
        if isinstance(child.tag, str) and child.tag not in pages._UNSEEN:
            space = "" if child.tag in pages._INLINE else " "
            yield from (space, *_words(child), space)
        yield child.tail or ""


def _key(picture: Picture) -> Key:
    return picture.url, picture.texts, picture.width, picture.height


@pytest.mark.parametrize("body", NASTY)
def test_nasty_pages_are_read_as_html5lib_reads_them(body: str) -> None:
    assert ours(body) == theirs(body)


@given(st.lists(st.sampled_from(NASTY[:36]), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_nasty_pages_one_after_another_are_read_as_html5lib_reads_them(bodies: list[str]) -> None:
    assert ours("".join(bodies)) == theirs("".join(bodies))


_WORDS = (
    ("<img", "<a", "</a>", "<base", " src=", " alt=", " href=", " title", "=", '"', "'", ">", "/", " ", "\n")
    + ("a.png", "x", "&amp;", "&lt", "&copy", "&#65;", "&#x41;", "é", "<", "-", "<html lang=en>")
    + ("<picture>", "</picture>", "<source srcset=s.png>", "<svg>", "</svg>", "<title>t</title>")
)
_MARKUP = st.lists(st.sampled_from(_WORDS), max_size=40).map("".join)


@given(_MARKUP)
@settings(max_examples=80, deadline=None)
def test_random_markup_is_read_as_html5lib_reads_it(body: str) -> None:
    assert ours(body) == theirs(body)


@given(st.one_of(_MARKUP, st.lists(st.sampled_from(NASTY), max_size=4).map("".join)))
@settings(max_examples=120, deadline=None)
def test_tags_alone_tell_what_the_tree_tells(body: str) -> None:
    skimmed = skim(body.encode())
    seen = read_tags(skimmed) if skimmed else None
    if skimmed and seen is not None:
        tree = pages._read_tree(skimmed)
        assert (seen.title or "", seen.base) == (tree.title or "", tree.base)
        assert [_values(one) for one in seen.pictures] == [_values(one) for one in tree.pictures]
        language = [one.root.get("lang") or one.root.get("xml:lang") or "" for one in (seen, tree)]
        assert language[0] == language[1]


def _values(shown: Shown) -> object:
    """What matters of a picture: attributes that hold something, with line breaks made one."""
    attributes = {name: clean_text(shown.attributes.get(name)) for name in ("src", "alt", "title", "srcset")}
    return attributes, [dict(one).get("srcset") for one in shown.sources], shown.href


@pytest.mark.parametrize(
    ("text", "attribute", "plain"),
    [
        ("a &amp; b", "a & b", "a & b"),
        ("?a=1&b=2&copy=3", "?a=1&b=2&copy=3", None),
        ("&copy;&#169;&#xA9;", "©©©", "©©©"),
        ("&copyx", "&copyx", None),
        ("&copy x", None, None),
        ("& &; &bogus; &bogus", "& &; &bogus; &bogus", "& &; &bogus; &bogus"),
        ("&notit;", "&notit;", None),
        ("&#0;", None, None),
        ("&#65", None, None),
        ("&#x1F600;", "😀", "😀"),
    ],
)
def test_references_are_replaced_or_left_to_the_parser(
    text: str, attribute: str | None, plain: str | None
) -> None:
    for is_attribute, wanted in ((True, attribute), (False, plain)):
        if wanted is None:
            with pytest.raises(Doubtful):
                unescape(text, is_attribute=is_attribute)
        else:
            assert unescape(text, is_attribute=is_attribute) == wanted


@pytest.mark.parametrize("body", DIFFERENT)
def test_the_known_differences_are_still_there(body: str) -> None:
    assert ours(body) != theirs(body)
