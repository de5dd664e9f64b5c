"""Questions to a whole pool at once, by Daft: which ids repeat, and columns of other tables by id.

The owner of daft: it answers on this machine, or on the Ray cluster that the program is connected to. Its
answers have no order; they are sorted and written here, so that the bytes are the same whoever gave them. A
question is asked for one bucket of ids, or one group of tables, at a time, and each answer is a part of a
stage: memory does not grow with the pool, and what is answered is not asked again.
"""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clipworks.curate.kept import write_kept_rows
from clipworks.curate.pool import FETCHED, Pool, Rows, has_column, read_rows, sources_of
from clipworks.curate.subsets import place_in
from clipworks.curate.uids import Uids, hex_of, made_uids, order_of, uids_of
from clipworks.errors import ConfigError, DataError, MissingExtraError, reason_of
from clipworks.files import atomic_write, sha256_file
from clipworks.stage import Made, ShowProgress, Source, Workers, part_files, run_stage
from clipworks.tables import column_names, num_rows, write_table

ROWS_PER_QUESTION = 4_000_000
"""Rows whose ids are in memory at a time, a gigabyte or less."""
REPEATS = ".repeats"

_REPEAT = np.dtype([("f0", "<u8"), ("f1", "<u8"), ("table", "<u4")])
"""An id that stands in several rows, and the first table, by name, that has it."""


