"""The table of pairs: a row for each picture of a page that has a text, and where both were found.

Several `<img>` of one page with the same address are one row with the different texts of all of them.
Rows of different pages stay apart: joining them by address is for `curate`, which sees all archives.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import md5, sha224
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipworks.collect.links import host_of
from clipworks.collect.pages import Page, Picture, read_page
from clipworks.collect.records import NO_RECORD, Record, read_records
from clipworks.collect.responses import Response, decode_body, read_response
from clipworks.collect.wat import is_wat, read_noted
from clipworks.errors import DataError
from clipworks.stage import Made, Source
from clipworks.tables import write_table

PAIRS_SUFFIX = ".pairs.parquet"

PAIRS = pa.schema(
    (
        ("uid", pa.string()),
        ("page_url", pa.string()),
        ("image_url", pa.string()),
        ("texts", pa.list_(pa.struct((("key", pa.string()), ("text", pa.string()))))),
        ("url_hash", pa.binary(12)),
        ("host", pa.string()),
        ("source", pa.string()),
        ("offset", pa.int64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("link", pa.string()),
        ("page_language", pa.string()),
        ("page_title", pa.string()),
        ("status", pa.int32()),
    )
)
"""One row: a picture of a page. `uid` is md5(first text + address), 32 hex digits, as DataComp's; `url_hash`
is the first 12 bytes of sha224(address), MetaCLIP's; `host` is the picture's; `source` and `offset` say
where the page is: the WARC file's name and the byte at which its record begins."""

Texts = Sequence[tuple[str, str]]
"""Keys and texts of a picture."""

_TEXTS = PAIRS.field("texts").type

ROWS_PER_BATCH = 2048

_HTML = ("text/html", "application/xhtml+xml")


def make_pairs(source: Source, folder: Path, *, path: Path, keep_textless: bool) -> Made:
    """The part of one archive, `NAME.pairs.parquet`.

    Args:
        path: where the archive is on this machine.
        keep_textless: whether pictures without any text get a row, too.
    """
    counts: Counter[str] = Counter()
    pairs = _Table()
    archive = _Archive(name=Path(source.path).name, keep_textless=keep_textless, counts=counts, pairs=pairs)
    try:
        for record in read_records(path, counts):
            counts["records"] += 1
            _read(record, archive)
    except DataError as error:
        return Made(rows=0, failure=error.message)
    if not counts["records"]:
        return Made(rows=0, failure=f"It {NO_RECORD}")
    name = source.name + PAIRS_SUFFIX
    write_table(folder / name, pairs.finish())
    counts["pairs"] = pairs.num_rows
    return Made(rows=pairs.num_rows, counts=counts, files=(name,))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    """Rows on their way to a table; whole batches are packed, so that memory holds few Python objects."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    batches: list[pa.RecordBatch] = field(default_factory=list)

    @property
    def num_rows(self) -> int:
        return len(self.rows) + sum(int(batch.num_rows) for batch in self.batches)

    def pack_if_many(self) -> None:
        if len(self.rows) >= ROWS_PER_BATCH:
            self._pack()

    def finish(self) -> pa.Table:
        self._pack()
        return pa.Table.from_batches(self.batches, schema=PAIRS)

    def _pack(self) -> None:
        columns = list(zip(*self.rows, strict=True)) or [()] * len(PAIRS)
        arrays = [
            _pack_texts(values) if kind == _TEXTS else pa.array(values, type=kind)
            for values, kind in zip(columns, PAIRS.types, strict=True)
        ]
        self.batches.append(pa.RecordBatch.from_arrays(arrays, schema=PAIRS))
        self.rows.clear()


def _pack_texts(rows: Sequence[Texts]) -> pa.Array:
    """Lists of keys and texts, several times as fast as through pyarrow's own conversion."""
    ends = [0, *accumulate(map(len, rows))]
    pairs = [pair for texts in rows for pair in texts]
    keys = pa.array([key for key, _ in pairs], pa.string())
    values = pa.array([text for _, text in pairs], pa.string())
    fields = list(_TEXTS.value_type)
    return pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()), pa.StructArray.from_arrays([keys, values], fields=fields), type=_TEXTS
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Archive:
    """Where rows come from and go to."""

    name: str
    keep_textless: bool
    counts: Counter[str]
    pairs: _Table


def _read(record: Record, archive: _Archive) -> None:
    counts = archive.counts
    if record.kind in (b"response", b"resource"):
        response = read_response(record)
        if response is None:
            counts["unreadable_responses"] += 1
        elif _is_html(response):
            counts["pages"] += 1
            _read_html(record, response, archive)
    elif record.kind == b"metadata":
        if b'"HTML-Metadata"' in record.block and is_wat(record):
            counts["pages"] += 1
            noted = read_noted(record, counts)
            if noted is not None:
                name, offset = noted.archive or archive.name, noted.offset if noted.archive else record.offset
                _add_rows(noted.page, noted.url, name, offset, noted.status, archive)
    elif record.kind == b"revisit":
        counts["revisits"] += 1


def _read_html(record: Record, response: Response, archive: _Archive) -> None:
    body = decode_body(response)
    if body is None:
        archive.counts["undecodable_pages"] += 1
        return
    url = _target(record)
    page = read_page(body, url=url, content_type=response.content_type, counts=archive.counts)
    if page is not None:
        _add_rows(page, url, archive.name, record.offset, response.status, archive)


def _add_rows(page: Page, url: str, name: str, offset: int, status: int, archive: _Archive) -> None:
    """One row for each address among a page's pictures, with all different texts."""
    counts, rows = archive.counts, archive.pairs.rows
    counts["pages_with_images"] += 1
    title, language = page.title, page.language
    num_texts = 0
    for image_url, texts, width, height, link in _merged(page.pictures, counts):
        if not texts and not archive.keep_textless:
            counts["images_without_text"] += 1
            continue
        num_texts += len(texts)
        raw_url = image_url.encode()
        text = texts[0][1] if texts else ""
        rows.append(
            (
                md5(text.encode() + raw_url, usedforsecurity=False).hexdigest(),
                url,
                image_url,
                texts,
                sha224(raw_url).digest()[:12],
                host_of(image_url),
                name,
                offset,
                width,
                height,
                link,
                language,
                title,
                status,
            )
        )
    counts["texts"] += num_texts
    archive.pairs.pack_if_many()


def _merged(pictures: Sequence[Picture], counts: Counter[str]) -> Iterable[Picture]:
    """One picture for each address, the first, with the different texts of all."""
    first = dict[str, Picture]()
    for picture in pictures:
        known = first.setdefault(picture.url, picture)
        if known is not picture:
            counts["repeated_images"] += 1
            if picture.texts:
                texts = tuple(dict.fromkeys((*known.texts, *picture.texts)))
                first[picture.url] = known._replace(texts=texts)
    return first.values()


def _target(record: Record) -> str:
    """The address of a record; some writers put it into angle brackets."""
    return record.field(b"warc-target-uri").strip(b"<> ").decode("utf-8", "replace")


def _is_html(response: Response) -> bool:
    if response.media_type:
        return response.media_type in _HTML
    return (
        response.body[:256].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html"))
    )
