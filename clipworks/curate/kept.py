"""What a stage keeps of a table: the ids as a subset file, and the rows with all their columns."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from clipworks.curate.pool import PLACES, Pool, Rows, read_rows, sources_of
from clipworks.curate.subsets import merge_subsets, write_subset
from clipworks.curate.uids import UID, hex_of
from clipworks.errors import DataError
from clipworks.files import atomic_write, read_manifest
from clipworks.stage import Made, ShowProgress, Source, Workers, part_files, run_stage
from clipworks.tables import read_batches, read_table, write_table


def write_kept_rows(folder: Path, source: Source, kept: Sequence[Rows], *, copies_rows: bool = True) -> Made:
    """Write the ids of the rows that stay, their places, and if wanted the rows, in the table's order.

    `NAME.npy` is a subset file, `NAME.places` int64 [N], `NAME.parquet` the rows with all columns.

    Raises:
        DataError: the table cannot be read, or the folder cannot be written.
        OSError: the disk is full.
    """
    uids = np.concatenate([np.empty(0, UID), *(rows.uids for rows in kept)])
    places = np.concatenate([np.empty(0, np.int64), *(rows.places for rows in kept)])
    names = [f"{source.name}.npy", f"{source.name}{PLACES}"]
    write_subset(folder / names[0], uids)
    with atomic_write(folder / names[1]) as file:
        np.save(file, places)
    if copies_rows:
        names.append(f"{source.name}.parquet")
        write_table(folder / names[2], rows_at(Path(source.path), places))
    return Made(rows=len(uids), files=names)


def collect_rows(
    pool: Pool,
    out: Path,
    *,
    texts: Path | None = None,
    details: Mapping[str, Any] | None = None,
    workers: int = 1,
    cluster: Workers | None = None,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Write the rows that are left of a pool with all columns, those of scores too; a stage.

    Args:
        pool: what is read.
        out: the folder: `NAME.npy` with the ids and `NAME.parquet` with the rows.
        texts: a finished folder with `place` and `texts` of the rows that stay and no others.
        details: more that the folder is made with, as JSON values, for its manifest.
        workers: processes.
        cluster: where the work is done instead.
        show: told when a table is done.

    Raises:
        DataError: the folder cannot be written.
    """
    work = partial(_collect_table, pool=pool, texts=texts)
    sources = sources_of(pool, *([] if texts is None else [read_manifest(texts)["sources"]]))
    values = dict(details or {})
    return run_stage(
        work, sources, out, stage="rows", config=values, workers=workers, pool=cluster, show=show
    )


def _collect_table(source: Source, folder: Path, *, pool: Pool, texts: Path | None) -> Made:
    table = Path(source.path)
    try:
        chosen = None if texts is None else read_table(texts / table.name, ["place", "texts"])
        wanted = None if chosen is None else np.asarray(chosen["place"], np.int64)
        kept = [_of(rows, wanted) for rows in read_rows(pool, table, ())]
        places = np.concatenate([np.empty(0, np.int64), *(rows.places for rows in kept)])
        rows = rows_at(table, places)
        for other in pool.scores:
            beside = rows_at(other / table.name, places)
            for name in beside.schema.names:
                if name not in rows.schema.names:
                    rows = rows.append_column(name, beside[name])
        if chosen is not None:
            first = pc.list_element(chosen["texts"].combine_chunks(), 0).field("text")
            rows = _with_column(rows, pool.columns["text"], pa.chunked_array([first]))
            rows = _with_column(rows, "texts", chosen["texts"])
        else:
            rows = _with_column(rows, "texts", _captions(rows[pool.columns["text"]]))
    except DataError as error:
        return Made(rows=0, failure=str(error))
    uids = np.concatenate([np.empty(0, UID), *(one.uids for one in kept)])
    rows = _with_column(rows, "uid", pa.chunked_array([pa.array(hex_of(uids), pa.string())]))
    names = [f"{source.name}.npy", f"{source.name}.parquet"]
    write_subset(folder / names[0], uids)
    write_table(folder / names[1], rows)
    return Made(rows=len(rows), files=names)


def _of(rows: Rows, wanted: NDArray[np.int64] | None) -> Rows:
    slim = replace(rows, table=rows.table.select([]))
    return slim if wanted is None else slim.where(np.isin(rows.places, wanted))


def _captions(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Each text as a list of its own, as `collect pairs` writes them."""
    words = pc.fill_null(texts.cast(pa.string()), "").combine_chunks()
    keys = pa.array(["caption"] * len(words), pa.string())
    structs = pa.StructArray.from_arrays([keys, words], names=["key", "text"])
    offsets = pa.array(np.arange(len(words) + 1), pa.int32())
    return pa.chunked_array([pa.ListArray.from_arrays(offsets, structs)])


def _with_column(table: pa.Table, name: str, values: pa.ChunkedArray) -> pa.Table:
    if name in table.schema.names:
        return table.set_column(table.schema.get_field_index(name), name, values)
    return table.append_column(name, values)


def write_kept(folder: Path, out: Path, *, raw: bool = False) -> int:
    """The kept ids of a finished stage as one subset file, sorted; how many they are.

    Raises:
        DataError: the folder is unfinished or a file of it is damaged.
        OSError: the disk is full or cannot be written.
    """
    return merge_subsets(list(part_files(folder, ".npy")), out, raw=raw)


def rows_at(table: Path, places: NDArray[np.int64]) -> pa.Table:
    """Rows of a table at ascending places, with all columns.

    Raises:
        DataError: it cannot be read.
    """
    pieces, first = list[pa.RecordBatch](), 0
    for batch in read_batches(table):
        inside = places[(places >= first) & (places < first + len(batch))] - first
        pieces.append(batch.take(pa.array(inside)))
        first += len(batch)
    return pa.Table.from_batches(pieces) if pieces else read_table(table)
