"""Lists of addresses and texts as people have them: the tables of `collect pairs`, parquet, csv, json, text.

All become one stream of batches: `url`, `caption`, `uid`, and whatever other columns there are.
"""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json

from clipworks.errors import ConfigError, DataError, reason_of
from clipworks.files import MANIFEST, STAGE, sha256_file
from clipworks.stage import part_files
from clipworks.tables import num_rows, read_batches

Retry = Literal["temporary", "all"]
"""Failures that may pass, or all that are nobody's will."""

TEMPORARY = (
    "timeout",
    "dns",
    "unreachable",
    "tls",
    "damaged",
    "busy",
    "host_busy",
    "robots_unavailable",
    "deadline",
)
TEMPORARY_STATUSES = (408, 425, 429, 500, 502, 503, 504)
WILLED = ("opt_out", "blocklist", "robots", "tdm", "x_robots_tag")

URL_COLUMNS = ("image_url", "url", "URL")
CAPTION_COLUMNS = ("texts", "caption", "text", "alt", "TEXT")
"""Where addresses and captions are looked for, in this order, if nobody says."""

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".json", ".txt")
RESERVED = ("key", "status", "error_message", "reason", "http_status", "final_url", "bytes")
SIZES = ("width", "height", "original_width", "original_height", "exif")
HASHES = ("md5", "sha256")
_ROWS = 8192
_BLOCK_BYTES = 1 << 19
"""Longest row of csv and json; Arrow reads some 36 such blocks ahead, which is memory."""
_BYTES_PER_ROW = 24

_DAMAGE = (OSError, EOFError, ValueError, zlib.error, pa.ArrowException)


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkList:
    """Files with rows, and which of their columns are which."""

    files: tuple[Path, ...]
    url_column: str
    caption_column: str
    """Empty where there are no captions."""
    digest: str
    """Of the files and the columns, 32 hex characters."""
    retry: Retry | None = None
    """Which failed rows of a folder that `collect fetch` made are read; None reads any table whole."""


def find_list(
    source: Path, *, url_column: str = "", caption_column: str = "", retry: Retry | None = None
) -> LinkList:
    """The files behind a name, and their columns.

    Args:
        source: a finished folder of `collect pairs`, a folder of files of one kind, or one file:
            parquet, csv, tsv, jsonl (json), txt with an address a line; all but parquet also as .gz.
        url_column: found by its name if empty.
        caption_column: the same; a column of texts or of lists of `{key, text}`.
        retry: `source` is a finished folder of `collect fetch`, and only rows that failed are read.

    Raises:
        DataError: nothing is there, or it cannot be read.
        ConfigError: no such column.
    """
    files = _files(source)
    if not files:
        raise DataError(f"{source} holds no list of addresses ({', '.join(SUFFIXES)}).")
    names = _names(files[0])
    if retry is not None:
        if not {"reason", "http_status", "url", "caption", "uid"} <= set(names):
            raise DataError(f"{source} is no folder that `collect fetch` made.")
        url_column, caption_column = "url", "caption"
    url = _column(names, url_column, URL_COLUMNS, files[0])
    if not url:
        raise ConfigError(
            f"{files[0]} has no column {' or '.join(URL_COLUMNS[:2])}; it has {', '.join(names)}.",
            "Name it with --url-column.",
        )
    caption = _column(names, caption_column, CAPTION_COLUMNS, files[0])
    digest = md5(usedforsecurity=False)
    for word in (url, caption, retry or "", *(f"{file.name} {sha256_file(file)}" for file in files)):
        digest.update(f"{word}\n".encode(errors="surrogateescape"))
    return LinkList(
        files=tuple(files), url_column=url, caption_column=caption, digest=digest.hexdigest(), retry=retry
    )


def read_list(links: LinkList) -> Iterator[pa.RecordBatch]:
    """All rows in batches: url, caption and uid first, then the other columns as they are.

    A row without a usable address keeps its place. `uid` is that of the table, or DataComp's: the md5 of
    caption and address, 32 hex digits. `width` and `height` of the tag become `tag_width`, `tag_height`;
    the columns that fetching makes itself are left out.

    Raises:
        DataError: a file is damaged, or its columns are not those of the first.
    """
    schema: pa.Schema | None = None
    for file in links.files:
        for batch in _read(file):
            ours = _batch(batch, links) if links.retry is None else _failed(batch, links.retry)
            schema = schema or ours.schema
            if ours.schema != schema:
                try:
                    ours = ours.select(schema.names).cast(schema)
                except (KeyError, pa.ArrowException) as error:
                    raise DataError(f"The columns of {file} are not those of {links.files[0]}.") from error
            yield ours


