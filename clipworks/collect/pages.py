"""The pictures of a web page with the texts beside them. The owner of selectolax (Lexbor, a browser's parser)."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser, LexborNode

from clipworks.collect.candidates import Attributes, choose_address
from clipworks.collect.charsets import to_utf8
from clipworks.collect.links import Base

TEXT_ATTRIBUTES = ("alt", "title", "data-image-title")
"""Attributes of an `<img>` that may describe it; `figcaption` comes after the second."""

_MARKS = (b"<img", b"<IMG")
_MARK = re.compile(rb"<(?:img|image)[\s/>]", re.IGNORECASE)
_LINE_BREAKS = re.compile(r"\r\n?|\n")
_SPACES = " \t\n\f\r"
_RUN = re.compile(r"[ \t\n\f\r]+")
_NUMBER = re.compile(r"[ \t\n\f\r]*\+?([0-9]{1,9})", re.ASCII)
_INLINE = frozenset(
    ("abbr", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "ins", "kbd")
    + ("mark", "nobr", "q", "rb", "rp", "rt", "ruby", "s", "samp", "small", "span", "strike", "strong", "sub")
    + ("sup", "time", "tt", "u", "var", "wbr", "#text", "-text", "_comment", "-comment")
)
"""Elements at whose edges a word goes on; others, and links, separate words."""

_UNSEEN = frozenset(("script", "style", "noscript", "template"))
MAX_DEPTH = 512
"""Elements around a picture that are looked at; browsers nest no deeper either."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One `<img>` of a page."""

    url: str
    """Absolute, http or https, without fragment."""
    texts: tuple[tuple[str, str], ...]
    """Key and text, in the order alt, title, figcaption, data-image-title; no empty texts."""
    width: int | None
    """Pixels, as the tag says; as `height`."""
    height: int | None
    link: str | None
    """Where a click on the picture leads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """What a page says of itself, and its pictures."""

    title: str | None
    language: str | None
    """The `lang` of its root element as it stands there."""
    pictures: tuple[Picture, ...]


def has_pictures(body: bytes) -> bool:
    """Whether the bytes of a page can hold an `<img>` at all; those of UTF-16 always can."""
    if any(mark in body for mark in _MARKS):
        return True
    return b"\0" in body[:64] or _MARK.search(body) is not None


def read_page(body: bytes, *, url: str, content_type: bytes, counts: Counter[str]) -> Page | None:
    """The pictures of a page; None where it has none.

    Args:
        body: HTML, its transfer and content encodings undone.
        url: the page's address.
        content_type: the header's value, for its charset.
        counts: `images` (pictures found in pages) and, for each that has no address, the reason.
    """
    if not has_pictures(body):
        return None
    html = to_utf8(body, content_type)
    tree = LexborHTMLParser(html)
    nodes = tree.css("img")
    if not nodes:
        return None
    attributes = tree.root.attributes if tree.root is not None else {}
    base = Base(url, _base_href(tree) if _holds(html, b"<base") else "")
    has_figures, has_sources = _holds(html, b"<figcaption"), _holds(html, b"<source")
    counts["images"] += len(nodes)
    pictures = []
    for node in nodes:
        picture = _read_picture(node, base, counts, has_figures=has_figures, has_sources=has_sources)
        if picture is not None:
            pictures.append(picture)
    language = attributes.get("lang") or attributes.get("xml:lang")
    return Page(title=_title(tree), language=language or None, pictures=tuple(pictures))


def clean_text(text: str | None) -> str:
    """A text on one line: line breaks become spaces, spaces at its ends go; nothing else changes."""
    if not text:
        return ""
    if "\n" in text or "\r" in text:
        text = _LINE_BREAKS.sub(" ", text)
    return text.strip(_SPACES)


def read_length(text: str | None) -> int | None:
    """Pixels of a `width` or `height`; None for a share of the page, for 0 and for what is no number."""
    match = _NUMBER.match(text or "")
    if match is None or (text or "")[match.end() :].lstrip(".0123456789").startswith("%"):
        return None
    return min(int(match[1]), 2**31 - 1) or None


def _read_picture(
    node: LexborNode, base: Base, counts: Counter[str], *, has_figures: bool, has_sources: bool
) -> Picture | None:
    attributes = node.attributes
    anchor, figure, picture = _around(node)
    sources = _sources(node, picture) if has_sources and picture is not None else []
    url, reason = base.resolve(choose_address(attributes, sources))
    if reason is not None:
        counts[reason] += 1
        return None
    caption = _caption(figure) if has_figures and figure is not None else ""
    link = None
    if anchor is not None:
        link = base.resolve(anchor.attributes.get("href") or "")[0] or None
    return Picture(
        url=url,
        texts=read_texts(attributes, caption),
        width=read_length(attributes.get("width")),
        height=read_length(attributes.get("height")),
        link=link,
    )


def read_texts(attributes: Attributes, caption: str = "") -> tuple[tuple[str, str], ...]:
    """The texts of a picture with their keys; empty ones are left out."""
    alt, title, image_title = (clean_text(attributes.get(name)) for name in TEXT_ATTRIBUTES)
    found = (("alt", alt), ("title", title), ("figcaption", caption), ("data-image-title", image_title))
    return tuple((key, text) for key, text in found if text)


def _around(node: LexborNode) -> tuple[LexborNode | None, LexborNode | None, LexborNode | None]:
    """The link, the figure and the `<picture>` around a node, each the nearest."""
    anchor = figure = picture = None
    above, depth = node.parent, 0
    while above is not None and depth < MAX_DEPTH:
        tag = above.tag
        if tag == "a" and anchor is None:
            anchor = above
        elif tag == "figure" and figure is None:
            figure = above
        elif tag == "picture" and picture is None:
            picture = above
        above, depth = above.parent, depth + 1
    return anchor, figure, picture


def _sources(node: LexborNode, picture: LexborNode) -> list[Attributes]:
    """The `<source>` elements of a `<picture>`."""
    return [source.attributes for source in picture.css("source")]


def _caption(figure: LexborNode) -> str:
    caption = figure.css_first("figcaption")
    if caption is None:
        return ""
    return _RUN.sub(" ", "".join(_words(caption))).strip(_SPACES)


def _words(node: LexborNode, depth: int = 0) -> Iterator[str]:
    """The text below a node, with a space wherever words cannot go on."""
    child = node.child
    while child is not None:
        if child.is_text_node:
            yield child.text_content or ""
        elif child.is_element_node and child.tag not in _UNSEEN and depth < MAX_DEPTH:
            space = "" if child.tag in _INLINE else " "
            yield space
            yield from _words(child, depth + 1)
            yield space
        child = child.next


def _base_href(tree: LexborHTMLParser) -> str:
    node = tree.css_first("base[href]")
    return (node.attributes.get("href") or "") if node is not None else ""


def _title(tree: LexborHTMLParser) -> str | None:
    node = tree.css_first("head > title") or tree.css_first("title")
    if node is None:
        return None
    return _RUN.sub(" ", node.text(deep=True)).strip(_SPACES) or None


def _holds(body: bytes, word: bytes) -> bool:
    """Whether a lower-case word stands in a page, in whatever case."""
    return word in body or word in body.lower()