def open_daft(*, on_ray: bool = False) -> Any:
    """The module, which is imported here so that it never reports to its makers.

    Args:
        on_ray: ask the Ray cluster that this program is connected to.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ["DAFT_ANALYTICS_ENABLED"] = "0"
    os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
    try:
        daft = import_module("daft")
    except ImportError as error:
        raise MissingExtraError("daft", "curate") from error
    if on_ray:
        daft.set_runner_ray(noop_if_initialized=True)
    return daft


def keep_one_of_each(
    pool: Pool,
    out: Path,
    *,
    on_ray: bool = False,
    workers: int = 1,
    cluster: Workers | None = None,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Of rows with one id keep the first, by the name of the table and the place in it; a stage.

    Args:
        pool: whole tables; `within` is not looked at.
        out: the folder, in the form that a filter writes; `.repeats` in it holds what Daft has answered.
        on_ray: as in `open_daft`.
        workers: processes that write.
        cluster: where they write instead.
        show: told when a table is done.

    Raises:
        MissingExtraError: Daft is not installed.
        DataError: the folder cannot be written.
    """
    sources = sources_of(pool)
    rows = sum(map(_rows_of, pool.tables))
    count = max(1, -(-rows // ROWS_PER_QUESTION))
    digest = " ".join(source.digest for source in sources)
    buckets = [Source(name=f"{n:06d}", path=str(n), digest=f"{n} of {count} {digest}") for n in range(count)]
    ask = partial(_find_repeats, pool=pool, count=count, on_ray=on_ray)
    found = run_stage(ask, buckets, out / REPEATS, stage="repeats", config={})
    work = partial(_keep_firsts, pool=pool, repeats=tuple(part_files(out / REPEATS, ".npy")))
    whole = [replace(source, digest=f"{source.digest} {found['sources']}") for source in sources]
    return run_stage(work, whole, out, stage="unique", config={}, workers=workers, pool=cluster, show=show)


def join_columns(
    pool: Pool, tables: Path, out: Path, *, on_ray: bool = False, show: ShowProgress | None = None
) -> dict[str, Any]:
    """Write the columns of other tables beside those of a pool, row by row, joined by `uid`; a stage.

    The folder is one for `with_scores`. Rows without a partner are empty; the manifest counts `joined`.

    Args:
        pool: its tables are not read beyond their ids.
        tables: a parquet file or a folder of them, in any order, with a column `uid` of 32 hex digits.
        out: the folder.
        on_ray: as in `open_daft`.
        show: told when a group of tables is done.

    Raises:
        ConfigError: the pool has no ids.
        MissingExtraError: Daft is not installed.
        DataError: a table cannot be read, has no new column, or an id stands in two rows of it.
    """
    if not has_column(pool, "uid"):
        raise ConfigError("A pool without the column uid cannot be joined.", "Fetch it with uids.")
    own = set(pq.read_schema(pool.sample).names)
    columns = [name for name in columns_of_tables(tables) if name not in own]
    if not columns:
        raise DataError(f"{tables} has no column that {pool.sample.parent} lacks.", "Leave it out.")
    files = _files_of(tables)
    digest = " ".join([*map(sha256_file, files), *columns])
    sources = sources_of(pool)
    groups = _groups_of([_rows_of(table) for table in pool.tables])
    joined = [
        Source(
            name=f"{number:06d}",
            path=f"{first} {last}",
            digest=f"{digest} {' '.join(source.digest for source in sources[first:last])}",
        )
        for number, (first, last) in enumerate(groups)
    ]
    work = partial(_join_group, pool=pool, files=files, columns=columns, on_ray=on_ray)
    return run_stage(work, joined, out, stage="columns", config={"columns": columns}, show=show)


def columns_of_tables(tables: Path) -> list[str]:
    """The columns of a table, or of the first of a folder, but for `uid`.

    Raises:
        ConfigError: there is no table.
        DataError: it cannot be read, or has no uid.
    """
    first = _files_of(tables)[0]
    names = column_names(first)
    if "uid" not in names:
        raise DataError(f"{first} has no column uid to join by; it has {', '.join(names)}.")
    return [name for name in names if name != "uid"]


def _find_repeats(source: Source, folder: Path, *, pool: Pool, count: int, on_ray: bool) -> Made:
    daft = open_daft(on_ray=on_ray)
    frame = _ids(daft, pool, pool.tables)
    if count > 1:
        frame = frame.where(frame["value"].hash() % count == int(source.path))
    groups = frame.groupby("value").agg(frame["path"].count().alias("rows"), frame["path"].min())
    found = _answer(groups.where(groups["rows"] > 1))
    numbers = {_name(table): n for n, table in enumerate(pool.tables)}
    repeats = np.empty(len(found), _REPEAT)
    uids = _uids_in(pool, found["value"].to_pylist())
    repeats["f0"], repeats["f1"] = uids["f0"], uids["f1"]
    repeats["table"] = [numbers[_name(path)] for path in found["path"].to_pylist()]
    with atomic_write(folder / f"{source.name}.npy") as file:
        np.save(file, repeats[order_of(uids)])
    return Made(rows=len(repeats), files=[f"{source.name}.npy"])


def _keep_firsts(source: Source, folder: Path, *, pool: Pool, repeats: Sequence[Path]) -> Made:
    table, counts = Path(source.path), Counter[str]()
    number = pool.tables.index(table)
    kept, seen = list[Rows](), set[tuple[int, int]]()
    try:
        for rows in read_rows(pool, table, ()):
            first = _first_tables(rows.uids, repeats)
            mask = (first == -1) | (first == number)
            for place in np.flatnonzero(first == number):
                uid = (int(rows.uids["f0"][place]), int(rows.uids["f1"][place]))
                mask[place] = uid not in seen
                seen.add(uid)
            kept.append(replace(rows, table=rows.table.select([])).where(mask))
            counts["rows in"] += len(rows)
        made = write_kept_rows(folder, source, kept, copies_rows=pool.copies_rows)
    except DataError as error:
        return Made(rows=0, failure=str(error))
    counts["rows kept"], counts["duplicates"] = made.rows, counts["rows in"] - made.rows
    return Made(rows=made.rows, counts=counts, files=made.files)


def _first_tables(uids: Uids, repeats: Sequence[Path]) -> NDArray[np.int64]:
    """The first table that has an id, int64 [N]; -1 of an id that stands in one row alone."""
    tables = np.full(len(uids), -1, np.int64)
    for path in repeats:
        listed = _opened(path)
        places = place_in(listed, uids)
        tables[places >= 0] = listed["table"][places[places >= 0]]
    return tables


@lru_cache(maxsize=64)
def _opened(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _join_group(
    source: Source, folder: Path, *, pool: Pool, files: Sequence[Path], columns: Sequence[str], on_ray: bool
) -> Made:
    daft = open_daft(on_ray=on_ray)
    first, last = map(int, source.path.split())
    tables = [table for table in pool.tables[first:last] if _rows_of(table)]
    ids = _ids(daft, pool, tables).select("value").distinct()
    others = daft.read_parquet([_literal(file) for file in files]).select("uid", *columns)
    others = others.with_column("value", _padded(daft, others["uid"])).exclude("uid")
    found = _answer(others.join(ids, on="value", how="inner"))
    uids = uids_of(found["value"].to_pylist())
    order = order_of(uids)
    uids = uids[order]
    if (uids[1:] == uids[:-1]).any():
        twice = hex_of(uids[1:][uids[1:] == uids[:-1]][:1])[0]
        raise DataError(f"The uid {twice} stands in two rows of {files[0].parent}.", "Keep one of them.")
    values = found.select(list(columns)).take(pa.array(order))
    names, counts = [], Counter[str]()
    for table in tables:
        own = pa.chunked_array(
            [pq.read_table(table, columns=[pool.columns["uid"]]).column(0).combine_chunks()]
        )
        places = place_in(uids, uids_of([uid or "0" for uid in own.to_pylist()]))
        counts.update({"rows in": len(places), "joined": int((places >= 0).sum())})
        names.append(f"{table.stem}.parquet")
        write_table(folder / names[-1], values.take(pa.array(places, mask=places < 0)))
    return Made(rows=sum(map(_rows_of, tables)), counts=counts, files=names)


def _ids(daft: Any, pool: Pool, tables: Sequence[Path]) -> Any:
    """Daft's frame of `value`, what makes rows the same, and `path`, the table; of fetched rows alone."""
    paths = [_literal(table) for table in tables]
    frame = daft.read_parquet(paths, file_path_column="path", ignore_corrupt_files=True)
    if has_column(pool, "status"):
        frame = frame.where(frame[pool.columns["status"]] == FETCHED)
    if has_column(pool, "uid"):
        value = _padded(daft, frame[pool.columns["uid"]])
    else:
        value = frame[pool.columns["text"]].fill_null("") + frame[pool.columns["url"]].fill_null("")
    return frame.select(value.alias("value"), frame["path"])


def _literal(path: Path) -> str:
    """A path as Daft, which takes names for patterns, finds it."""
    return re.sub(r"([*?\[\]{}])", r"[\1]", str(path))


def _padded(daft: Any, uid: Any) -> Any:
    return uid.lower().lpad(32, daft.lit("0"))


def _uids_in(pool: Pool, values: Sequence[str]) -> Uids:
    return uids_of(values) if has_column(pool, "uid") else made_uids(values, [""] * len(values))


def _answer(frame: Any) -> pa.Table:
    try:
        return frame.to_arrow()
    except (OSError, ValueError) as error:  # DaftCoreException is a ValueError
        raise DataError(f"The tables cannot be read: {reason_of(error)}.") from error


def _files_of(tables: Path) -> list[Path]:
    files = [tables] if tables.is_file() else sorted(tables.glob("*.parquet"))
    if not files:
        raise ConfigError(f"The setting columns names {tables}, which holds no parquet table.")
    return files


def _groups_of(rows: Sequence[int]) -> list[tuple[int, int]]:
    """First and last table of groups that have about ROWS_PER_QUESTION rows."""
    ends = np.cumsum(rows) // ROWS_PER_QUESTION
    edges = [0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), len(rows)]
    return [(first, last) for first, last in pairwise(edges) if last > first]


def _name(path: Any) -> str:
    return str(path).rpartition("/")[2]


def _rows_of(table: Path) -> int:
    """Rows of a table; none of one that cannot be read."""
    try:
        return num_rows(table)
    except DataError:
        return 0
