"""One of each: rows that repeat another are dropped, whether equal, near by hash, or near by features.

Of rows that count as the same, the one with the smallest id stays: a row is dropped if some row with a
smaller id is equal or near, kept itself or not (SemDeDup's rule). That depends on pairs alone, so that
order, sharding and workers change nothing, and each bucket is done by itself. Three stages in one folder:
`.keys` (rows into buckets), `.losers` (a part per bucket), and the result, a part per table with the kept
ids and rows.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import blake2b, md5
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.curate.clusters import BATCH_ROWS, nearest_centroids, read_matrix
from clipworks.curate.hashes import bands_of, is_near_earlier
from clipworks.curate.kept import write_kept_rows
from clipworks.curate.pool import Pool, Rows, read_rows, sources_of
from clipworks.curate.projections import read_projection
from clipworks.curate.spills import Records, make_records, read_bucket, record_type, write_spill
from clipworks.curate.subsets import counts_in, read_subset
from clipworks.errors import ConfigError, DataError
from clipworks.files import atomic_write, sha256_file
from clipworks.stage import Made, ShowProgress, Source, Workers, part_files, run_stage
from clipworks.tables import num_rows

KINDS = ("exact", "near", "cosine")
KEYS, LOSERS = ".keys", ".losers"
_LOSER = np.dtype([("table", "<u4"), ("row", "<u4")])


@dataclass(frozen=True, kw_only=True, slots=True)
class DedupConfig:
    """What counts as the same."""

    kind: str = "exact"
    """`exact`: an equal column; `near`: 64-bit hashes with few different bits; `cosine`: close features."""
    column: str = "sha256"
    """What is compared: for `exact` uid, url, sha256 or any column of words or whole numbers; for `near` a
    column of 64-bit hashes (phash), or an array of the npz if there is a projection."""
    distance: int = 4
    """For `near`: different bits at most, 0 to 15."""
    projection: str = ""
    """For `near`: a file of `write_projection`; the hash is then that of the features named by `column`."""
    threshold: float = 0.95
    """For `cosine`: this cosine or more, above 0 and at most 1."""
    centroids: str = ""
    """For `cosine`: `.npy` float [K, D]; rows are compared with those of the same nearest centroid. Without
    it, all with all."""
    subset: str = ""
    """A subset file: other rows are passed over. Empty: all rows."""
    bucket_bytes: int = 1 << 26
    """Size of a bucket in memory, about."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"kind is {self.kind!r}; it must be one of {', '.join(KINDS)}.")
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"threshold is {self.threshold}; it must be above 0 and at most 1.")
        if self.bucket_bytes < 1:
            raise ConfigError(f"bucket_bytes is {self.bucket_bytes}; it must be 1 or more.")
        bands_of(np.empty(0, np.uint64), self.distance)


