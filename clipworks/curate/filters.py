"""A filter over a pool: what each rule has seen and kept, the ids that stay, and their rows.

A stage: one part per table, `NAME.npy` with the kept ids as a subset file and `NAME.parquet` with their
rows. Fractions (`top`) are turned into thresholds over the whole pool before the first part.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.curate.expressions import (
    OPERATORS,
    Both,
    Comparison,
    Either,
    Filter,
    Flag,
    Not,
    Rule,
    Top,
    parse_filter,
    replaced,
    rules_of,
    words_of,
)
from clipworks.curate.kept import write_kept_rows
from clipworks.curate.pool import Mask, Pool, Rows, read_rows, sources_of
from clipworks.curate.quantities import QUANTITIES, check_needs, quantity_named
from clipworks.curate.selection import threshold_of_fraction
from clipworks.curate.settings import FilterConfig, resolved
from clipworks.errors import ConfigError, DataError
from clipworks.stage import Made, ShowProgress, Source, Workers, run_stage

STAGE = "filter"


def run_filter(
    pool: Pool,
    config: FilterConfig,
    out: Path,
    *,
    workers: int = 1,
    cluster: Workers | None = None,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Filter a pool into a stage folder; the manifest counts `RULE in` and `RULE kept` of every rule.

    Args:
        pool: what is read; a table that cannot be read is a failed part.
        config: what is kept.
        out: the folder.
        workers: processes.
        cluster: where the work is done instead.
        show: told when a table is done.

    Raises:
        ConfigError: the filter is not in its form, or lacks a setting.
        DataError: a column is missing, or the folder cannot be written.
    """
    parsed = read_filter(pool, config)
    check_rules(pool, config, parsed)
    thresholds = {
        words_of(rule): repr(_threshold(pool, config, rule))
        for rule in rules_of(parsed)
        if isinstance(rule, Top)
    }
    settled = replaced(parsed, partial(_settled, thresholds=thresholds))
    work = partial(_filter_table, pool=pool, config=config, kept=settled)
    values = {**resolved(config), "keep": words_of(parsed), "thresholds": thresholds}
    sources = sources_of(pool)
    return run_stage(work, sources, out, stage=STAGE, config=values, workers=workers, pool=cluster, show=show)


def read_filter(pool: Pool, config: FilterConfig) -> Filter:
    """The filter of a config, with every name known and every setting there.

    Raises:
        ConfigError: as in `run_filter`.
    """
    columns = [name for name in pool.columns if name not in QUANTITIES and name not in _WORDS]
    quantities = [name for name, quantity in QUANTITIES.items() if not quantity.is_flag] + columns
    flags = [name for name, quantity in QUANTITIES.items() if quantity.is_flag]
    parsed = parse_filter(config.keep, flags=flags, quantities=quantities)
    for rule in rules_of(parsed):
        check_needs(rule.name, config)
    return parsed


def check_rules(pool: Pool, config: FilterConfig, parsed: Filter) -> None:
    """See that each rule finds its columns, features and lists: every one is asked about no row.

    Raises:
        ConfigError: a file of the settings is not what it should be.
        DataError: the first table lacks a column or features, or cannot be read.
    """
    for rows in rows_for(parsed, pool, pool.sample):
        nothing = rows.where(np.zeros(len(rows), np.bool_))
        for rule in rules_of(parsed):
            quantity_named(rule.name).compute(nothing, config)
        return


def check_texts_filter(parsed: Filter) -> None:
    """See that a filter over texts has no `top`.

    Raises:
        ConfigError: it has one.
    """
    if any(isinstance(rule, Top) for rule in rules_of(parsed)):
        raise ConfigError("A filter over texts cannot ask for the best of all.", "Put top(...) into keep.")


def rows_for(parsed: Filter, pool: Pool, table: Path, *, further: Sequence[str] = ()) -> Iterator[Rows]:
    """A table in pieces, with the columns that the rules of a filter read, and further ones.

    Raises:
        DataError: as in `read_rows`.
    """
    names = list(dict.fromkeys([*columns_of(parsed), *further]))
    where_there = [name for rule in rules_of(parsed) for name in quantity_named(rule.name).where_there]
    return read_rows(pool, table, names, where_there=list(dict.fromkeys(where_there)))


def columns_of(parsed: Filter) -> list[str]:
    """The columns without which the rules of a filter cannot be asked, each once."""
    return list(
        dict.fromkeys(name for rule in rules_of(parsed) for name in quantity_named(rule.name).columns)
    )


def decide(part: Filter, rows: Rows, config: FilterConfig, counts: Counter[str]) -> Mask:
    """Which rows a filter keeps, bool [N]; what each rule saw and kept is added to the counts.

    A rule is asked only about rows that are still open: in `a and b`, b sees what a keeps.
    """
    match part:
        case Not(inner=inner):
            return ~decide(inner, rows, config, counts)
        case Both(first=first, second=second):
            mask = decide(first, rows, config, counts)
            mask[mask] = decide(second, rows.where(mask), config, counts)
            return mask
        case Either(first=first, second=second):
            mask = decide(first, rows, config, counts)
            mask[~mask] = decide(second, rows.where(~mask), config, counts)
            return mask
        case _:
            kept = _apply(part, rows, config)
            counts[f"{words_of(part)} in"] += len(rows)
            counts[f"{words_of(part)} kept"] += int(kept.sum())
            return kept


_WORDS = ("uid", "url", "text", "faces", "sha256", "md5", "status")
"""Columns that are no numbers."""


def _apply(rule: Rule, rows: Rows, config: FilterConfig) -> Mask:
    values = quantity_named(rule.name).compute(rows, config)
    if isinstance(rule, Flag):
        return values.astype(np.bool_)
    assert isinstance(rule, Comparison)  # a Top is settled before
    mask: Mask = OPERATORS[rule.sign](values, rule.number)
    return mask


def _threshold(pool: Pool, config: FilterConfig, rule: Top) -> float:
    return threshold_of_fraction(partial(_values, pool, config, rule.name), rule.fraction)


def _values(pool: Pool, config: FilterConfig, name: str) -> Iterator[NDArray[Any]]:
    quantity = quantity_named(name)
    for table in pool.tables:
        for rows in read_rows(pool, table, quantity.columns, where_there=quantity.where_there):
            values = quantity.compute(rows, config)
            yield values if values.dtype.kind == "f" else values.astype(np.float64)


def _settled(rule: Rule, *, thresholds: dict[str, str]) -> Rule:
    if not isinstance(rule, Top):
        return rule
    return Comparison(name=rule.name, sign=">=", number=float(thresholds[words_of(rule)]))


def _filter_table(source: Source, folder: Path, *, pool: Pool, config: FilterConfig, kept: Filter) -> Made:
    table = Path(source.path)
    counts: Counter[str] = Counter()
    stay = []
    try:
        for rows in rows_for(kept, pool, table):
            stay.append(_slim(rows).where(decide(kept, rows, config, counts)))
            counts["rows in"] += len(rows)
        made = write_kept_rows(folder, source, stay, copies_rows=pool.copies_rows)
    except DataError as error:
        return Made(rows=0, failure=str(error))
    counts["rows kept"] += made.rows
    return Made(rows=made.rows, counts=counts, files=made.files)


def _slim(rows: Rows) -> Rows:
    """The same rows without their columns."""
    return replace(rows, table=rows.table.select([]))
