"""One shard in img2dataset's layout: NNNNN.tar, NNNNN.parquet with every row, NNNNN_stats.json.

Pictures arrive in any order and wait in a file without a name; the tar is written in the order of the
rows, so that the same answers of the web give the same bytes.
"""

import io
import json
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from clipworks.files import atomic_write, write_json
from clipworks.tables import write_table

ROW_DIGITS = 4
"""Digits of a row in its key: shards have at most 10,000 rows, as those of img2dataset have by default."""

FETCHED = pa.schema(
    [
        ("key", pa.string()),
        ("status", pa.string()),
        ("error_message", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("exif", pa.string()),
        ("sha256", pa.string()),
        ("md5", pa.string()),
        ("reason", pa.string()),
        ("http_status", pa.int32()),
        ("final_url", pa.string()),
        ("bytes", pa.int64()),
    ]
)
"""The columns that fetching adds; those up to sha256 are img2dataset's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one row."""

    status: str
    """`success`, `failed_to_download` or `failed_to_resize`."""
    error_message: str | None = None
    reason: str = "ok"
    """One word for counting."""
    width: int | None = None
    height: int | None = None
    original_width: int | None = None
    original_height: int | None = None
    exif: str | None = None
    sha256: str | None = None
    """Of the file as it was found, hex; so is md5."""
    md5: str | None = None
    http_status: int | None = None
    final_url: str | None = None
    bytes: int | None = None
    """Of the file as it was found."""
    place: tuple[int, int] | None = None
    """Where the kept picture lies in the waiting file: offset and bytes."""


class ShardFiles:
    """Writes one shard; `close` throws away what waits.

    Args:
        folder: where it goes.
        name: five digits or more.
        extension: of pictures in the tar.
    """

    def __init__(self, folder: Path, name: str, extension: str) -> None:
        self._folder = folder
        self._name = name
        self._extension = extension
        self._waiting: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by close()
        self._started = time.time()

    def close(self) -> None:
        """Give the waiting file's disk back."""
        self._waiting.close()

    def put(self, data: bytes) -> tuple[int, int]:
        """Keep a picture until the shard is written; where it lies."""
        offset = self._waiting.seek(0, io.SEEK_END)
        self._waiting.write(data)
        return offset, len(data)

    def write(self, rows: pa.Table, outcomes: Sequence[Outcome]) -> list[str]:
        """Write the three files; the names of those that are the same whenever they are made.

        Args:
            rows: the input's rows: url, caption, uid and others.
            outcomes: one for each row, in their order.
        """
        keys = [f"{self._name}{number:0{ROW_DIGITS}d}" for number in range(len(outcomes))]
        with (
            atomic_write(self._folder / f"{self._name}.tar") as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            self._write_samples(tar, rows, keys, outcomes)
        columns = {name: rows.column(name) for name in rows.schema.names}
        for field in FETCHED:
            values = keys if field.name == "key" else [getattr(one, field.name) for one in outcomes]
            columns[field.name] = pa.chunked_array([pa.array(values, field.type)])
        write_table(self._folder / f"{self._name}.parquet", pa.table(columns))
        write_json(self._folder / f"{self._name}_stats.json", self._stats(outcomes))
        return [f"{self._name}.tar", f"{self._name}.parquet"]

    def _write_samples(
        self, tar: tarfile.TarFile, rows: pa.Table, keys: Sequence[str], outcomes: Sequence[Outcome]
    ) -> None:
        number = 0
        for batch in rows.to_batches(max_chunksize=256):
            for row in batch.to_pylist():
                key, outcome = keys[number], outcomes[number]
                number += 1
                if outcome.place is None:
                    continue
                offset, size = outcome.place
                self._waiting.seek(offset)
                _add(tar, f"{key}.{self._extension}", self._waiting.read(size))
                _add(tar, f"{key}.txt", (row.get("caption") or "").encode(errors="surrogatepass"))
                details = json.dumps(_details(row, key, outcome), indent=4, default=_as_text)
                _add(tar, f"{key}.json", details.encode())

    def _stats(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        """What img2dataset counts; times make this the one file that differs from run to run."""
        statuses = Counter(one.status for one in outcomes)
        words = Counter(one.error_message or one.status for one in outcomes)
        now = time.time()
        return {
            "count": len(outcomes),
            "successes": statuses["success"],
            "failed_to_download": statuses["failed_to_download"],
            "failed_to_resize": statuses["failed_to_resize"],
            "duration": now - self._started,
            "start_time": self._started,
            "end_time": now,
            "status_dict": dict(words.most_common()),
        }


def _details(row: Mapping[str, Any], key: str, outcome: Outcome) -> dict[str, Any]:
    details = dict(row)
    for field in FETCHED:
        details[field.name] = key if field.name == "key" else getattr(outcome, field.name)
    return details


def _as_text(value: object) -> str:
    """What JSON has no form for, such as bytes and times."""
    return value.hex() if isinstance(value, bytes) else str(value)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
