"""Pictures out of WAT records: what Common Crawl's own parser noted of a page. The owner of orjson.

A WAT file has of an `<img>` its `src`, `alt` and `title`, with entities decoded, and of the page its
`<base>`, its title and its language: no srcset, lazy attribute, caption, size or link.
"""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from clipworks.collect.links import Base
from clipworks.collect.pages import Page, Picture, clean_text, read_texts
from clipworks.collect.records import Record

_PATH = "IMG@/src"
_MARK = b"IMG@"
_LINKS, _IS_PICTURE = b'"Links":', b'"IMG@/src"'
_LEAST_BYTES = 1 << 10
"""Of links that are worth being looked through."""
_LANGUAGES = ("HTML@/lang", "HTML@/xml:lang", "content-language")
"""What the elements that tell the language are called, the best first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Noted:
    """A page as a WAT record describes it, and where the page itself is."""

    url: str
    status: int
    page: Page
    archive: str
    """Name of the WARC file that holds the page, "" if the record does not say."""
    offset: int
    """Where the page begins in that file, bytes; -1 if the record does not say."""


def is_wat(record: Record) -> bool:
    """Whether a record is one of a WAT file."""
    return record.kind == b"metadata" and b"json" in record.field(b"content-type").lower()


def read_noted(record: Record, counts: Counter[str]) -> Noted | None:
    """The pictures that a WAT record notes; None where it notes none.

    Args:
        counts: `images`, the reasons why some have no address, and `damaged_records` for what is no JSON.
    """
    if _MARK not in record.block:
        return None
    document = _read_with_pictures(record.block)
    if document is None:
        counts["damaged_records"] += 1
        return None
    envelope = _map(_map(document).get("Envelope"))
    answer = _map(_map(envelope.get("Payload-Metadata")).get("HTTP-Response-Metadata"))
    html = _map(answer.get("HTML-Metadata"))
    head = _map(html.get("Head"))
    url = _text(_map(envelope.get("WARC-Header-Metadata")).get("WARC-Target-URI")).strip("<> ")
    url = url or _text(_map(envelope.get("ARC-Header-Metadata")).get("Target-URI"))
    pictures = _pictures(html.get("Links"), Base(url, _text(head.get("Base"))), counts)
    if not pictures:
        return None
    container = _map(_map(document).get("Container"))
    return Noted(
        url=url,
        status=_number(_map(answer.get("Response-Message")).get("Status"), 0, most=999),
        page=Page(
            title=" ".join(_text(head.get("Title")).split()) or None,
            language=_language(head),
            pictures=pictures,
        ),
        archive=_text(container.get("Filename")),
        offset=_number(container.get("Offset"), -1, most=2**63 - 1),
    )


def _read_with_pictures(block: bytes) -> Any:
    """The document without the links that are no pictures, which are most of it; None for what is no JSON.

    Braces are looked for as bytes. Where one that stands in a text was taken for an end, the text runs into
    the empty string behind it, of which no JSON becomes; then all of it is read.
    """
    begin = block.find(_LINKS)
    end = block.find(b"}]", begin)
    if begin >= 0 and end - begin >= _LEAST_BYTES:
        pieces, at = [block[:begin] + _LINKS + b'[""'], block.find(_IS_PICTURE, begin, end)
        while at >= 0:
            last = block.find(b"}", at)
            pieces.append(block[block.rfind(b"{", begin, at) : last + 1])
            at = block.find(_IS_PICTURE, last, end)
        pieces.append(b'""' + block[end + 1 :])
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(b',"",'.join(pieces))
    try:
        return orjson.loads(block)
    except orjson.JSONDecodeError:
        return None


def _pictures(links: Any, base: Base, counts: Counter[str]) -> tuple[Picture, ...]:
    if not isinstance(links, list):
        return ()
    images = [link for link in links if isinstance(link, dict) and link.get("path") == _PATH]
    counts["images"] += len(images)
    found = []
    for image in images:
        url, reason = base.resolve(_text(image.get("url")))
        if reason is not None:
            counts[reason] += 1
        else:
            found.append(Picture(url, read_texts(image), None, None, None))
    return tuple(found)


def _language(head: Mapping[str, Any]) -> str | None:
    """The root element's `lang`, which newer files note as a `<meta>`; else what such an element says."""
    found = dict[str, str]()
    for meta in head.get("Metas") or ():
        if isinstance(meta, dict):
            name = meta.get("name")
            if not name or not isinstance(name, str):
                name = _text(meta.get("http-equiv")).lower()
            if name in _LANGUAGES and name not in found:
                found[name] = clean_text(_text(meta.get("content")))
    return next((found[name] for name in _LANGUAGES if found.get(name)), None)


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any, default: int, *, most: int) -> int:
    """Numbers in WAT files are texts; one that cannot be right is none."""
    try:
        number = int(value)
    except (TypeError, ValueError):
        return default
    return number if 0 <= number <= most else default
