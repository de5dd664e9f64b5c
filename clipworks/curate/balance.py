"""Balancing: how likely each text is kept so that no entry dominates, and a stage that keeps them.

c is the number of texts that hold an entry and t the threshold: an entry asks for its texts with the
probability q = t / max(c, t), and a text is kept if any of its entries asks: with 1 - prod(1 - q). Whether
it does is decided by a hash of seed, uid and the text's place, never by an order or a generator: however
pairs are spread over parts, workers and runs, the same ones are kept.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from math import fsum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clipworks.curate.matches import (
    COUNTS_SUFFIX,
    TEXT_COLUMNS,
    Counts,
    Numbers,
    flat_texts,
    read_counts,
    save_counts,
    table_sources,
)
from clipworks.curate.tokens import Ids, Offsets
from clipworks.curate.uids import Uids, draws_of, uids_of
from clipworks.errors import ConfigError, DataError
from clipworks.files import STAGE, atomic_write, is_complete, read_json, read_manifest, write_json
from clipworks.stage import Made, ShowProgress, Source, Workers, part_files, run_stage
from clipworks.tables import num_rows, read_batches, read_table, write_table

SUMS_SUFFIX, DRAWS_SUFFIX = ".sums.json", ".draws.npy"
MOST_DRAWS = 1 << 20
"""Draws of a pool, about, that the deviation is reckoned with; of more, a share by id."""
PROBABILITIES = "keep_probs"

Floats = npt.NDArray[np.float64]

_ANCHOR = "en"

_DRAW = np.dtype([("f0", "<u8"), ("f1", "<u8"), ("stream", "<i8"), ("p", "<f8")])
"""An id, the place of its text, and how likely it is kept."""
_SHARE = 0x7368617265
"""Seed of which ids are among MOST_DRAWS."""
_CHOICE = np.uint64(0x63686F696365)
"""Added to the seed where one text of several is chosen, so that this does not decide whether it is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BalanceConfig:
    """How strictly and by which rule texts are balanced."""

    t: int | None = None
    """Texts of an entry up to which all are kept; with several languages that of `anchor`. None: what
    `tail_share` gives."""
    tail_share: float = 0.06
    """Share of all matches that entries below t are to have, where t is not given; 0..1."""
    anchor: str = _ANCHOR
    """With several languages and t: the language whose t it is; the others get the t that gives them the same
    tail share."""
    texts: str = "each"
    """`each`: each text of a pair is kept or not; a pair stays while it has one. `one`: one of its texts
    that hold entries is drawn, and kept or not. `all`: none is dropped that holds an entry, for who draws
    by `keep_probs` while training."""
    seed: int = 0
    """Other seeds keep other texts of the head entries."""

    def __post_init__(self) -> None:
        if self.t is not None and self.t < 1:
            raise ConfigError(f"t is {self.t}, but must be 1 or more.")
        if not 0 <= self.tail_share <= 1:
            raise ConfigError(f"tail_share is {self.tail_share}, but must be from 0 to 1.")
        if self.texts not in ("each", "one", "all"):
            raise ConfigError(f"texts is {self.texts!r}, but must be 'each', 'one' or 'all'.")


def tail_share_of(counts: Counts, t: float) -> float:
    """Share of all matches that entries with fewer than t have, 0..1; 0 where nothing matched."""
    total = int(counts.sum())
    return int(counts[counts < t].sum()) / total if total else 0.0


def t_of_tail_share(counts: Counts, share: float) -> int:
    """The count in ascending order up to and with which the share of all matches is nearest to `share`.

    At least 1. Not the inverse of `tail_share_of`, which leaves out the entry that this takes in: counts of
    1, 3, 6 and 10 and a share of 0.15 give 3, below which there are 0.05.
    """
    ordered = np.sort(counts)
    sums = np.cumsum(ordered, dtype=np.uint64)
    if not len(sums) or not sums[-1]:
        return 1
    return max(1, int(ordered[np.argmin(np.abs(sums / float(sums[-1]) - share))]))


