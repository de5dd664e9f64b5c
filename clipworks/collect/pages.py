"""The pictures of a web page with the texts beside them. The owner of selectolax, that is Lexbor."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

from clipworks.collect.candidates import Attributes, choose_address
from clipworks.collect.charsets import to_utf8
from clipworks.collect.links import Base
from clipworks.collect.skim import skim
from clipworks.collect.tags import Seen, Shown, read_tags

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


class Picture(NamedTuple):
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


def read_page(body: bytes, *, url: str, content_type: bytes, counts: Counter[str]) -> Page | None:
    """The pictures of a page; None where it has none.

    Args:
        body: HTML, its transfer and content encodings undone.
        url: the page's address.
        content_type: the header's value, for its charset.
        counts: `images` (pictures found in pages) and, for each that has no address, the reason.
    """
    html = to_utf8(body, content_type)
    skimmed = skim(html)
    if skimmed == b"":
        return None
    seen = None if skimmed is None else read_tags(skimmed)
    if seen is None:
        seen = _read_tree(html if skimmed is None else skimmed)
    if not seen.pictures:
        return None
    counts["images"] += len(seen.pictures)
    base = Base(url, seen.base)
    found = [_read_picture(shown, base, counts) for shown in seen.pictures]
    pictures = tuple([picture for picture in found if picture is not None])
    title = None if seen.title is None else _RUN.sub(" ", seen.title).strip(_SPACES) or None
    language = seen.root.get("lang") or seen.root.get("xml:lang") or None
    return Page(title=title, language=language, pictures=pictures)


def clean_text(text: object) -> str:
    """A text on one line: line breaks become spaces, spaces at its ends go; nothing else changes."""
    if not text or not isinstance(text, str):
        return ""
    if "\n" in text or "\r" in text:
        text = _LINE_BREAKS.sub(" ", text)
    return text.strip(_SPACES)


def read_length(text: str | None) -> int | None:
    """Pixels of a `width` or `height`; None for a share of the page, for 0 and for what is no number."""
    if not text:
        return None
    if text.isdigit() and text.isascii() and len(text) < 10:
        return int(text) or None
    match = _NUMBER.match(text)
    if match is None or text[match.end() :].lstrip(".0123456789").startswith("%"):
        return None
    return min(int(match[1]), 2**31 - 1) or None


def _read_picture(shown: Shown, base: Base, counts: Counter[str]) -> Picture | None:
    attributes = shown.attributes
    url, reason = base.resolve(choose_address(attributes, shown.sources))
    if reason is not None:
        counts[reason] += 1
        return None
    return Picture(
        url,
        read_texts(attributes, shown.caption),
        read_length(attributes.get("width")),
        read_length(attributes.get("height")),
        base.resolve(shown.href)[0] or None if shown.href else None,
    )


def read_texts(attributes: Attributes, caption: str = "") -> tuple[tuple[str, str], ...]:
    """The texts of a picture with their keys; empty ones are left out."""
    alt = clean_text(attributes.get("alt"))
    if not caption and "title" not in attributes and "data-image-title" not in attributes:
        return (("alt", alt),) if alt else ()
    found = [("alt", alt)]
    if "title" in attributes:
        found.append(("title", clean_text(attributes["title"])))
    if caption:
        found.append(("figcaption", caption))
    if "data-image-title" in attributes:
        found.append(("data-image-title", clean_text(attributes["data-image-title"])))
    return tuple([pair for pair in found if pair[1]])


def _read_tree(page: bytes) -> Seen:
    """What a page shows, by its tree."""
    tree = LexborHTMLParser(page)
    shown = []
    for node in tree.css("img"):
        anchor, figure, picture = _around(node)
        sources = [source.attributes for source in picture.css("source")] if picture is not None else ()
        caption = _caption(figure) if figure is not None else ""
        href = None if anchor is None else anchor.attributes.get("href") or ""
        shown.append(Shown(node.attributes, sources, caption, href))
    root = tree.root.attributes if tree.root is not None else {}
    return Seen(_title(tree), root, _base_href(tree), shown)


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
    node = tree.head.child if tree.head is not None else None
    while node is not None and node.tag != "title":
        node = node.next
    if node is None:
        node = tree.css_first("title")
    return None if node is None else node.text(deep=True)
