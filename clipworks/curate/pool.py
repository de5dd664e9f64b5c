"""A pool of pictures as filters read it: parquet tables with a row per picture, features beside them.

A table `NAME.parquet` may have `NAME.npz` with arrays of the same rows (DataComp: b32_img, b32_txt,
l14_img, l14_txt). A small mapping says which column is which; both DataComp's and img2dataset's are here.
Further folders may add columns: tables of the same names and rows, such as scores.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clipworks.curate.uids import Uids, made_uids, uids_of
from clipworks.errors import ConfigError, DataError, reason_of
from clipworks.files import NPZ_DAMAGE, STAGE, is_complete, sha256_file
from clipworks.stage import Source, part_files
from clipworks.tables import column_names, num_rows, read_batches

Columns = Mapping[str, str]
"""What a rule asks for -> the column that holds it."""

Mask = NDArray[np.bool_]

DATACOMP: Columns = {
    "uid": "uid",
    "url": "url",
    "text": "text",
    "width": "original_width",
    "height": "original_height",
    "b32": "clip_b32_similarity_score",
    "l14": "clip_l14_similarity_score",
    "faces": "face_bboxes",
    "sha256": "sha256",
    "phash": "phash",
}
IMG2DATASET: Columns = {
    **DATACOMP,
    "text": "caption",
    "status": "status",
    "md5": "md5",
    "texts": "texts",
}
LAYOUTS: dict[str, Columns] = {"datacomp": DATACOMP, "img2dataset": IMG2DATASET}

_OPTIONAL = ("status", "texts")
"""Names that a pool has only if its tables have the column."""

PLACES = ".places"
"""Ending of an array of the rows that are kept."""

FETCHED = "success"
"""What img2dataset writes into `status` of a row that has its picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """Tables, what their columns mean, and folders with further columns."""

    tables: tuple[Path, ...]
    """In the order of the result; their names differ."""
    columns: Columns
    """A name that is no known quantity becomes one."""
    scores: tuple[Path, ...] = ()
    """Folders with tables of the same names and rows; their columns are asked for by their own names."""
    within: Path | None = None
    """Folder of a finished filter or deduplication of these tables: what it dropped is passed over."""
    copies_rows: bool = True
    """Whether a filter or deduplication writes the rows that it keeps beside their ids and places."""

    @property
    def sample(self) -> Path:
        """The first table that can be read, for a look at its columns.

        Raises:
            DataError: none of them can.
        """
        return first_readable(self.tables)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Some rows of one table."""

    table: pa.Table
    """Under the names that rules ask for."""
    uids: Uids
    """UID [N]"""
    places: NDArray[np.int64]
    """Where the rows stand in the whole table, from 0; [N]."""
    paths: tuple[Path, ...]
    """The table and those of scores beside it: where features are looked for."""

    def __len__(self) -> int:
        return len(self.places)

    def numbers(self, name: str) -> NDArray[Any]:
        """A column of numbers in its own type; what is missing is NaN."""
        values: NDArray[Any] = self.table[name].to_numpy()
        return values

    def texts(self, name: str = "text") -> list[str]:
        """A column of words; what is missing is empty."""
        return ["" if text is None else text for text in self.table[name].to_pylist()]

    def features(self, name: str) -> NDArray[Any]:
        """An array beside the table, the lines of these rows.

        Raises:
            DataError: there is no such file or array, it is damaged, or it has another number of rows.
        """
        return read_features(self.paths, name)[self.places]

    def where(self, mask: Mask) -> "Rows":
        """The rows where the mask is true."""
        return Rows(
            table=self.table.filter(pa.array(mask)),
            uids=self.uids[mask],
            places=self.places[mask],
            paths=self.paths,
        )


def open_pool(folder: Path, *, layout: str = "", scores: Sequence[Path] = ()) -> Pool:
    """A folder of tables as a pool.

    Args:
        folder: a finished stage's, or any folder of parquet files, read by name.
        layout: `datacomp` or `img2dataset`; otherwise it is told by the first table's columns.
        scores: folders with further columns.

    Raises:
        ConfigError: the layout is unknown.
        DataError: there is no table, a folder of scores lacks one, or the first cannot be read.
    """
    if layout and layout not in LAYOUTS:
        near = get_close_matches(layout, LAYOUTS, n=3, cutoff=0.0)
        raise ConfigError(f"There is no layout {layout!r}.", f"Nearest: {', '.join(near)}.")
    is_ours = is_complete(folder) or (folder / STAGE).exists()  # an unfinished one is refused by part_files
    if not is_ours and not folder.is_dir():
        reason = "it is a file" if folder.exists() else "it does not exist"
        raise DataError(f"{folder} is not a folder of tables: {reason}.")
    tables = tuple(part_files(folder, ".parquet") if is_ours else sorted(folder.glob("*.parquet")))
    if not tables:
        raise DataError(f"{folder} holds no .parquet file.", "Give a folder of metadata or fetched shards.")
    for table in tables:
        for other in scores:
            if not (other / table.name).is_file():
                raise DataError(f"{other} lacks {table.name}.", "Make the scores of this very folder.")
    first = first_readable(tables)
    names = _names(first)
    columns = LAYOUTS[layout] if layout else IMG2DATASET if "caption" in names else DATACOMP
    columns = {name: column for name, column in columns.items() if name not in _OPTIONAL or name in names}
    return with_scores(Pool(tables=tables, columns=columns), scores)


def with_scores(pool: Pool, folders: Sequence[Path]) -> Pool:
    """A pool with further folders of columns; what they hold is found by its own name, or by the pool's.

    Raises:
        DataError: a table of theirs cannot be read.
    """
    own = {n: n for other in folders for n in _names(_sample_of(other, pool.tables)) if n != "uid"}
    return replace(pool, columns={**pool.columns, **own}, scores=(*pool.scores, *folders))


def has_features(pool: Pool, name: str) -> bool:
    """Whether an array of this name stands beside the first table, or beside that of scores."""
    beside = (pool.sample, *(_sample_of(folder, pool.tables) for folder in pool.scores))
    for table in beside:
        with suppress(DataError):
            read_features((table,), name)
            return True
    return False


def first_readable(tables: Sequence[Path]) -> Path:
    """The first table that can be read.

    Raises:
        DataError: none of them can; the words are those of the first.
    """
    for table in tables:
        with suppress(DataError):
            _names(table)
            return table
    _names(tables[0])
    raise AssertionError("a table was damaged and then was not")


def has_column(pool: Pool, name: str) -> bool:
    """Whether the pool's tables, or those of scores, hold what a name asks for."""
    column = pool.columns.get(name)
    beside = (_sample_of(folder, pool.tables) for folder in pool.scores)
    return column is not None and any(column in _names(path) for path in (pool.sample, *beside))


