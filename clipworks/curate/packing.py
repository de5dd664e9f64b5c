"""One new shard, made of the listed samples that fall into it."""

import json
import tarfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import chain, groupby
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from clipworks.curate.faces import blur_faces
from clipworks.curate.uids import SHUFFLE, hashes_of, uids_of
from clipworks.errors import ConfigError, DataError, InputError
from clipworks.files import atomic_write, read_manifest, write_json
from clipworks.stage import Made, Source
from clipworks.tables import read_table, write_table
from clipworks.tars import Member, read_member

MAX_OPEN_TARS = 64
MAX_OPEN_TABLES = 16
_IMAGES = ("jpg", "jpeg", "png", "webp")

Row = dict[str, Any]
"""A row of the index: tar, uid, copies, faces, members, and where it stands in the chosen rows, if any."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReshardConfig:
    """How shards are packed anew."""

    samples_per_shard: int = 10_000
    """Upper bound, 1 or more."""
    shuffle: int = 0
    """Samples that are shuffled among each other; 0 keeps the order. DataComp's is a buffer of that size."""
    seed: int = 0
    """Of the shuffle, 0 or more."""
    blur_faces: bool = False
    """Blur the boxes of `face_bboxes`; such pictures become WebP files."""
    keep_boxes: bool = False
    """Write `face_bboxes` into a sample's json."""

    def __post_init__(self) -> None:
        for name, least in (("samples_per_shard", 1), ("shuffle", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be {least} or more.")


def pack_shard(source: Source, folder: Path, *, index: Path, config: ReshardConfig) -> Made:
    """Write `NAME.tar` and `NAME_stats.json`; the source's path is the shard's number.

    Where rows were chosen, `NAME.parquet` has them in the order of the tar, and the texts of each are those
    of its row. A sample whose bytes are gone, or whose faces cannot be blurred, is left out and counted.

    Raises:
        DataError: the index is damaged.
    """
    first = int(source.path) * config.samples_per_shard
    chosen = samples_between(index, first, first + config.samples_per_shard, config)
    counts, packed, rows = Counter[str](), list[tuple[str, Row]](), _ChosenRows()
    path, stats = folder / f"{source.name}.tar", folder / f"{source.name}_stats.json"
    with (
        _OpenTars() as tars,
        atomic_write(path) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for row, copy in chosen:
            key = f"{row['uid']}-{copy}"
            files = _with_texts(_files_of(row, tars, config, counts), rows.texts_of(row))
            for suffix, data in files.items():
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(data)
                tar.addfile(member, BytesIO(data))
            packed += [(key, row)] * bool(files)
    write_json(stats, {"successes": len(packed)})
    names = [path.name, stats.name]
    if any(row["rows"] for _, row in packed):
        names.append(f"{source.name}.parquet")
        write_table(folder / names[2], rows.table_of(packed))
    return Made(rows=len(packed), counts=counts, files=names)


def samples_between(index: Path, first: int, last: int, config: ReshardConfig) -> list[tuple[Row, int]]:
    """The rows and copies at places first .. last - 1 of the new order.

    The order is that of the tars. With a shuffle, each window of so many samples is sorted by a hash of
    seed, id and copy.

    Raises:
        DataError: the index is damaged.
    """
    window = config.shuffle or 1
    low, high = first // window * window, -(-last // window) * window
    listed, start = list[tuple[Row, int]](), 0
    for part in read_manifest(index)["parts"]:
        copies = part["counts"].get("copies", 0)
        if copies and start < high and start + copies > low:
            table = read_table(index / f"{part['name']}.parquet")
            every = [(row, copy) for row in table.to_pylist() for copy in range(row["copies"])]
            listed += every[max(low - start, 0) : high - start]
        start += copies
    if config.shuffle:
        windows = (listed[n : n + window] for n in range(0, len(listed), window))
        listed = list(chain.from_iterable(_shuffled(some, config.seed) for some in windows))
    return listed[first - low : last - low]


def _shuffled(listed: list[tuple[Row, int]], seed: int) -> list[tuple[Row, int]]:
    uids = uids_of([row["uid"] for row, _ in listed])
    copies = np.array([copy for _, copy in listed], np.uint64)
    draws = hashes_of(uids, seed, stream=np.uint64(SHUFFLE) + copies)
    return [listed[place] for place in np.argsort(draws, kind="stable")]


def _files_of(row: Row, tars: "_OpenTars", config: ReshardConfig, counts: Counter[str]) -> dict[str, bytes]:
    """The files of a sample by suffix; none if it must be left out."""
    try:
        file = tars.open(row["tar"])
        files = {values["suffix"]: read_member(file, Member(**values)) for values in row["members"]}
        if any(len(files[values["suffix"]]) != values["num_bytes"] for values in row["members"]):
            raise DataError(f"{row['tar']} has been cut since it was listed.")
    except (OSError, DataError):
        counts["unreadable"] += 1
        return {}
    if row["faces"] and config.keep_boxes:
        files["json"] = json.dumps(
            json.loads(files["json"]) | {"face_bboxes": row["faces"]}, ensure_ascii=False
        ).encode()
    if row["faces"] and config.blur_faces:
        suffix = next((name for name in _IMAGES if name in files), "")
        try:
            blurred = blur_faces(files.pop(suffix, b""), row["faces"], label=f"the picture of {row['uid']}")
        except InputError:
            counts["blur_failed"] += 1  # a face that cannot be hidden is not handed on
            return {}
        files["webp"] = blurred
        counts["blurred"] += 1
    return files


def _with_texts(files: dict[str, bytes], texts: list[str] | None) -> dict[str, bytes]:
    """The files of a sample with the texts that were kept; as they are where nothing was chosen."""
    if not files or texts is None:
        return files
    details = json.loads(files["json"]) | {"texts": texts, "caption": texts[0]}
    data = json.dumps(details, ensure_ascii=False).encode(errors="surrogatepass")
    return files | {"txt": texts[0].encode(errors="surrogatepass"), "json": data}


class _ChosenRows:
    """The rows that samples were chosen by; some of the tables are kept."""

    def __init__(self) -> None:
        self._tables: dict[str, pa.Table] = {}

    def texts_of(self, row: Row) -> list[str] | None:
        """The texts of a sample's row; None where no rows were chosen."""
        if not row["rows"]:
            return None
        return [one["text"] for one in self._open(row["rows"])["texts"][row["row"]].as_py()]

    def table_of(self, packed: Sequence[tuple[str, Row]]) -> pa.Table:
        """The rows of samples in their order, under the keys that the samples have now."""
        pieces = []
        for path, group in groupby(packed, lambda one: one[1]["rows"]):
            some = list(group)
            rows = self._open(path).take(pa.array([row["row"] for _, row in some], pa.int64()))
            keys = pa.chunked_array([pa.array([key for key, _ in some], pa.string())])
            old = rows.schema.get_field_index("key")
            rows = rows.append_column("key", keys) if old < 0 else rows.set_column(old, "key", keys)
            pieces.append(rows)
        return pa.concat_tables(pieces, promote_options="permissive")

    def _open(self, path: str) -> pa.Table:
        if path not in self._tables:
            if len(self._tables) >= MAX_OPEN_TABLES:
                self._tables.pop(next(iter(self._tables)))
            self._tables[path] = read_table(Path(path))
        return self._tables[path]


class _OpenTars:
    """Tars that are read from, some of them kept open."""

    def __init__(self) -> None:
        self._files: dict[str, IO[bytes]] = {}

    def __enter__(self) -> "_OpenTars":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def open(self, path: str) -> IO[bytes]:
        if path not in self._files:
            if len(self._files) >= MAX_OPEN_TARS:
                self._files.pop(next(iter(self._files))).close()
            self._files[path] = Path(path).open("rb")
        return self._files[path]
