"""What a skimmed page shows, read without a tree: most pages need no parser at all.

One compiled pass over what `skim.py` keeps of a page finds the attributes that matter and, for each
picture, the link and the `<picture>` around it. Wherever elements could nest otherwise than their tags
suggest, nothing is read here, and `pages.py` builds the tree.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipworks.collect.candidates import LAZY_SOURCES, LAZY_SRCSETS, Attributes
from clipworks.collect.entities import Doubtful, unescape
from clipworks.compiled import compiled, keep_machine_code
from clipworks.files import cache_folder


class Shown(NamedTuple):
    """One `<img>` and what is around it."""

    attributes: Attributes
    sources: Sequence[Attributes]
    """Attributes of the `<source>` elements in the same `<picture>`."""
    caption: str
    href: str | None
    """Of the link around it, "" if that leads nowhere; None if there is no link."""


class Seen(NamedTuple):
    """What a page says of itself, and its pictures."""

    title: str | None
    root: Attributes
    base: str
    """The `href` of its `<base>`, "" if it has none."""
    pictures: Sequence[Shown]


_NAMES = (
    ("src", "alt", "title", "width", "height", "srcset", "data-image-title")
    + ("href", "lang", "xml:lang", "type")
    + LAZY_SOURCES
    + LAZY_SRCSETS
)
_TAGS = ("img", "image", "a", "source", "base", "html", "title", "picture", "figure", "svg", "math")
_IMG, _IMAGE, _A, _SOURCE, _BASE, _HTML, _TITLE, _PICTURE, _FIGURE, _SVG, _MATH = range(len(_TAGS))

_NONE = -1
_MAX_FIGURES = 4
"""Figures in figures beyond which a link around them is not followed."""

_LESS, _GREATER, _SLASH, _EQUALS, _DOUBLE, _SINGLE = (ord(c) for c in "<>/=\"'")
_SPACE, _ENDS_TAG, _ENDS_NAME, _ENDS_VALUE = 1, 2, 4, 8
_FACTOR, _MASK = 1_000_003, (1 << 40) - 1
_TAG_PLACES, _NAME_PLACES = 33, 141
"""Of tables in which no two names meet."""


def read_tags(skimmed: bytes) -> Seen | None:
    """What a page shows; None where its tags alone do not tell.

    Args:
        skimmed: what `skim` gave.
    """
    keep_machine_code(cache_folder, _read)
    page = np.frombuffer(skimmed, dtype=np.uint8)
    tags = np.empty((5, len(page) // 3 + 1), dtype=np.int32)
    attributes = np.empty((3, len(page) // 2 + 1), dtype=np.int32)
    num_tags, num_attributes = _read(page, tags, attributes)
    if num_tags < 0:
        return None
    try:
        return _assemble(skimmed, tags[:, :num_tags].tolist(), attributes[:, :num_attributes].tolist())
    except (Doubtful, UnicodeDecodeError):
        return None


def _assemble(page: bytes, tags: list[list[int]], attributes: list[list[int]]) -> Seen:
    """Texts of spans. Raises Doubtful, UnicodeDecodeError."""
    title, root, base = None, dict[str, str | None](), None
    pictures = list[Shown]()
    sources: dict[int, list[Attributes]] = {}
    hrefs: dict[int, str | None] = {_NONE: None}
    names = [_NAMES[name] for name in attributes[0]]
    values = _texts(page, attributes[1], attributes[2], is_attribute=True)
    for number, (kind, first, last, link, choice) in enumerate(zip(*tags, strict=True)):
        if kind == _TITLE:
            title = _texts(page, [first], [last], is_attribute=False)[0] if title is None else title
            continue
        found: Attributes = dict(zip(names[first:last], values[first:last], strict=True))
        if kind == _IMG:
            offered = () if choice == _NONE else sources.setdefault(choice, [])
            pictures.append(Shown(found, offered, "", hrefs[link]))
        elif kind == _A:
            hrefs[number] = found.get("href") or ""
        elif kind == _SOURCE and choice != _NONE:
            sources.setdefault(choice, []).append(found)
        elif kind == _HTML:
            root = {**found, **root}
        elif kind == _BASE and base is None:
            base = found.get("href")
    return Seen(title, root, base or "", pictures)


def _texts(page: bytes, starts: list[int], ends: list[int], *, is_attribute: bool) -> list[str]:
    """What stands at spans of a page. Raises Doubtful, UnicodeDecodeError."""
    if page.isascii():
        text = page.decode()
        texts = [text[start:end] for start, end in zip(starts, ends, strict=True)]
    else:
        texts = [page[start:end].decode() for start, end in zip(starts, ends, strict=True)]
    if (b"\r" in page or b"\0" in page) and any("\r" in text or "\0" in text for text in texts):
        raise Doubtful
    return [unescape(text, is_attribute=is_attribute) for text in texts] if b"&" in page else texts


def _hash_of(name: str) -> int:
    """A hash of a name in lower case, as `_hash` computes it."""
    hashed = 0
    for letter in name.encode():
        hashed = (hashed * _FACTOR + letter) & _MASK
    return hashed


def _table(names: Sequence[str], places: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hashes of names and their numbers, each at its place."""
    hashes, numbers = np.zeros(places, dtype=np.int64), np.zeros(places, dtype=np.int64)
    for number, hashed in enumerate(map(_hash_of, names)):
        assert not hashes[hashed % places], "two names share a place"
        hashes[hashed % places], numbers[hashed % places] = hashed, number
    return hashes, numbers


