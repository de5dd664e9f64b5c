"""A recipe and a folder of pictures become a plan: the steps, in order, that lead to curated shards.

Each step is a stage in a folder of its own. What is cheap is asked first: rules that need scores which must
be computed wait for what the others leave, unless `top` counts over the whole pool. A plan reads heads of
tables only, and says what is missing before anything is done.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

from clipworks.curate.clusters import read_hashes
from clipworks.curate.expressions import Both, Filter, Top, rules_of, words_of
from clipworks.curate.filters import check_texts_filter, columns_of, read_filter
from clipworks.curate.frame import columns_of_tables
from clipworks.curate.matches import describe_metadata
from clipworks.curate.pool import Pool, has_column, has_features, open_pool
from clipworks.curate.recipes import CurateConfig, rows_filter, texts_filter
from clipworks.curate.scorers import open_scorer
from clipworks.curate.settings import resolved
from clipworks.errors import ConfigError, DataError
from clipworks.tables import num_rows

_SCORES = ("b32", "l14")
"""Quantities that a model gives where the pool lacks them."""
_HEADS = {"punsafe": "safety_head", "pwatermark": "watermark_head", "aesthetic": "aesthetic_head"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """A folder that is curated."""

    folder: Path
    """As it was given."""
    pool: Pool
    """Its tables."""
    tars: Path | None
    """Where its shards are; None of metadata alone."""
    are_beside: bool
    """Whether each tar stands beside the table of its rows."""
    rows: int
    """Of all tables that can be read, fetched or not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One thing to do."""

    kind: str
    """One of curate/run.py's STEPS."""
    title: str
    """For people."""
    what: str = ""
    """A filter, a column, or the prefix of scores; which of them hangs on the kind."""


def find_input(folder: Path) -> Input:
    """What a folder holds: fetched shards, those of img2dataset or DataComp, or metadata alone.

    Raises:
        DataError: it holds no tables, is unfinished, or holds pairs that were never fetched.
    """
    tables, tars = folder, folder
    if not any(folder.glob("*.parquet")) and any((folder / "metadata").glob("*.parquet")):
        tables, tars = folder / "metadata", folder / "shards"
    pool = open_pool(tables)
    if not has_column(pool, "url"):
        raise DataError(
            f"{folder} holds tables without the column url, so no fetched pictures.",
            "Fetch them first: clipworks collect fetch PAIRS --out DIR",
        )
    names = {path.stem for path in tars.glob("*.tar")}
    return Input(
        folder=folder,
        pool=pool,
        tars=tars if names else None,
        are_beside=tables == tars and names >= {table.stem for table in pool.tables},
        rows=sum(map(_rows_of, pool.tables)),
    )


def make_plan(place: Input, config: CurateConfig) -> tuple[Step, ...]:
    """The steps of a curation.

    Raises:
        ConfigError: a filter is not in its form, or something is missing that must be given.
        DataError: a column is missing, or a file that is given cannot be read.
    """
    if config.balanced and not config.metadata:
        raise ConfigError(
            "Texts are balanced by a list of entries, and none is given.",
            "Make one with clipworks curate metadata, and name it: --set metadata=FILE.",
        )
    joined = columns_of_tables(Path(config.columns)) if config.columns else []
    pool = replace(place.pool, columns={**place.pool.columns, **{name: name for name in joined}})
    parsed = read_filter(pool, rows_filter(config))
    wants_hashes = _asks_for_hashes(config) and not has_column(pool, "phash")
    prefix = _prefix_to_compute(place, config, parsed, joined)
    if wants_hashes:
        _check_tars(place, "perceptual hashes")
    _check(place, pool, config, parsed, [*joined, pool.columns.get(prefix, prefix)])
    first, rest = _split(parsed, waits_for=prefix)
    unique = _unique(config)

    return (
        *[Step(kind="uid", title="one row of each uid")] * ("uid" in unique),
        *[Step(kind="columns", what=config.columns, title=f"columns of {config.columns}")] * bool(joined),
        *_filter_steps(first),
        *_score_steps(prefix, wants_hashes),
        *[Step(kind="contamination", title="pictures near the evaluation set")] * bool(config.evaluation),
        *_filter_steps(rest),
        *(Step(kind="same", what=n, title=f"one row of each {n}") for n in unique if n != "uid"),
        *_last_steps(place, config),
    )


def metadata_of(config: CurateConfig) -> list[Path]:
    """The entry lists of a config."""
    return [Path(name.strip()) for name in config.metadata.split(",") if name.strip()]


def _unique(config: CurateConfig) -> list[str]:
    return [column for column in config.unique.replace(" ", "").split(",") if column]


def _filter_steps(part: Filter | None) -> list[Step]:
    if part is None:
        return []
    return [Step(kind="filter", what=words_of(part), title="rows by the filter")]


def _score_steps(prefix: str, wants_hashes: bool) -> list[Step]:
    words = [f"{prefix} scores and features"] * bool(prefix) + ["hashes"] * wants_hashes
    if not words:
        return []
    return [Step(kind="scores", what=prefix, title=f"{' and '.join(words)} of the pictures")]


