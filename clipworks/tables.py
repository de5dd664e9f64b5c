"""Row tables on disk: parquet files that are whole or not there. The owner of pyarrow for stages.

The same rows give the same bytes: compression, row groups and versions are fixed here.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clipworks.errors import DataError, reason_of
from clipworks.files import atomic_write

ROWS_PER_GROUP = 16_384

_DAMAGE = (OSError, pa.ArrowException)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as zstd parquet, atomically; equal tables give equal bytes.

    Raises:
        DataError: the disk is full or cannot be written.
    """
    try:
        with atomic_write(path) as file:
            pq.write_table(table, file, compression="zstd", row_group_size=ROWS_PER_GROUP, version="2.6")
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {reason_of(error)}.",
            "Make room and repeat the command: it goes on where it stopped.",
        ) from error


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table, or some of its columns.

    Raises:
        DataError: the file is missing, damaged, or lacks a column.
    """
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow, columns)
            return file.read(None if columns is None else list(columns))
    except _DAMAGE as error:
        raise _unreadable(path, error) from error


def read_batches(
    path: Path, columns: Sequence[str] | None = None, *, rows: int = ROWS_PER_GROUP
) -> Iterator[pa.RecordBatch]:
    """Read a table in pieces of at most `rows` rows, so that memory does not grow with the file.

    Raises:
        DataError: as in `read_table`.
    """
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow, columns)
            yield from file.iter_batches(rows, columns=None if columns is None else list(columns))
    except _DAMAGE as error:
        raise _unreadable(path, error) from error


def column_names(path: Path) -> tuple[str, ...]:
    """Names of a table's columns, from its end alone.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        return tuple(pq.read_schema(path).names)
    except _DAMAGE as error:
        raise _unreadable(path, error) from error


def num_rows(path: Path) -> int:
    """Rows of a table, from its end alone.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        return int(pq.read_metadata(path).num_rows)
    except _DAMAGE as error:
        raise _unreadable(path, error) from error


def _check_columns(path: Path, schema: pa.Schema, columns: Sequence[str] | None) -> None:
    missing = [name for name in columns or () if name not in schema.names]
    if missing:
        raise DataError(f"{path} has no column {missing[0]!r}; it has {', '.join(schema.names)}.")


def _unreadable(path: Path, error: BaseException) -> DataError:
    return DataError(f"{path} cannot be read as parquet: {reason_of(error)}.")
