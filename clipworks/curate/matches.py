"""Two stages: pairs -> the ids of the entries in each of their texts, and from these a count per entry.

A part of matches is a table with a row per text that holds an entry (`row` in the part of pairs, `text` in
its list, `ids`), and a table of how many texts hold each entry. With several metadata lists, one per
language, ids go on from list to list. Balancing reads these parts beside those of the pairs.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from clipworks.curate.match import Matcher, build_matcher, match_texts
from clipworks.curate.metadata import Entries, read_entries
from clipworks.curate.tokens import Ids, Offsets
from clipworks.errors import ConfigError, DataError, reason_of
from clipworks.files import atomic_write, read_manifest
from clipworks.stage import Made, ShowProgress, Source, Workers, part_files, run_stage
from clipworks.tables import column_names, read_batches, read_table, write_table

STAGE = "match"
COUNTS = "entry_count.npy"
COUNTS_SUFFIX = ".counts.parquet"
LANGUAGES = "languages"
"""Column of pairs with the language of each text, as the texts are listed."""
TEXT_COLUMNS = (LANGUAGES, "language_probs", "text_chars", "text_words", "text_toxic")
"""All columns of pairs with a value for each text, in lists as long as `texts`; curate/texts.py adds them."""

Counts = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]

_SCHEMA = pa.schema([("row", pa.uint32()), ("text", pa.uint32()), ("ids", pa.list_(pa.uint32()))])
_BATCH_ROWS = 16_384


@dataclass(frozen=True, kw_only=True, slots=True)
class Metadata:
    """One of the lists that texts are matched against."""

    language: str
    """Code of the language of the texts it is for; with one list, any text."""
    path: str
    """Where the list is."""
    digest: str
    """sha256 of its entries."""
    first_id: int
    """Id of its first entry."""
    count: int
    """Its entries."""


def match_pairs(
    pairs: Path,
    out: Path,
    *,
    metadata: Sequence[Path],
    mode: str = "metaclip",
    workers: int = 1,
    cluster: Workers | None = None,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Match the texts of all pairs; a stage.

    Args:
        pairs: a finished folder of pairs.
        out: folder to write.
        metadata: the entry list; or one list per language, and then each text is matched against the list of
            its language, which the column LANGUAGES of the pairs says.
        mode: how texts are read, one of curate/match.py's MODES.
        workers: processes.
        cluster: where the work is done instead.
        show: told when a part is done.

    Returns:
        The manifest; its counts are `texts`, `matched_texts`, `matches` (texts times entries in them) and
        `texts_of_other_languages`.

    Raises:
        ConfigError: an unknown mode, two lists of one language, or `out` was begun otherwise.
        DataError: a folder is unfinished or a file unreadable.
    """
    lists = describe_metadata(metadata)
    config = {"mode": mode, "metadata": [_as_json(one) for one in lists]}
    build_matcher([], mode=mode)  # an unknown mode is told before processes start
    work = partial(_match_part, lists=lists, mode=mode)
    sources = table_sources(pairs)
    if len(lists) > 1:
        _check_languages(pairs, sources)
    return run_stage(work, sources, out, stage=STAGE, config=config, workers=workers, pool=cluster, show=show)


def count_matches(matches: Path, out: Path) -> dict[str, Any]:
    """Sum the parts' counts to `entry_count.npy`, uint64 [entries]; a stage of one part.

    Returns:
        The manifest; its config is that of the matches.

    Raises:
        DataError: a folder is unfinished or not one of matches, or a file unreadable.
    """
    manifest = read_manifest(matches)
    check_matches(matches, manifest)
    digest = sha256("\n".join(_hashes(manifest)).encode()).hexdigest()
    source = Source(name="counts", path=str(matches), digest=digest)
    work = partial(_write_counts, matches=matches)
    return run_stage(work, [source], out, stage="count", config=manifest["config"])


def sum_counts(matches: Path) -> Counts:
    """The same without writing it: uint64 [entries].

    Raises:
        DataError: as in `count_matches`.
    """
    manifest = read_manifest(matches)
    check_matches(matches, manifest)
    files = list(part_files(matches, COUNTS_SUFFIX))
    return add_counts(files, num_ids(manifest))


def read_counts(folder: Path) -> Counts:
    """How many texts hold each entry: uint64 [entries], as `count_matches` wrote it.

    Raises:
        DataError: the folder is unfinished or the file damaged.
    """
    read_manifest(folder)
    try:
        return np.asarray(np.load(folder / COUNTS, allow_pickle=False), np.uint64)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{folder / COUNTS} cannot be read: {reason_of(error)}.", "Delete the folder and repeat."
        ) from error


