"""The order of work: rows of all tables, shuffled by the hash of their uid, in shards of equal size.

Hosts are spread over shards and the order of files and rows changes nothing. Rows go through buckets on
disk, so that memory depends on the size of a bucket and not on the number of rows.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa

from clipworks.collect.lists import LinkList, guess_rows, read_list
from clipworks.errors import DataError, reason_of
from clipworks.files import is_complete, read_manifest, write_manifest
from clipworks.stage import Source
from clipworks.tables import write_table

ROWS_PER_BUCKET = 32_768
MAX_BUCKETS = 512
"""Files open at once; beyond 16.8 million rows the buckets, and the memory, grow."""

ORDER = "order"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Where the rows of each shard are."""

    folder: Path
    rows: int
    shards: int
    digest: str

    def sources(self, first: int = 0) -> list[Source]:
        """A source for each shard, its path relative to the folder around the plan; numbered from `first`."""
        return [
            Source(
                name=f"{first + number:05d}",
                path=f"{self.folder.name}/{number:05d}.parquet",
                digest=sha256(f"{self.digest} {number}".encode()).hexdigest(),
            )
            for number in range(self.shards)
        ]

    def has_rows(self) -> bool:
        """Whether the rows of all shards are there."""
        return all((self.folder.parent / source.path).exists() for source in self.sources())

    def drop_rows(self) -> None:
        """Give the disk back once the shards are made; what the plan is remains known."""
        for path in self.folder.glob("*.parquet"):
            path.unlink()


def make_plan(links: LinkList, folder: Path, *, rows_per_shard: int) -> Plan:
    """Shuffle all rows into `folder`, or take the plan that is there.

    Args:
        links: what is read.
        folder: replaced, unless it holds the plan of the same rows, or these are in shards already: the
            folder around it is finished.
        rows_per_shard: in all shards but the last.

    Raises:
        DataError: a file is damaged, there are no rows, or the disk is full.
    """
    digest = sha256(f"{links.digest} {rows_per_shard}".encode()).hexdigest()
    if is_complete(folder):
        old = read_manifest(folder)
        plan = Plan(folder=folder, rows=old["rows"], shards=old["shards"], digest=str(old["digest"]))
        if plan.digest == digest and (plan.has_rows() or is_complete(folder.parent)):
            return plan
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        num_buckets = min(MAX_BUCKETS, 1 + guess_rows(links) // ROWS_PER_BUCKET)
        schema = _scatter(links, folder, num_buckets)
        rows, shards = _gather(folder, schema, num_buckets, rows_per_shard)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written: {reason_of(error)}.", "Make room and repeat the command."
        ) from error
    if not rows:
        raise DataError("There are no rows to fetch.")
    write_manifest(folder, {"rows": rows, "shards": shards, "digest": digest})
    return Plan(folder=folder, rows=rows, shards=shards, digest=digest)


def order_of(uid: str) -> int:
    """Where a row stands among all: uint64, the first 8 bytes of sha256 over the uid."""
    return int.from_bytes(sha256(uid.encode(errors="surrogatepass")).digest()[:8], "big")


def _scatter(links: LinkList, folder: Path, num_buckets: int) -> pa.Schema:
    """Rows to buckets by the upper bits of their place."""
    schema: pa.Schema | None = None
    with ExitStack() as stack:
        files = list[pa.RecordBatchStreamWriter]()
        for batch in read_list(links):
            places = np.array([order_of(uid) for uid in batch.column("uid").to_pylist()], np.uint64)
            batch = batch.append_column(ORDER, pa.array(places, pa.uint64()))
            if schema is None:
                schema = batch.schema
                for number in range(num_buckets):
                    stream = stack.enter_context(open(_bucket(folder, number), "wb", buffering=16 << 10))
                    files.append(stack.enter_context(pa.ipc.new_stream(stream, schema)))
            buckets = (places >> np.uint64(32)) * np.uint64(num_buckets) >> np.uint64(32)
            order = np.argsort(buckets, kind="stable")
            ends = np.searchsorted(buckets[order], np.arange(num_buckets), side="right")
            sorted_batch = batch.take(pa.array(order))
            begin = 0
            for number, end in enumerate(ends.tolist()):
                if end > begin:
                    files[number].write_batch(sorted_batch.slice(begin, end - begin))
                begin = end
    if schema is None:
        raise DataError("There are no rows to fetch.")
    return schema


def _gather(folder: Path, schema: pa.Schema, num_buckets: int, rows_per_shard: int) -> tuple[int, int]:
    """Buckets, sorted, to shards; rows and shards."""
    rows = shards = 0
    waiting = schema.empty_table()
    for table in _sorted_buckets(folder, num_buckets):
        rows += table.num_rows
        waiting = pa.concat_tables([waiting, table])
        while waiting.num_rows >= rows_per_shard:
            _write_shard(folder, shards, waiting.slice(0, rows_per_shard))
            waiting = waiting.slice(rows_per_shard)
            shards += 1
        waiting = waiting.combine_chunks()
    if waiting.num_rows:
        _write_shard(folder, shards, waiting)
        shards += 1
    return rows, shards


def _sorted_buckets(folder: Path, num_buckets: int) -> Iterator[pa.Table]:
    for number in range(num_buckets):
        path = _bucket(folder, number)
        with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
            table = reader.read_all()
        path.unlink()
        yield table.sort_by([(ORDER, "ascending"), ("uid", "ascending"), ("url", "ascending")])


def _write_shard(folder: Path, number: int, table: pa.Table) -> None:
    write_table(folder / f"{number:05d}.parquet", table.drop_columns([ORDER]))


def _bucket(folder: Path, number: int) -> Path:
    return folder / f"bucket-{number:03d}.arrow"