def places_within(folder: Path, table: Path) -> NDArray[np.int64]:
    """Which rows of a table a finished filter or deduplication has kept, ascending, int64 [N].

    None of a table that it could not read.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / f"{table.stem}{PLACES}"
    try:
        places: NDArray[np.int64] = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return np.empty(0, np.int64)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read: {reason_of(error)}.", "Delete its folder and repeat."
        ) from error
    return places


def read_rows(
    pool: Pool, table: Path, names: Sequence[str], *, where_there: Sequence[str] = ()
) -> Iterator[Rows]:
    """A table in pieces, with the columns that are asked for, those `where_there` if it has them, and the id
    of each row.

    Rows that img2dataset could not fetch are passed over. Where a table has no column of ids, the id is
    md5(text + url).

    Raises:
        DataError: a column is missing, the table is damaged, or a table of scores has other rows.
    """
    known = _names(table)
    kept = None if pool.within is None else places_within(pool.within, table)
    has_uid = pool.columns.get("uid", "") in known
    names = [*names, *(name for name in where_there if _find(pool, table, name))]
    wanted = [*dict.fromkeys([*names, *(["uid"] if has_uid else ["text", "url"])])]
    wanted += ["status"] if "status" in pool.columns and "status" not in wanted else []
    own = [name for name in wanted if _place_of(pool, table, name) == table]
    others: dict[Path, list[str]] = {other / table.name: [] for other in pool.scores}
    for name in wanted:
        if name not in own:
            others[_place_of(pool, table, name)].append(name)
    first, paths = 0, (table, *(other / table.name for other in pool.scores))
    sources = [read_batches(table, [pool.columns[name] for name in own])]
    sources += [read_batches(path, [pool.columns[n] for n in some]) for path, some in others.items() if some]
    titles = own + [name for some in others.values() for name in some]
    for batches in _side_by_side(sources, table):
        arrays = [array for batch in batches for array in batch.columns]
        piece = pa.Table.from_arrays([pa.chunked_array([array]) for array in arrays], names=titles)
        uids = uids_of(piece["uid"].to_pylist()) if has_uid else _made(piece)
        places = np.arange(first, first + len(piece), dtype=np.int64)
        first += len(piece)
        rows = Rows(table=piece, uids=uids, places=places, paths=paths)
        if kept is not None:
            rows = rows.where(_marks(kept, places))
        if "status" in wanted:
            rows = rows.where(np.array([word == FETCHED for word in rows.texts("status")], np.bool_))
        yield rows


def sources_of(pool: Pool, *names: str) -> list[Source]:
    """A source for each table, for `run_stage`; its digest covers the features and scores beside it."""
    words = dumps(dict(pool.columns), sort_keys=True)
    return [
        Source(name=table.stem, path=str(table), digest=_digest(pool, table, words, *names))
        for table in pool.tables
    ]


@lru_cache(maxsize=2)
def read_features(tables: tuple[Path, ...], name: str) -> NDArray[Any]:
    """An array of the first `.npz` beside these tables that has it, [rows, D]; the last two are kept.

    Raises:
        DataError: none has it, or it is damaged or has another number of rows.
    """
    files = [path for path in (table.with_suffix(".npz") for table in tables) if path.exists()]
    for path in files:
        try:
            with np.load(path, allow_pickle=False) as file:
                if name not in file.files:
                    continue
                array: NDArray[Any] = file[name]
        except NPZ_DAMAGE as error:
            raise DataError(f"{path} cannot be read as .npz: {reason_of(error)}.") from error
        rows = num_rows(tables[0])
        if array.ndim != 2 or len(array) != rows:
            raise DataError(f"{path} has {name} {list(array.shape)}, but {tables[0].name} has {rows} rows.")
        return array
    looked = ", ".join(map(str, files)) or f"no {tables[0].with_suffix('.npz')}"
    raise DataError(
        f"There is no array {name!r} of {tables[0]}: {looked}.", "Make it with the scores of a model."
    )


def _sample_of(folder: Path, tables: Sequence[Path]) -> Path:
    """The first table of scores that is there: one whose pictures could not be read has none."""
    places = [folder / table.name for table in tables]
    return next((place for place in places if place.exists()), places[0])


def _place_of(pool: Pool, table: Path, name: str) -> Path:
    """The table that holds a column: the pool's own, or one of scores."""
    column = pool.columns.get(name)
    if column is None:
        raise DataError(f"{table} has no column for {name!r}.", "Name it in the mapping of columns.")
    path = _find(pool, table, name)
    if path is not None:
        return path
    raise DataError(
        f"{table} has no column {column!r}, which holds {name!r}.",
        f"It has {', '.join(_names(table))}.",
    )