def thresholds(counts: Counts, lists: Sequence[Mapping[str, Any]], config: BalanceConfig) -> dict[str, int]:
    """t per language, in the order of the lists.

    Args:
        counts: uint64 [entries] of all lists, one after the other.
        lists: `language` and `count` of each, as in the manifest of matches.
        config: `t` or `tail_share`.

    Raises:
        ConfigError: the anchor is chosen, or t is given for it, and it is not among the languages.
    """
    parts = dict(zip([one["language"] for one in lists], _split(counts, lists), strict=True))
    needs_anchor = config.anchor != _ANCHOR or (config.t is not None and len(parts) > 1)
    if needs_anchor and config.anchor not in parts:
        known = ", ".join(filter(None, parts)) or "any"
        raise ConfigError(
            f"The anchor is {config.anchor!r}, but the metadata is for {known}.",
            "Choose one of these languages, or leave out anchor and t.",
        )
    if config.t is None:
        return {language: t_of_tail_share(part, config.tail_share) for language, part in parts.items()}
    if len(parts) == 1:
        return dict.fromkeys(parts, config.t)
    share = tail_share_of(parts[config.anchor], config.t)
    return {
        language: config.t if language == config.anchor else t_of_tail_share(part, share)
        for language, part in parts.items()
    }


def tail_shares(counts: Counts, lists: Sequence[Mapping[str, Any]], t: Mapping[str, int]) -> dict[str, float]:
    """`tail_share_of` per language, arguments as `thresholds` takes and gives them."""
    return {
        language: tail_share_of(part, limit)
        for part, (language, limit) in zip(_split(counts, lists), t.items(), strict=True)
    }


def entry_probabilities(counts: Counts, t: npt.ArrayLike) -> Floats:
    """How likely an entry asks for one of its texts: float64 [entries], t / max(count, t); t may differ."""
    limits = np.asarray(t, np.float64)
    return np.asarray(limits / np.maximum(counts.astype(np.float64), limits), np.float64)


def keep_probabilities(entry_probs: Floats, ends: Offsets, ids: Ids) -> Floats:
    """How likely a text is kept: 1 - prod(1 - q) over its entries, 0 without any; float64 [texts].

    Args:
        entry_probs: float64 [entries], as `entry_probabilities` gives it.
        ends: int64 [texts + 1].
        ids: uint32; those of text i are `ids[ends[i]:ends[i + 1]]`.
    """
    probs = np.zeros(len(ends) - 1)
    has = np.flatnonzero(np.diff(ends))
    if len(has):
        probs[has] = 1.0 - np.multiply.reduceat(1.0 - entry_probs[ids[: ends[-1]]], ends[:-1][has])
    return probs