def describe_metadata(paths: Sequence[Path]) -> tuple[Metadata, ...]:
    """The lists at some paths, and which ids they have together.

    Raises:
        ConfigError: no list, or one of several that has no language of its own.
        DataError: a list cannot be read.
    """
    lists: list[Metadata] = []
    first_id = 0
    for path in paths:
        entries = read_entries(path)
        lists.append(
            Metadata(
                language=entries.language,
                path=str(path),
                digest=entries.digest,
                first_id=first_id,
                count=len(entries.texts),
            )
        )
        first_id += len(entries.texts)
    languages = Counter(one.language for one in lists)
    if not lists:
        raise ConfigError(
            "There is no metadata to match with.", "Make a list with: clipworks curate metadata"
        )
    if len(lists) > 1 and ("" in languages or languages.most_common(1)[0][1] > 1):
        raise ConfigError(
            "Several metadata lists need a language each, a different one.",
            "Make them with: clipworks curate metadata --set language=CODE",
        )
    return tuple(lists)


def check_matches(folder: Path, manifest: Mapping[str, Any]) -> None:
    """See that a folder is one of `match_pairs`, by its manifest.

    Raises:
        DataError: another command wrote it.
    """
    if manifest.get("stage") != STAGE:
        raise DataError(
            f"{folder} is no folder of `clipworks curate match`.", "Give the --out of that command."
        )


def check_metadata(matches: Path, metadata: Sequence[Path]) -> None:
    """See that matches were made with some lists.

    Raises:
        ConfigError: they were made with others.
        DataError: the folder is unfinished or not one of matches, or a list cannot be read.
    """
    manifest = read_manifest(matches)
    check_matches(matches, manifest)
    digests = [one["sha256"] for one in manifest["config"]["metadata"]]
    if [one.digest for one in describe_metadata(metadata)] != digests:
        raise ConfigError(
            f"{matches} was made with other metadata.", "Name the lists that were matched with."
        )


def num_ids(manifest: Mapping[str, Any]) -> int:
    """How many ids the lists of a manifest of matches or counts have together."""
    return sum(one["count"] for one in manifest["config"]["metadata"])


def table_sources(folder: Path) -> list[Source]:
    """The tables of a finished folder, one source per part that has one, in order.

    A part's table is `NAME.parquet`, or `NAME.pairs.parquet` as `collect pairs` calls it.

    Raises:
        DataError: the folder is unfinished, is no stage's, or has rows and no such table.
    """
    manifest = read_manifest(folder)
    sources = [
        Source(name=part["name"], path=str(folder / name), digest=file["sha256"])
        for part in manifest.get("parts", ())
        for name, file in part["files"].items()
        if name in (f"{part['name']}.parquet", f"{part['name']}.pairs.parquet")
    ]
    if not sources and (manifest.get("rows") or "parts" not in manifest):
        raise DataError(f"{folder} holds no table of pairs.", "Give a folder of clipworks collect pairs.")
    return sources


def flat_texts(batch: pa.RecordBatch) -> tuple[pa.Array, Numbers]:
    """The texts of pairs, one after the other, and how many each pair has: strings and int64 [rows]."""
    lists = batch.column("texts")
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0), np.int64)
    return lists.flatten(), lengths


def save_counts(path: Path, ids: Ids) -> None:
    """Write how often each id occurs, ascending ids without zeros."""
    entries, counts = np.unique(ids, return_counts=True)
    columns = {"entry": pa.array(entries, pa.uint32()), "count": pa.array(counts, pa.uint64())}
    write_table(path, pa.table(columns))


def add_counts(paths: Sequence[Path], length: int) -> Counts:
    """The sum of what `save_counts` wrote: uint64 [length].

    Raises:
        DataError: a file is missing or damaged, or an id is not below `length`.
    """
    total = np.zeros(length, np.uint64)
    for path in paths:
        table = read_table(path, ["entry", "count"])
        entries = np.asarray(table["entry"])
        if len(entries) and int(entries.max()) >= length:
            raise DataError(f"{path} counts the entry {entries.max()}, but there are {length:,}.")
        total[entries] += np.asarray(table["count"])
    return total