def _find(pool: Pool, table: Path, name: str) -> Path | None:
    places = (table, *(folder / table.name for folder in pool.scores))
    return next((path for path in places if pool.columns.get(name) in _names(path)), None)


def _side_by_side(
    sources: Sequence[Iterator[pa.RecordBatch]], table: Path
) -> Iterator[tuple[pa.RecordBatch, ...]]:
    try:
        for batches in zip(*sources, strict=True):
            if len({len(batch) for batch in batches}) > 1:
                raise ValueError
            yield batches
    except ValueError as error:
        raise DataError(
            f"{table.name} and the scores beside it have different numbers of rows.",
            "Make the scores again.",
        ) from error


def _marks(kept: NDArray[np.int64], places: NDArray[np.int64]) -> Mask:
    """Which of neighbouring places are kept, bool [N]."""
    marks = np.zeros(len(places), np.bool_)
    if len(places):
        first, last = np.searchsorted(kept, [places[0], places[-1] + 1])
        marks[kept[first:last] - places[0]] = True
    return marks


def _made(piece: pa.Table) -> Uids:
    texts, urls = (["" if v is None else v for v in piece[n].to_pylist()] for n in ("text", "url"))
    return made_uids(texts, urls)


_names = lru_cache(maxsize=64)(column_names)


def _digest(pool: Pool, table: Path, *words: str) -> str:
    beside = [folder / table.name for folder in pool.scores]
    if pool.within is not None:
        beside.append(pool.within / f"{table.stem}{PLACES}")
    parts = [_hash_of(path, *_state(path)) for path in (table, *beside)]
    parts[1:1] = words
    arrays = [path.with_suffix(".npz") for path in (table, *beside)]
    parts += [f"{path.stat().st_size} {path.stat().st_mtime_ns}" for path in arrays if path.exists()]
    return sha256("\n".join(parts).encode()).hexdigest()


def _state(path: Path) -> tuple[int, int]:
    """Size and time of a file; of one that is not there, -1."""
    try:
        return path.stat().st_size, path.stat().st_mtime_ns
    except FileNotFoundError:
        return -1, -1


@lru_cache(maxsize=1 << 20)
def _hash_of(path: Path, size: int, time: int) -> str:
    """The hash of a file as it is now: several stages look at one table, which is read once."""
    return "" if size < 0 else sha256_file(path)