def _last_steps(place: Input, config: CurateConfig) -> Iterator[Step]:
    if config.phash_distance >= 0:
        yield Step(kind="near", title="one of pictures that look the same")
    if config.cosine:
        yield Step(kind="cosine", title="one of pictures with like features")
    if config.texts or config.metadata:
        yield Step(kind="captions", what=texts_filter(config).keep, title="texts by the filter")
    if config.metadata:
        yield Step(kind="match", title="texts that hold an entry")
        yield Step(kind="balance", title="texts by balancing")
    yield Step(kind="rows", title="what is left, all columns")
    if place.tars is not None:
        yield Step(kind="list", title="where it lies in the tars")
        yield Step(kind="pack", title="new shards")


def _check(
    place: Input, pool: Pool, config: CurateConfig, parsed: Filter, will_be_there: Sequence[str]
) -> None:
    """See that what rules read is there: columns, files, entry lists.

    Raises:
        ConfigError: a setting is missing.
        DataError: a column is missing, or a file cannot be read.
    """
    settings = rows_filter(config)
    resolved(settings)
    asked = dict.fromkeys(columns_of(parsed), f"the filter {words_of(parsed)!r}")
    asked |= {name: f"unique={config.unique}" for name in _unique(config) if name != "uid"}
    if not has_column(place.pool, "uid"):
        asked["text"] = "an id for each row"
    for name, asker in asked.items():
        column = pool.columns.get(name, name)
        if column not in will_be_there and not has_column(place.pool, name):
            raise DataError(
                f"{place.folder} has no column {column!r}, which {asker} asks for.",
                "Join it with --set columns=FOLDER, or change that setting.",
            )
    if config.texts or config.metadata:
        check_texts_filter(read_filter(pool, texts_filter(config)))
    if config.metadata:
        describe_metadata(metadata_of(config))


def _prefix_to_compute(place: Input, config: CurateConfig, parsed: Filter, joined: Sequence[str]) -> str:
    """`b32`, `l14` or the like, of scores and features that are wanted and not there; "" of none.

    Raises:
        ConfigError: they cannot be computed: no model is given, there are no tars, or two are wanted.
    """
    wanted = _missing_prefixes(place.pool, config, parsed, joined)
    if not wanted:
        return ""
    words = " and ".join(sorted(wanted))
    _check_tars(place, f"{words} scores or features")
    if not config.model:
        raise ConfigError(
            f"{place.folder} lacks {words} scores or features.",
            "Let a model compute them, --set model=NAME, or join them, --set columns=FOLDER. The published "
            "thresholds are for OpenAI's ViT-B/32 (b32) and ViT-L/14 (l14).",
        )
    if len(wanted) > 1:
        raise ConfigError(
            f"{place.folder} lacks the scores or features of both {words}; one can be computed.",
            "Join the columns of one with --set columns=FOLDER.",
        )
    return words


def _check_tars(place: Input, lacking: str) -> None:
    """See that the pictures are there of which something is computed that a pool lacks.

    Raises:
        ConfigError: a tar is missing.
    """
    if not place.are_beside:
        tables = (table for table in place.pool.tables if not table.with_suffix(".tar").exists())
        table = next(tables, place.pool.tables[0])
        raise ConfigError(
            f"{place.folder} lacks {lacking}, and no {table.stem}.tar stands beside {table.name}.",
            "Give fetched shards, join tables with --set columns=FOLDER, or change what asks for them.",
        )


def _missing_prefixes(pool: Pool, config: CurateConfig, parsed: Filter, joined: Sequence[str]) -> set[str]:
    rules = {rule.name for rule in rules_of(parsed)}
    wanted = {name for name in _SCORES if name in rules and pool.columns[name] not in joined}
    wanted = {name for name in wanted if not has_column(pool, name)}
    arrays = {open_scorer(Path(getattr(config, _HEADS[name]))).features for name in rules & _HEADS.keys()}
    if "near_target" in rules or config.cosine or (config.evaluation and not _asks_for_hashes(config)):
        arrays.add(config.features)
    return wanted | {name.rpartition("_")[0] for name in arrays if not has_features(pool, name)}


def _asks_for_hashes(config: CurateConfig) -> bool:
    """Whether perceptual hashes are compared: for near pictures, or with an evaluation set's."""
    if config.phash_distance >= 0:
        return True
    return bool(config.evaluation) and read_hashes(Path(config.evaluation)) is not None


def _split(parsed: Filter, *, waits_for: str) -> tuple[Filter | None, Filter | None]:
    """What of a filter is asked before scores are computed, and what after."""
    parts = [part for part in _conjuncts(parsed) if words_of(part) != "everything"]
    late = {*_HEADS, "near_target", "contaminated", *[waits_for] * bool(waits_for)}
    early: list[Filter] = []
    if not any(isinstance(rule, Top) for rule in rules_of(parsed)):
        while parts and not {rule.name for rule in rules_of(parts[0])} & late:
            early.append(parts.pop(0))
    return _all_of(early), _all_of(parts)


def _conjuncts(part: Filter) -> list[Filter]:
    return [*_conjuncts(part.first), *_conjuncts(part.second)] if isinstance(part, Both) else [part]


def _all_of(parts: Sequence[Filter]) -> Filter | None:
    return reduce(lambda first, second: Both(first=first, second=second), parts) if parts else None


def _rows_of(table: Path) -> int:
    try:
        return num_rows(table)
    except DataError:
        return 0
