"""WARC to pairs: our reader beside warcio and lxml, and beside fastwarc and Lexbor by hand.

Measured are the pages of the archive in records of their own, as Common Crawl's files hold them, since its
pictures take no parsing, and the archive as it is. `bytes_per_core_second` and its neighbours are of the
pages' archive, gzipped, and are what a plan is made with. The peers make the same pairs as we do, page,
picture and texts, and nothing else: ours adds identifiers, links and sizes and writes its table.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import fastwarc.warc as fastwarc
import warcio.archiveiterator as warcio
from fastwarc.warc import WarcRecordType
from lxml import etree
from selectolax.lexbor import LexborHTMLParser

from benchmarks.turns import rates, rows, take_turns
from clipworks.collect.charsets import to_utf8
from clipworks.collect.pairs import PAIRS_SUFFIX, make_pairs
from clipworks.collect.records import read_records
from clipworks.collect.responses import Response, decode_body, read_response
from clipworks.stage import Source
from clipworks.tables import read_table

OURS = "clipworks"
PEER = "warcio + lxml"
BY_HAND = "fastwarc + Lexbor by hand"

Pairs = dict[tuple[str, str], list[tuple[str, str]]]
"""Page and picture -> keys and texts."""

_EMPTY_SEGMENTS = re.compile(r"(?<=[^:/])//+")


def measure(archive: Path, rounds: int) -> dict[str, Any]:
    """Both archives, all ways."""
    with tempfile.TemporaryDirectory(prefix="clipworks-warc-") as temporary:
        folder = Path(temporary)
        pages = folder / "pages.warc.gz"
        write_pages(archive, pages)
        found = _measure(pages, folder, rounds)
        return {
            **found.pop("rates"),
            "pages": found,
            "whole_archive": _measure(archive, folder, min(rounds, 5)),
        }


def write_pages(archive: Path, out: Path) -> None:
    """The archive without the responses that are no pages; records as they stand there."""
    data = archive.read_bytes()
    records = list(read_records(archive, Counter()))
    ends = [record.offset for record in records[1:]] + [len(data)]
    with out.open("wb") as file:
        for record, end in zip(records, ends, strict=True):
            response = read_response(record) if record.kind == b"response" else None
            if response is None or response.media_type == "text/html":
                file.write(data[record.offset : end])


def _measure(archive: Path, folder: Path, rounds: int) -> dict[str, Any]:
    calls: dict[str, Callable[[], Any]] = {
        OURS: partial(run_ours, archive, folder),
        PEER: partial(with_lxml, archive),
        BY_HAND: partial(with_lexbor, archive),
        "reading records alone": partial(iterate, archive),
    }
    times = take_turns(calls, rounds)
    responses = filter(None, map(read_response, read_records(archive, Counter())))
    sizes = [len(decode_body(one) or b"") for one in responses if one.media_type == "text/html"]
    size = sum(sizes) / 1e6
    pairs = read_ours(folder)
    return {
        "rates": rates(times[OURS], archive.stat().st_size, len(pairs), len(sizes)),
        "html_mb": round(size, 1),
        "archive_mb": round(archive.stat().st_size / 1e6, 1),
        "pairs": len(pairs),
        "pairs_that_differ": {
            PEER: num_differing(pairs, with_lxml(archive)),
            BY_HAND: num_differing(pairs, with_lexbor(archive)),
        },
        "ways": rows(times, PEER, size),
    }


def run_ours(archive: Path, folder: Path) -> None:
    """The part of an archive as `collect pairs` makes it, table and all."""
    source = Source(name="measured", path=str(archive), digest="")
    make_pairs(source, folder, path=archive, keep_textless=False)


def read_ours(folder: Path) -> Pairs:
    """What `run_ours` wrote."""
    found: Pairs = {}
    for row in read_table(folder / f"measured{PAIRS_SUFFIX}", ("page_url", "image_url", "texts")).to_pylist():
        texts = found.setdefault((row["page_url"], row["image_url"]), [])
        texts += [(text["key"], text["text"]) for text in row["texts"]]
    return found


def with_lxml(archive: Path) -> Pairs:
    """warcio's records, lxml's tree, the addresses by urljoin."""
    found: Pairs = {}
    with archive.open("rb") as file:
        for record in warcio.ArchiveIterator(file):
            if record.rec_type != "response" or record.http_headers is None:
                continue
            if "html" not in (record.http_headers.get_header("Content-Type") or ""):
                continue
            body = record.content_stream().read()
            if not body.strip():
                continue
            url = record.rec_headers.get_header("WARC-Target-URI")
            tree = etree.HTML(body)
            base = tree.find(".//base[@href]")
            root = url if base is None else urljoin(url, base.get("href"))
            for image in tree.iter("img"):
                figure = next(image.iterancestors("figure"), None)
                caption = None if figure is None else figure.find(".//figcaption")
                words = () if caption is None else caption.itertext()
                add(found, url, root, image.get, " ".join(" ".join(words).split()))
    return drop_textless(found)


def with_lexbor(archive: Path) -> Pairs:
    """fastwarc's records and Lexbor's whole tree, as one would write it down in ten lines."""
    found: Pairs = {}
    with archive.open("rb") as file:
        for record in fastwarc.ArchiveIterator(file, record_types=WarcRecordType.response, parse_http=True):
            if "html" not in (record.http_content_type or ""):
                continue
            url = record.headers["WARC-Target-URI"]
            body = decode_body(_response(record)) or b""
            tree = LexborHTMLParser(to_utf8(body, record.http_headers.get("Content-Type", "").encode()))
            base = tree.css_first("base[href]")
            root = url if base is None else urljoin(url, base.attributes.get("href") or "")
            for image in tree.css("img"):
                figure = image.parent
                while figure is not None and figure.tag != "figure":
                    figure = figure.parent
                caption = None if figure is None else figure.css_first("figcaption")
                words = "" if caption is None else caption.text(separator=" ")
                add(found, url, root, image.attributes.get, " ".join(words.split()))
    return drop_textless(found)


def add(found: Pairs, url: str, root: str, get: Callable[[str], str | None], caption: str) -> None:
    """A picture's texts to those of its page and address, by our rules for both."""
    source = (get("src") or "").strip()
    if not source or source.startswith(("data:", "javascript:")):
        return
    if "//" in source and "://" not in source:
        source = _EMPTY_SEGMENTS.sub("/", source)
    texts = found.setdefault((url, urljoin(root, source).partition("#")[0]), [])
    values = (get("alt"), get("title"), caption, get("data-image-title"))
    for key, value in zip(("alt", "title", "figcaption", "data-image-title"), values, strict=True):
        text = (value or "").replace("\r\n", " ").replace("\n", " ").strip(" \t\n\f\r")
        if text and (key, text) not in texts:
            texts.append((key, text))


def drop_textless(found: Pairs) -> Pairs:
    return {place: texts for place, texts in found.items() if texts}


def num_differing(one: Pairs, other: Pairs) -> int:
    """Pictures of pages that only one of the two has, or with other texts."""
    return sum(one.get(place) != other.get(place) for place in {*one, *other})


def iterate(archive: Path) -> int:
    return sum(len(record.block) for record in read_records(archive, Counter()))


def _response(record: Any) -> Response:
    """A record of fastwarc for `decode_body`."""
    names = [record.http_headers.get(name, "").lower() for name in ("Content-Encoding", "Transfer-Encoding")]
    encodings = tuple(name.encode() for name in names if name)
    body = record.reader.read()
    return Response(status=200, media_type="text/html", content_type=b"", encodings=encodings, body=body)
