"""Rows sorted into buckets on disk, so that what belongs together can be looked at without the rest.

Each table leaves one file of records in the order of their buckets and one of where each bucket begins. A
bucket is then read from all files: memory is one bucket, whatever the rows.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.curate.uids import Uids
from clipworks.errors import DataError, reason_of
from clipworks.files import atomic_write

Records = NDArray[Any]
"""Structured [N]: group, value (uint64), f0, f1 (the id), table, row (uint32), and x, the features."""


def record_type(dim: int = 0) -> np.dtype[Any]:
    """The dtype of records, with `dim` features each."""
    names = [
        ("group", "<u8"),
        ("value", "<u8"),
        ("f0", "<u8"),
        ("f1", "<u8"),
        ("table", "<u4"),
        ("row", "<u4"),
    ]
    return np.dtype([*names, ("x", "<f4", (dim,))] if dim else names)


def make_records(
    uids: Uids,
    groups: NDArray[np.uint64],
    values: NDArray[np.uint64],
    *,
    table: int,
    rows: NDArray[np.int64],
    features: NDArray[Any] | None = None,
) -> Records:
    """Records of rows of one table."""
    records = np.empty(len(uids), record_type(0 if features is None else features.shape[1]))
    records["group"], records["value"] = groups, values
    records["f0"], records["f1"] = uids["f0"], uids["f1"]
    records["table"], records["row"] = table, rows
    if features is not None:
        records["x"] = features
    return records


def write_spill(folder: Path, name: str, records: Records, num_buckets: int) -> list[str]:
    """Write a table's records in the order of their buckets; the names of the files.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    buckets = _bucket_of(records["group"], num_buckets)
    order = np.argsort(buckets, kind="stable")
    starts = np.searchsorted(buckets[order], np.arange(num_buckets + 1)).astype(np.int64)
    for suffix, array in (("records", records[order]), ("starts", starts)):
        with atomic_write(folder / f"{name}.{suffix}.npy") as file:
            np.save(file, array)
    return [f"{name}.records.npy", f"{name}.starts.npy"]


def read_bucket(spills: Sequence[Path], bucket: int) -> Records:
    """All records of a bucket; `spills` are the files that end with `.records.npy`.

    Raises:
        DataError: a file is missing or damaged.
    """
    pieces = []
    for path in spills:
        starts_path = path.with_name(path.name.replace(".records.", ".starts."))
        try:
            records = np.load(path, mmap_mode="r", allow_pickle=False)
            first, last = np.load(starts_path, mmap_mode="r", allow_pickle=False)[bucket : bucket + 2]
            pieces.append(np.array(records[first:last]))
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"{path} cannot be read: {reason_of(error)}.", "Delete its folder and repeat."
            ) from error
    return np.concatenate(pieces) if pieces else np.empty(0, record_type())


def _bucket_of(groups: NDArray[np.uint64], num_buckets: int) -> NDArray[np.int64]:
    """Which bucket a group belongs to: its hash, so that neighbours do not pile up."""
    mixed = groups * np.uint64(0x9E3779B97F4A7C15)
    return ((mixed ^ (mixed >> np.uint64(32))) % np.uint64(num_buckets)).astype(np.int64)