def guess_rows(links: LinkList) -> int:
    """How many rows there are: exactly for parquet, else by the size of the files, rather too many.

    Raises:
        DataError: a parquet file is damaged.
    """
    return sum(
        num_rows(file) if _kind(file) == ".parquet" else file.stat().st_size // _BYTES_PER_ROW
        for file in links.files
    )


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        if (source / STAGE).exists() or (source / MANIFEST).exists():
            return list(part_files(source, ".parquet"))
        found = [path for path in sorted(source.iterdir()) if _kind(path) and path.is_file()]
        kinds = sorted({_kind(path) for path in found})
        if len(kinds) > 1:
            raise DataError(
                f"{source} holds files of several kinds: {', '.join(kinds)}.", "Name one of them."
            )
        return found
    if not source.is_file():
        raise DataError(f"{source} does not exist.")
    return [source] if _kind(source) else []


def _kind(path: Path) -> str:
    name = path.name.lower().removesuffix(".gz")
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def _names(file: Path) -> list[str]:
    for batch in _read(file):
        return list(batch.schema.names)
    raise DataError(f"{file} has no rows.")


def _column(names: Sequence[str], wanted: str, usual: Sequence[str], file: Path) -> str:
    if wanted and wanted not in names:
        raise ConfigError(f"{file} has no column {wanted!r}; it has {', '.join(names)}.")
    return wanted or next((name for name in usual if name in names), "")


def _read(file: Path) -> Iterator[pa.RecordBatch]:
    kind = _kind(file)
    if kind == ".parquet":
        yield from read_batches(file, rows=_ROWS)
        return
    try:
        if kind == ".txt":
            yield from _read_lines(file)
            return
        with pa.input_stream(str(file), compression="detect") as stream:
            if kind in (".csv", ".tsv"):
                # One thread: with more, blocks are read ahead and wait in memory.
                batches: Iterator[pa.RecordBatch] = pa_csv.open_csv(
                    stream,
                    read_options=pa_csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
                    parse_options=pa_csv.ParseOptions(
                        delimiter="\t" if kind == ".tsv" else ",", newlines_in_values=True
                    ),
                )
            else:
                options = pa_json.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False)
                batches = pa_json.open_json(stream, options)
            for batch in batches:
                yield from (batch.slice(start, _ROWS) for start in range(0, max(1, batch.num_rows), _ROWS))
    except _DAMAGE as error:
        raise DataError(f"{file} cannot be read: {reason_of(error)}.") from error


def _read_lines(file: Path) -> Iterator[pa.RecordBatch]:
    lines = list[str]()
    with gzip.open(file) if file.name.lower().endswith(".gz") else file.open("rb") as stream:
        for line in stream:
            if line.strip():
                lines.append(line.decode().strip())
            if len(lines) == _ROWS:
                yield pa.record_batch({"url": pa.array(lines, pa.string())})
                lines = []
    yield pa.record_batch({"url": pa.array(lines, pa.string())})


def _batch(batch: pa.RecordBatch, links: LinkList) -> pa.RecordBatch:
    urls = [_text(value) for value in batch.column(links.url_column).to_pylist()]
    captions: list[str | None] = [None] * len(urls)
    if links.caption_column:
        captions = [_caption(value) for value in batch.column(links.caption_column).to_pylist()]
    if "uid" in batch.schema.names:
        uids = [_text(value) for value in batch.column("uid").to_pylist()]
    else:
        uids = [_uid(caption or "", url) for caption, url in zip(captions, urls, strict=True)]
    columns = {"url": pa.array(urls, pa.string()), "caption": pa.array(captions, pa.string())}
    columns["uid"] = pa.array(uids, pa.string())
    dropped = {*columns, *RESERVED, *SIZES[2:], "key", links.url_column}
    if links.caption_column != "texts":
        dropped.add(links.caption_column)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if name not in dropped:
            columns[f"tag_{name}" if name in SIZES else f"input_{name}" if name in HASHES else name] = column
    return pa.record_batch(columns)


def _failed(batch: pa.RecordBatch, retry: Retry) -> pa.RecordBatch:
    """The rows that shall be asked for once more, as they were before."""
    is_failed = pc.equal(batch.column("status"), "failed_to_download")
    if retry == "all":
        is_wanted = pc.invert(pc.is_in(batch.column("reason"), pa.array(WILLED)))
    else:
        is_wanted = pc.is_in(batch.column("reason"), pa.array(TEMPORARY))
        statuses = pa.array(TEMPORARY_STATUSES, pa.int32())
        is_wanted = pc.or_(is_wanted, pc.is_in(batch.column("http_status"), statuses))
    names = [name for name in batch.schema.names if name not in (*RESERVED, *SIZES, *HASHES)]
    return batch.filter(pc.and_(is_failed, is_wanted)).select(names)


def _caption(value: object) -> str | None:
    """A text, or the first of a list of `{key, text}`."""
    if isinstance(value, list):
        first = value[0] if value else None
        value = first.get("text") if isinstance(first, dict) else first
    return None if value is None else _text(value)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _uid(caption: str, url: str) -> str:
    data = (caption + url).encode(errors="surrogatepass")
    return md5(data, usedforsecurity=False).hexdigest()