def balance_pairs(
    pairs: Path,
    matches: Path,
    counts: Path,
    out: Path,
    *,
    config: BalanceConfig,
    workers: int = 1,
    cluster: Workers | None = None,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Keep the texts that balancing keeps, and the pairs that have one left; a stage.

    Args:
        pairs: finished folder of pairs.
        matches: finished folder that `match_pairs` made of them.
        counts: finished folder that `count_matches` made; of the same or of a larger pool.
        out: folder to write: the rows of pairs with fewer texts, and `keep_probs`, float32 per text.
        config: t or tail share, rule and seed.
        workers: processes.
        cluster: where the work is done instead.
        show: told when a part is done.

    Returns:
        The manifest; its config holds t per language, its counts are `matched_texts`, `kept_texts` and
        `pairs`, those that came in.

    Raises:
        ConfigError: the counts are of other metadata, or t does not go with the languages.
        DataError: a folder is unfinished, or the matches are of other pairs.
    """
    manifest = read_manifest(counts)
    lists = manifest["config"]["metadata"]
    if read_manifest(matches)["config"] != manifest["config"]:
        raise ConfigError(
            f"{counts} and {matches} are of different metadata or modes.", "Count these matches."
        )
    t = thresholds(read_counts(counts), lists, config)
    described = {"t": t, "texts": config.texts, "seed": config.seed, **manifest["config"]}
    described["counts"] = sha256(read_counts(counts).tobytes()).hexdigest()
    share = min(1.0, MOST_DRAWS / max(1, read_manifest(pairs)["rows"]))
    work = partial(_balance_part, matches=matches, counts=counts, t=t, config=config, share=share)
    sources = _sources(pairs, matches)
    return run_stage(
        work, sources, out, stage="balance", config=described, workers=workers, pool=cluster, show=show
    )


def check_out(folder: Path) -> None:
    """See that the folders of a balancing can be made in a folder.

    Raises:
        DataError: it is the folder of a stage.
    """
    if is_complete(folder) or (folder / STAGE).exists():
        begun = read_json(folder / STAGE) if (folder / STAGE).exists() else read_manifest(folder)
        other = begun.get("stage") if isinstance(begun, dict) else None
        raise DataError(f"{folder} is the folder of another stage, {other!r}.", "Choose another --out.")


def expected_texts(folder: Path) -> tuple[float, float]:
    """How many texts a finished folder was expected to keep, and the standard deviation of that.

    Rows of one id are kept or dropped together, so that the deviation grows with ids that repeat.
    """
    sums = [json.loads(path.read_bytes()) for path in part_files(folder, SUMS_SUFFIX)]
    draws = [np.load(path, allow_pickle=False) for path in part_files(folder, DRAWS_SUFFIX)]
    share = min((one["share"] for one in sums), default=1.0)
    variance = variance_of(np.concatenate([np.empty(0, _DRAW), *draws])) / share
    return fsum(one["expected"] for one in sums), variance**0.5


def variance_of(draws: npt.NDArray[Any]) -> float:
    """Of the number of texts that are kept, where those of one id and place share one random number.

    Both of two such texts are kept with the smaller of their probabilities; texts of different ids are
    independent.

    Args:
        draws: _DRAW [N].
    """
    if not len(draws):
        return 0.0
    draws = draws[np.lexsort((-draws["p"], draws["stream"], draws["f1"], draws["f0"]))]
    keys = draws[["f0", "f1", "stream"]]
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    place = np.arange(len(draws)) - np.repeat(first, np.diff(np.append(first, len(draws))))
    together = draws["p"] * (2 * place + 1)  # as many pairs have this text and one at least as likely
    return float(together.sum() - (np.add.reduceat(draws["p"], first) ** 2).sum())


def _sources(pairs: Path, matches: Path) -> list[Source]:
    matched = {source.name: source for source in table_sources(matches)}
    begun = {part["name"]: part["digest"] for part in read_manifest(matches)["parts"]}
    sources = []
    for source in table_sources(pairs):
        if begun.get(source.name) != source.digest:
            raise DataError(
                f"{matches} was not made of {pairs}: {source.name} differs.", "Match these pairs first."
            )
        if source.name in matched:
            both = sha256(f"{source.digest} {matched[source.name].digest}".encode()).hexdigest()
            sources.append(Source(name=source.name, path=source.path, digest=both))
    return sources


def _balance_part(
    source: Source,
    folder: Path,
    *,
    matches: Path,
    counts: Path,
    t: Mapping[str, int],
    config: BalanceConfig,
    share: float,
) -> Made:
    table = read_table(matches / f"{source.name}.parquet")
    ids_of = table["ids"].combine_chunks()
    ends = np.asarray(ids_of.offsets, np.int64)
    ids = np.asarray(ids_of.values)
    probs = keep_probabilities(_entry_probs(counts, tuple(t.items())), ends, ids)
    rows, places = (np.asarray(table[name], np.int64) for name in ("row", "text"))
    kept_tables: list[pa.RecordBatch] = []
    chosen: list[Numbers] = []
    draws = [np.empty(0, _DRAW)]
    first = 0
    for batch in read_batches(Path(source.path)):
        begin, end = np.searchsorted(rows, [first, first + len(batch)])
        here = slice(begin, end)
        uids = uids_of(batch.column("uid").to_pylist())
        drawn = _draw(uids, rows[here] - first, places[here], probs[here], config)
        draws.append(_draws(uids, rows[here] - first, places[here], probs[here], config, share))
        kept_tables.append(_keep(batch, rows[here][drawn] - first, places[here][drawn], probs[here][drawn]))
        chosen.append(begin + drawn)
        first += len(batch)
    kept = np.concatenate([np.zeros(0, np.int64), *chosen])
    names = [f"{source.name}{suffix}" for suffix in (".parquet", COUNTS_SUFFIX, SUMS_SUFFIX, DRAWS_SUFFIX)]
    result = pa.Table.from_batches(kept_tables) if kept_tables else read_table(Path(source.path))
    write_table(folder / names[0], result)
    save_counts(folder / names[1], ids[np.repeat(_is_in(kept, len(rows)), np.diff(ends))])
    write_json(folder / names[2], {"expected": fsum(_chance_of(rows, probs, config)), "share": share})
    with atomic_write(folder / names[3]) as file:
        np.save(file, np.concatenate(draws))
    totals = {"matched_texts": len(rows), "kept_texts": len(kept), "pairs": num_rows(Path(source.path))}
    return Made(rows=len(result), counts=totals, files=names)


def _draw(uids: Uids, rows: Numbers, places: Numbers, probs: Floats, config: BalanceConfig) -> Numbers:
    """Which of the texts that hold entries are kept; their numbers, ascending."""
    if config.texts == "all":
        return np.arange(len(rows))
    if config.texts == "one" and len(rows):
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        lengths = np.diff(np.append(first, len(rows)))
        seed = int(_CHOICE) + config.seed
        picked = first + (draws_of(uids[rows[first]], seed) * lengths).astype(np.int64)
        kept = draws_of(uids[rows[picked]], config.seed, stream=places[picked]) < probs[picked]
        return np.asarray(picked[kept])
    return np.flatnonzero(draws_of(uids[rows], config.seed, stream=places) < probs)


def _chance_of(rows: Numbers, probs: Floats, config: BalanceConfig) -> Floats:
    """How likely each independent draw of a part keeps a text: one per text, or one per pair."""
    if config.texts == "all":
        return np.ones_like(probs)
    if config.texts == "each" or not len(rows):
        return probs
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    return np.asarray(np.add.reduceat(probs, first) / np.diff(np.append(first, len(rows))), np.float64)


def _draws(
    uids: Uids, rows: Numbers, places: Numbers, probs: Floats, config: BalanceConfig, share: float
) -> npt.NDArray[Any]:
    """What is uncertain of some pairs, _DRAW [N]: of each text, or of each pair where one text is drawn."""
    chances = _chance_of(rows, probs, config)
    if config.texts == "one" and len(rows):
        rows = rows[np.flatnonzero(np.diff(rows, prepend=-1))]
        places = np.zeros(len(rows), np.int64)
    chosen = np.flatnonzero((chances < 1) & (draws_of(uids[rows], _SHARE) < share))
    draws = np.empty(len(chosen), _DRAW)
    draws["f0"], draws["f1"] = uids["f0"][rows[chosen]], uids["f1"][rows[chosen]]
    draws["stream"], draws["p"] = places[chosen], chances[chosen]
    return draws


def _keep(batch: pa.RecordBatch, rows: Numbers, places: Numbers, probs: Floats) -> pa.RecordBatch:
    """The rows of some texts with these texts alone."""
    flat, lengths = flat_texts(batch)
    begins = np.cumsum(lengths) - lengths
    positions = pa.array(begins[rows] + places)
    kept_rows, counts = np.unique(rows, return_counts=True)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    columns = dict(zip(batch.schema.names, batch.take(pa.array(kept_rows, pa.int64())).columns, strict=True))
    columns["texts"] = pa.ListArray.from_arrays(offsets, flat.take(positions))
    for name in set(TEXT_COLUMNS) & set(columns):
        columns[name] = pa.ListArray.from_arrays(offsets, batch.column(name).flatten().take(positions))
    columns[PROBABILITIES] = pa.ListArray.from_arrays(offsets, pa.array(probs, pa.float32()))
    return pa.record_batch(columns)


@cache
def _entry_probs(counts: Path, t: tuple[tuple[str, int], ...]) -> Floats:
    lists = read_manifest(counts)["config"]["metadata"]
    limits = [np.full(one["count"], limit, np.float64) for one, (_, limit) in zip(lists, t, strict=True)]
    return entry_probabilities(read_counts(counts), np.concatenate(limits))


def _split(counts: Counts, lists: Sequence[Mapping[str, Any]]) -> list[Counts]:
    return np.split(counts, np.cumsum([one["count"] for one in lists])[:-1])


def _is_in(numbers: Numbers, length: int) -> npt.NDArray[np.bool_]:
    marks = np.zeros(length, np.bool_)
    marks[numbers] = True
    return marks
