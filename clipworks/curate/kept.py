"""What a stage keeps of a table: the ids as a subset file, and the rows with all their columns."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clipworks.curate.pool import Rows
from clipworks.curate.subsets import merge_subsets, write_subset
from clipworks.curate.uids import UID
from clipworks.stage import Made, Source, part_files
from clipworks.tables import read_batches, read_table, write_table


def write_kept_rows(folder: Path, source: Source, kept: Sequence[Rows]) -> Made:
    """Write `NAME.npy` and `NAME.parquet` of the rows that stay, in the order of the table.

    Raises:
        DataError: the table cannot be read, or the folder cannot be written.
        OSError: the disk is full.
    """
    uids = np.concatenate([np.empty(0, UID), *(rows.uids for rows in kept)])
    places = np.concatenate([np.empty(0, np.int64), *(rows.places for rows in kept)])
    names = [f"{source.name}.npy", f"{source.name}.parquet"]
    write_table(folder / names[1], rows_at(Path(source.path), places))
    write_subset(folder / names[0], uids)
    return Made(rows=len(uids), files=names)


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