def _classes() -> NDArray[np.uint8]:
    """What each byte is and ends."""
    classes = np.zeros(256, dtype=np.uint8)
    classes[[0x20, 0x09, 0x0A, 0x0C, 0x0D]] = _SPACE | _ENDS_TAG | _ENDS_NAME | _ENDS_VALUE
    classes[_GREATER] = _ENDS_TAG | _ENDS_NAME | _ENDS_VALUE
    classes[_SLASH] = _ENDS_TAG | _ENDS_NAME
    classes[_EQUALS] = _ENDS_NAME
    return classes


_CLASSES = _classes()
_TAG_HASHES, _TAG_KINDS = _table(_TAGS, _TAG_PLACES)
_NAME_HASHES, _NAME_NUMBERS = _table(_NAMES, _NAME_PLACES)
_TITLE_PLACE = _hash_of("title") % _TAG_PLACES


@compiled
def _read(page: NDArray[np.uint8], tags: NDArray[np.int32], attributes: NDArray[np.int32]) -> tuple[int, int]:
    """How many tags and attributes there are, or _NONE tags.

    A tag is its kind, its attributes (from, up to), the number of the tag of the link around it and the
    number of the `<picture>`; of a title its text (from, up to) instead of attributes. An attribute is its
    name and its value (from, up to); of several with one name in a tag only the first is kept.
    """
    num, at = len(page), 0
    num_tags = num_attributes = num_choices = depth = 0
    link = choice = foreign = _NONE
    while at < num:
        if page[at] != _LESS or at + 2 >= num:
            return _NONE, 0  # a caption
        is_end = page[at + 1] == _SLASH
        hashed, at = _hash(page, at + 2 if is_end else at + 1, _ENDS_TAG)
        kind = _TAG_KINDS[hashed % _TAG_PLACES] if _TAG_HASHES[hashed % _TAG_PLACES] == hashed else _NONE
        first = num_attributes
        at, num_attributes, is_closed = _attributes(page, at, attributes, num_attributes)
        if at < 0 or depth > _MAX_FIGURES or _is_unclear(kind, is_end, foreign, choice):
            return _NONE, 0
        if kind == _SVG or kind == _MATH:
            foreign = _NONE if is_end or is_closed else kind
        elif kind == _PICTURE:
            num_choices += not is_end
            choice = _NONE if is_end else num_choices
        elif kind == _FIGURE:
            depth = max(0, depth - 1) if is_end else depth + 1
        elif kind == _TITLE:
            start = at
            last, at = _title_end(page, at, foreign == _SVG)
            if last < 0 or is_end:
                return _NONE, 0
            _add(tags, num_tags, kind, start, last)
            num_tags += 1
        elif is_end:
            link = _NONE if kind == _A else link
        else:
            link = num_tags if kind == _A else link
            _add(tags, num_tags, _IMG if kind == _IMAGE else kind, first, num_attributes)
            tags[3, num_tags], tags[4, num_tags] = link, choice
            num_tags += 1
    return num_tags, num_attributes


