"""The texts of each row, of which a filter keeps some: a row stays while it has one.

A row of `collect pairs` has several texts (its column `texts`), any other its caption. The filter is asked
about each text as if it were a row of its own. A stage: one part per table, with what stays of it as the
matching and balancing read it (`uid`, `place`, `texts`, and `languages` if wanted).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clipworks.curate.expressions import Filter
from clipworks.curate.filters import check_rules, check_texts_filter, decide, read_filter, rows_for
from clipworks.curate.kept import write_kept_rows
from clipworks.curate.languages import open_identifier
from clipworks.curate.matches import LANGUAGES
from clipworks.curate.pool import Pool, Rows, sources_of
from clipworks.curate.settings import FilterConfig, resolved
from clipworks.curate.uids import hex_of
from clipworks.errors import DataError
from clipworks.stage import Made, ShowProgress, Source, Workers, run_stage
from clipworks.tables import write_table

STAGE = "captions"
TEXTS = pa.list_(pa.struct([("key", pa.string()), ("text", pa.string())]))
"""Texts of a row as `collect pairs` writes them."""

_SCHEMA = pa.schema([("uid", pa.string()), ("place", pa.int64()), ("texts", TEXTS)])


def choose_captions(
    pool: Pool,
    config: FilterConfig,
    out: Path,
    *,
    with_languages: bool = False,
    workers: int = 1,
    cluster: Workers | None = None,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Keep the texts that a filter keeps; the manifest counts `RULE in` and `RULE kept` in texts.

    Args:
        pool: what is read.
        config: the filter, asked about each text.
        out: the folder.
        with_languages: write the language of each text that stays, by the model of `config`.
        workers: processes.
        cluster: where the work is done instead.
        show: told when a table is done.

    Raises:
        ConfigError: the filter is not in its form, lacks a setting, or asks for the best of all texts.
        DataError: a column is missing, or the folder cannot be written.
    """
    parsed = read_filter(pool, config)
    check_texts_filter(parsed)
    check_rules(pool, config, parsed)
    work = partial(_choose, pool=pool, config=config, kept=parsed, with_languages=with_languages)
    values = {**resolved(config), "with_languages": with_languages}
    sources = sources_of(pool)
    return run_stage(work, sources, out, stage=STAGE, config=values, workers=workers, pool=cluster, show=show)


def _choose(
    source: Source, folder: Path, *, pool: Pool, config: FilterConfig, kept: Filter, with_languages: bool
) -> Made:
    counts: Counter[str] = Counter({"rows in": 0, "texts in": 0, "texts kept": 0, "rows kept": 0})
    has_texts = "texts" in pool.columns
    further = ["text", *["texts"] * has_texts]
    rows_kept, batches = list[Rows](), list[pa.RecordBatch]()
    try:
        for rows in rows_for(kept, pool, Path(source.path), further=further):
            texts = _texts_of(rows, has_texts)
            owners = np.repeat(np.arange(len(rows)), [len(some) for some in texts])
            flat = [one for some in texts for one in some]
            mask = decide(kept, _spread(rows, owners, flat), config, counts)
            left, batch = _gathered(rows, owners[mask], [flat[n] for n in np.flatnonzero(mask)])
            rows_kept.append(left)
            batches.append(_with_languages(batch, config) if with_languages else batch)
            counts.update({"rows in": len(rows), "texts in": len(flat), "texts kept": int(mask.sum())})
        schema = _SCHEMA.append(pa.field(LANGUAGES, pa.list_(pa.string()))) if with_languages else _SCHEMA
        name = f"{source.name}.parquet"
        write_table(folder / name, pa.Table.from_batches(batches, schema))
        made = write_kept_rows(folder, source, rows_kept, copies_rows=False)
    except DataError as error:
        return Made(rows=0, failure=str(error))
    counts["rows kept"] = made.rows
    return Made(rows=made.rows, counts=counts, files=[name, *made.files])


Keyed = tuple[str, str]
"""Where a text stood in the page, and the text."""


def _texts_of(rows: Rows, has_texts: bool) -> list[list[Keyed]]:
    """The texts of each row that are not empty."""
    captions = rows.texts()
    lists: Sequence[Any] = rows.table["texts"].to_pylist() if has_texts else [None] * len(rows)
    found = []
    for caption, some in zip(captions, lists, strict=True):
        keyed = [_keyed(one) for one in some] if some else [("caption", caption)]
        found.append([one for one in keyed if one[1]])
    return found


def _keyed(one: Any) -> Keyed:
    if isinstance(one, dict):
        return one.get("key") or "", one.get("text") or ""
    return "", one or ""


def _spread(rows: Rows, owners: NDArray[np.int64], flat: Sequence[Keyed]) -> Rows:
    """A row for each text, with the columns of its owner."""
    table = rows.table.drop_columns(["text", *["texts"] * ("texts" in rows.table.schema.names)])
    table = table.take(pa.array(owners)).append_column(
        "text", pa.array([one[1] for one in flat], pa.string())
    )
    return replace(rows, table=table, uids=rows.uids[owners], places=rows.places[owners])


def _gathered(rows: Rows, owners: NDArray[np.int64], texts: Sequence[Keyed]) -> tuple[Rows, pa.RecordBatch]:
    """The rows that own a text, and their table."""
    has = np.zeros(len(rows), np.bool_)
    has[owners] = True
    left = rows.where(has)
    ends = np.searchsorted(owners, np.append(np.flatnonzero(has), len(rows)))
    keys, words = (pa.array([one[n] for one in texts], pa.string()) for n in (0, 1))
    structs = pa.StructArray.from_arrays([keys, words], fields=list(TEXTS.value_type))
    lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), structs)
    columns = [pa.array(hex_of(left.uids), pa.string()), pa.array(left.places), lists]
    return left, pa.record_batch(columns, schema=_SCHEMA)


def _with_languages(batch: pa.RecordBatch, config: FilterConfig) -> pa.RecordBatch:
    texts = batch.column("texts")
    verdicts = open_identifier(config.language_model)(texts.flatten().field("text").to_pylist())
    lists = pa.ListArray.from_arrays(texts.offsets, pa.array([one.code for one in verdicts], pa.string()))
    return batch.append_column(LANGUAGES, lists)
