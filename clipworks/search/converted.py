"""An index of plain files (`snapshot.py`) made into a library: in memory to be asked, on disk by a build."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from clipworks.search import matrix, schema
from clipworks.search.exif import PictureFacts, read_time
from clipworks.search.snapshot import Snapshot, read_snapshot, remove_snapshot
from clipworks.search.writer import Batch, Record, Writer

_AT_ONCE = 4096


def in_memory(snapshot: Snapshot) -> tuple[sqlite3.Connection, matrix.Matrix]:
    """A database in memory and the vectors of an index of plain files: what a library is made of."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    schema.make_tables(connection)
    halves = np.asarray(snapshot.vectors, dtype=np.float16)
    writer = Writer(snapshot.folder, connection)
    writer.begin(snapshot.header)
    writer.write(Batch(new=list(zip(_records_of(snapshot), halves, strict=True))))
    return connection, matrix.Matrix(None, snapshot.header.dim, halves)


def import_snapshot(writer: Writer, out: Path) -> None:
    """Make a library of an index of plain files in the same folder; its vectors are taken over.

    The plain files go last: an import that is killed begins again.
    """
    snapshot = read_snapshot(out)
    writer.begin(snapshot.header)
    records = list(_records_of(snapshot))
    for start in range(0, len(records), _AT_ONCE):
        halves = np.asarray(snapshot.vectors[start : start + _AT_ONCE], dtype=np.float16)
        writer.write(Batch(new=list(zip(records[start : start + _AT_ONCE], halves, strict=True))))
    writer.put({"unmeasured": 0})
    remove_snapshot(out)


def _records_of(snapshot: Snapshot) -> Iterator[Record]:
    """The pictures of an index of plain files.

    Raises:
        DataError: a row is damaged.
    """
    for item, stamp in snapshot.entries():
        yield Record(
            id=item.id,
            sha256=bytes.fromhex(stamp.sha256),
            size_bytes=stamp.size_bytes,
            mtime_ns=stamp.mtime_ns,
            said=0,
            facts=PictureFacts(
                width=item.width,
                height=item.height,
                taken=read_time(item.taken),
                camera=item.camera,
                latitude=item.latitude,
                longitude=item.longitude,
                place=item.place,
                tags=item.tags,
            ),
            columns={
                "caption": item.caption,
                "licence": item.licence,
                "author": item.author,
                "source": item.source,
                "details": item.details,
            },
        )