def _match_part(source: Source, folder: Path, *, lists: tuple[Metadata, ...], mode: str) -> Made:
    counts: Counter[str] = Counter(texts=0, matched_texts=0, matches=0)
    tables, all_ids = [], []
    first_row = 0
    columns = ["texts"] if len(lists) == 1 else ["texts", LANGUAGES]
    matchers = [_matcher_of(one, mode) for one in lists]  # its errors are not the source's
    try:
        for batch in read_batches(Path(source.path), columns, rows=_BATCH_ROWS):
            texts, lengths = flat_texts(batch)
            ends, ids = _match_batch(batch, texts.field("text"), lists, matchers, counts)
            rows, places = _places(lengths)
            has = np.flatnonzero(np.diff(ends))
            offsets = pa.array(np.concatenate([ends[has], ends[-1:]]), pa.int32())
            lists_of_ids = pa.ListArray.from_arrays(offsets, pa.array(ids, pa.uint32()))
            columns_of = [pa.array(rows[has] + first_row, pa.uint32()), pa.array(places[has], pa.uint32())]
            tables.append(pa.record_batch([*columns_of, lists_of_ids], schema=_SCHEMA))
            all_ids.append(ids)
            counts.update(texts=len(texts), matched_texts=len(has), matches=len(ids))
            first_row += len(batch)
    except DataError as error:
        return Made(rows=0, failure=error.message)
    table = pa.Table.from_batches(tables, schema=_SCHEMA)
    names = [f"{source.name}.parquet", f"{source.name}{COUNTS_SUFFIX}"]
    write_table(folder / names[0], table)
    save_counts(folder / names[1], np.concatenate([np.zeros(0, np.uint32), *all_ids]))
    return Made(rows=len(table), counts=counts, files=names)


def _check_languages(pairs: Path, sources: Sequence[Source]) -> None:
    """See that the first table that can be read says the language of each text."""
    for source in sources:
        with suppress(DataError):
            if LANGUAGES in column_names(Path(source.path)):
                return
            break
    else:
        return
    raise ConfigError(
        f"{pairs} has no column {LANGUAGES}, which tells the list of each text.",
        "Make it with clipworks curate texts, or give one list.",
    )


def _match_batch(
    batch: pa.RecordBatch,
    texts: pa.Array,
    lists: tuple[Metadata, ...],
    matchers: Sequence[Matcher],
    counts: Counter[str],
) -> tuple[Offsets, Ids]:
    """The ids in each text, by the list of its language where there are several."""
    if len(lists) == 1:
        return match_texts(matchers[0], texts)
    languages = batch.column(LANGUAGES).flatten()
    if len(languages) != len(texts):
        raise DataError(
            f"The columns texts and {LANGUAGES} are not of one length: {len(texts)} and {len(languages)}."
        )
    rows, found = [np.zeros(0, np.int64)], [np.zeros(0, np.uint32)]
    known = 0
    for one, matcher in zip(lists, matchers, strict=True):
        chosen = np.flatnonzero(np.asarray(pc.fill_null(pc.equal(languages, one.language), False)))
        if len(chosen):
            ends, ids = match_texts(matcher, texts.take(pa.array(chosen)))
            rows.append(np.repeat(chosen, np.diff(ends)))
            found.append(ids)
            known += len(chosen)
    counts["texts_of_other_languages"] += len(texts) - known
    all_rows = np.concatenate(rows)
    order = np.argsort(all_rows, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(all_rows, minlength=len(texts)))])
    return ends, np.concatenate(found)[order]


@cache
def _matcher_of(metadata: Metadata, mode: str) -> Matcher:
    """The matcher of a list, made once in a process.

    Raises:
        DataError: the list is not the one that the stage was begun with.
    """
    entries: Entries = read_entries(Path(metadata.path))
    if entries.digest != metadata.digest:
        raise DataError(f"{metadata.path} was changed while it was used.", "Repeat the command.")
    return build_matcher(entries.texts, mode=mode, first_id=metadata.first_id)


def _places(lengths: Numbers) -> tuple[Numbers, Numbers]:
    """The row of each text, and its place in the row's list."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    return rows, np.arange(len(rows)) - (np.cumsum(lengths) - lengths)[rows]


def _write_counts(source: Source, folder: Path, *, matches: Path) -> Made:
    total = sum_counts(matches)
    content = BytesIO()
    np.save(content, total)
    with atomic_write(folder / COUNTS) as file:
        file.write(content.getvalue())
    counts = {"entries_without_matches": int(np.count_nonzero(total == 0)), "matches": int(total.sum())}
    return Made(rows=len(total), counts=counts, files=[COUNTS])


def _as_json(metadata: Metadata) -> dict[str, Any]:
    return {"language": metadata.language, "sha256": metadata.digest, "count": metadata.count}


def _hashes(manifest: Mapping[str, Any]) -> Iterator[str]:
    for part in manifest["parts"]:
        yield from (file["sha256"] for file in part["files"].values())