def dedup(
    pool: Pool,
    config: DedupConfig,
    out: Path,
    *,
    workers: int = 1,
    cluster: Workers | None = None,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Write what stays of a pool: a part per table, `NAME.npy` with the kept ids and `NAME.parquet`.

    The manifest counts `rows in`, `rows kept`, `duplicates` and `without_value` (rows that have nothing to
    compare stay).

    Raises:
        ConfigError: a setting is wrong, or the folder was begun with something else.
        DataError: a column is missing, or the folder cannot be written.
    """
    numbers = {table.stem: number for number, table in enumerate(pool.tables)}
    values = _resolved(config)
    dim = _width(pool, config)
    per_row = config.distance + 1 if config.kind == "near" else 1
    records = per_row * sum(map(_rows_of, pool.tables))
    num_buckets = max(1, -(-records * record_type(dim).itemsize // config.bucket_bytes))
    spill = partial(_spill_table, pool=pool, config=config, numbers=numbers, num_buckets=num_buckets)
    go = partial(run_stage, config=values, workers=workers, pool=cluster, show=show)
    keys = go(spill, sources_of(pool, *map(str, numbers)), out / KEYS, stage="dedup keys")
    buckets = [
        Source(name=f"{n:06d}", path=str(n), digest=f"{n} of {num_buckets} {keys['sources']}")
        for n in range(num_buckets)
    ]
    lose = partial(_find_losers, spills=list(part_files(out / KEYS, ".records.npy")), config=config)
    go(lose, buckets, out / LOSERS, stage="dedup losers")
    files = list(part_files(out / LOSERS, ".npy"))
    keep = partial(_keep_table, pool=pool, losers=files, config=config, numbers=numbers)
    sources = [
        Source(name=one.name, path=one.path, digest=f"{one.digest} {keys['sources']}")
        for one in sources_of(pool)
    ]
    return go(keep, sources, out, stage="dedup")


def losers_of(records: Records, config: DedupConfig) -> NDArray[Any]:
    """Table and row of the records of one bucket that are dropped, in ascending order, each once."""
    order = np.lexsort([records[name] for name in ("row", "table", "value", "f1", "f0", "group")])
    records = records[order]
    edges = np.flatnonzero(records["group"][1:] != records["group"][:-1]) + 1
    dropped = np.zeros(len(records), np.bool_)
    for first, last in zip([0, *edges], [*edges, len(records)], strict=True):
        if last - first > 1:
            dropped[first:last] = _repeats(records[first:last], config)
    lost = np.empty(int(dropped.sum()), _LOSER)
    lost["table"], lost["row"] = records["table"][dropped], records["row"][dropped]
    return np.unique(lost)


def _repeats(group: Records, config: DedupConfig) -> NDArray[np.bool_]:
    """Which records of a group, in the order of their ids, repeat an earlier one."""
    if config.kind == "cosine":
        return _is_close_to_earlier(group["x"], config.threshold)
    _, firsts, inverse = np.unique(group["value"], return_index=True, return_inverse=True)
    is_first = np.arange(len(group)) == firsts[inverse]
    repeats: NDArray[np.bool_] = ~is_first
    if config.kind == "near":
        repeats[is_first] = is_near_earlier(group["value"][is_first], config.distance)
    return repeats


def _is_close_to_earlier(features_ND: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    rows = features_ND.astype(np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    close = np.zeros(len(rows), np.bool_)
    for start in range(0, len(rows), BATCH_ROWS):
        block = rows[start : start + BATCH_ROWS]
        for other in range(0, start + len(block), BATCH_ROWS):
            earlier = rows[other : min(other + BATCH_ROWS, start + len(block))]
            near = block @ earlier.T >= threshold
            if other == start:
                near &= np.tri(len(block), len(earlier), -1, dtype=np.bool_)
            close[start : start + len(block)] |= near.any(axis=1)
    return close


def _spill_table(
    source: Source,
    folder: Path,
    *,
    pool: Pool,
    config: DedupConfig,
    numbers: dict[str, int],
    num_buckets: int,
) -> Made:
    counts: Counter[str] = Counter()
    pieces = []
    try:
        for rows in read_rows(pool, Path(source.path), _columns(config)):
            chosen = _chosen(rows, config)
            records = _records(chosen, config, numbers[source.name])
            pieces.append(records)
            counts["rows in"] += len(chosen)
            counts["without_value"] += len(chosen) - len(np.unique(records["row"]))
    except DataError as error:
        return Made(rows=0, failure=str(error))
    joined = np.concatenate(pieces) if pieces else np.empty(0, record_type())
    return Made(rows=len(joined), counts=counts, files=write_spill(folder, source.name, joined, num_buckets))


def _find_losers(source: Source, folder: Path, *, spills: Sequence[Path], config: DedupConfig) -> Made:
    lost = losers_of(read_bucket(spills, int(source.path)), config)
    with atomic_write(folder / f"{source.name}.npy") as file:
        np.save(file, lost)
    return Made(rows=len(lost), files=[f"{source.name}.npy"])


def _keep_table(
    source: Source,
    folder: Path,
    *,
    pool: Pool,
    losers: Sequence[Path],
    config: DedupConfig,
    numbers: dict[str, int],
) -> Made:
    number = numbers[source.name]
    lost = np.unique(np.concatenate([_losers_in(path, number) for path in losers]))
    counts: Counter[str] = Counter()
    try:
        kept = []
        for rows in read_rows(pool, Path(source.path), ()):
            chosen = _chosen(rows, config)
            kept.append(chosen.where(~np.isin(chosen.places, lost)))
            counts["rows in"] += len(chosen)
        made = write_kept_rows(folder, source, kept, copies_rows=pool.copies_rows)
    except DataError as error:
        return Made(rows=0, failure=str(error))
    counts["rows kept"], counts["duplicates"] = made.rows, counts["rows in"] - made.rows
    return Made(rows=made.rows, counts=counts, files=made.files)


def _losers_in(path: Path, table: int) -> NDArray[np.int64]:
    lost = np.load(path, mmap_mode="r", allow_pickle=False)
    edges = np.array([(table, 0), (table + 1, 0)], _LOSER)
    keys = np.asarray(lost["table"])
    first, last = np.searchsorted(keys, edges["table"])
    return np.asarray(lost["row"][first:last], np.int64)


def _records(rows: Rows, config: DedupConfig, table: int) -> Records:
    """What a piece of a table leaves in the buckets."""
    if config.kind == "cosine":
        x = rows.features(config.column).astype(np.float32)
        groups = np.zeros(len(x), np.uint64)
        if config.centroids:
            groups = nearest_centroids(x, read_matrix(Path(config.centroids))).astype(np.uint64)
        content = [int.from_bytes(blake2b(line.tobytes(), digest_size=8).digest(), "little") for line in x]
        values = np.array(content, np.uint64)
        return make_records(rows.uids, groups, values, table=table, rows=rows.places, features=x)
    if config.kind == "exact":
        groups, values, has_value = _digests(rows, config.column)
        chosen = rows.where(has_value)
        return make_records(chosen.uids, groups, values, table=table, rows=chosen.places)
    values, has_value = _hashes(rows, config)
    chosen, values = rows.where(has_value), values[has_value]
    bands = bands_of(values, config.distance)
    return make_records(
        np.tile(chosen.uids, bands.shape[1]),
        bands.T.ravel(),
        np.tile(values, bands.shape[1]),
        table=table,
        rows=np.tile(chosen.places, bands.shape[1]),
    )


def _digests(rows: Rows, column: str) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.bool_]]:
    """md5 of each value as two numbers, and which rows have a value."""
    if column == "uid":
        return rows.uids["f0"], rows.uids["f1"], np.ones(len(rows), np.bool_)
    values = rows.table[column].to_pylist()
    has_value = np.array([value is not None and value != "" for value in values], np.bool_)
    digests = b"".join(
        md5(str(value).encode(errors="surrogatepass"), usedforsecurity=False).digest()
        for value in values
        if value is not None and value != ""
    )
    halves = np.frombuffer(digests, "<u8").astype(np.uint64).reshape(-1, 2)
    return halves[:, 0], halves[:, 1], has_value


def _hashes(rows: Rows, config: DedupConfig) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    if config.projection:
        projection = read_projection(Path(config.projection))
        return projection.hashes(rows.features(config.column)), np.ones(len(rows), np.bool_)
    values = rows.table[config.column].to_pylist()
    has_value = np.array([value is not None for value in values], np.bool_)
    return np.array([value or 0 for value in values], np.uint64), has_value


def _chosen(rows: Rows, config: DedupConfig) -> Rows:
    if not config.subset:
        return rows
    return rows.where(counts_in(read_subset(Path(config.subset)), rows.uids) > 0)


def _columns(config: DedupConfig) -> tuple[str, ...]:
    reads_features = config.kind == "cosine" or (config.kind == "near" and config.projection)
    return () if reads_features or config.column == "uid" else (config.column,)


def _width(pool: Pool, config: DedupConfig) -> int:
    """Features of a record; sees that the first table has what is compared."""
    for rows in read_rows(pool, pool.sample, _columns(config)):
        if config.kind == "cosine":
            return int(rows.features(config.column).shape[1])
        _records(rows.where(np.zeros(len(rows), np.bool_)), config, 0)
        break
    return 0


def _rows_of(table: Path) -> int:
    """Rows of a table; none of one that cannot be read, which then fails as a part."""
    try:
        return num_rows(table)
    except DataError:
        return 0


def _resolved(config: DedupConfig) -> dict[str, str]:
    """The settings as text, files with their hash."""
    values = {name: str(value) for name, value in asdict(config).items()}
    for name in ("projection", "centroids", "subset"):
        if values[name] and not Path(values[name]).is_file():
            raise ConfigError(f"The setting {name} names {values[name]}, which does not exist.")
        values[name] += f" {sha256_file(Path(values[name]))}" if values[name] else ""
    return values