@compiled
def _is_unclear(kind: int, is_end: bool, foreign: int, choice: int) -> bool:
    """Whether a tag is unknown, or stands in an `<svg>`, a `<math>` or a `<picture>` where it may end it."""
    if foreign != _NONE and not (is_end and kind == foreign) and not (kind == _TITLE and foreign == _SVG):
        return True
    return kind == _NONE or (choice != _NONE and kind >= _TITLE and not (is_end and kind == _PICTURE))


@compiled
def _add(tags: NDArray[np.int32], number: int, kind: int, first: int, last: int) -> None:
    tags[0, number], tags[1, number], tags[2, number] = kind, first, last
    tags[3, number] = tags[4, number] = _NONE


@compiled
def _hash(page: NDArray[np.uint8], at: int, ends: int) -> tuple[int, int]:
    """The hash of a name in lower case, and where the name ends; its first byte may be anything."""
    hashed, start = 0, at
    while at < len(page) and (at == start or not _CLASSES[page[at]] & ends):
        byte = page[at]
        hashed = (hashed * _FACTOR + (byte + 32 if 65 <= byte <= 90 else byte)) & _MASK
        at += 1
    return hashed, at


@compiled
def _past_spaces(page: NDArray[np.uint8], at: int) -> int:
    while at < len(page) and _CLASSES[page[at]] & _SPACE:
        at += 1
    return at


@compiled
def _attributes(
    page: NDArray[np.uint8], at: int, attributes: NDArray[np.int32], count: int
) -> tuple[int, int, bool]:
    """Behind the `>` of a tag whose name ends at `at`, or _NONE; attributes so far; whether it is `/>`."""
    num, seen, slash = len(page), 0, _NONE
    while at < num:
        byte = page[at]
        if byte == _GREATER:
            return at + 1, count, slash == at - 1
        if byte == _SLASH:
            slash = at
        if byte == _SLASH or _CLASSES[byte] & _SPACE:
            at += 1
            continue
        hashed, at = _hash(page, at, _ENDS_NAME)
        start = end = at
        at = _past_spaces(page, at)
        if at < num and page[at] == _EQUALS:
            start, end, at = _value(page, _past_spaces(page, at + 1))
        place = hashed % _NAME_PLACES
        if _NAME_HASHES[place] == hashed and not seen >> _NAME_NUMBERS[place] & 1:
            seen |= 1 << _NAME_NUMBERS[place]
            attributes[0, count] = _NAME_NUMBERS[place]
            attributes[1, count], attributes[2, count] = start, end
            count += 1
    return _NONE, count, False


@compiled
def _value(page: NDArray[np.uint8], start: int) -> tuple[int, int, int]:
    """Where a value that is written from `start` on begins and ends, and what is behind it."""
    num, at = len(page), start
    if at < num and (page[at] == _DOUBLE or page[at] == _SINGLE):
        at += 1
        while at < num and page[at] != page[start]:
            at += 1
        return start + 1, at, at + 1
    while at < num and not _CLASSES[page[at]] & _ENDS_VALUE:
        at += 1
    return start, at, at


@compiled
def _title_end(page: NDArray[np.uint8], at: int, is_foreign: bool) -> tuple[int, int]:
    """Where the text of a title ends, and behind its end tag; _NONE where that is not clear."""
    while at + 2 < len(page):
        if page[at] == _LESS:
            if page[at + 1] == _SLASH:
                hashed, end = _hash(page, at + 2, _ENDS_TAG)
                if hashed == _TAG_HASHES[_TITLE_PLACE] and end < len(page):
                    while end < len(page) and _CLASSES[page[end]] & _SPACE:
                        end += 1
                    return (at, end + 1) if end < len(page) and page[end] == _GREATER else (_NONE, at)
            if is_foreign:
                break
        at += 1
    return _NONE, at
