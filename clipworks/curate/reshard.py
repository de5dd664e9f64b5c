"""A subset of tar shards packed into new ones, as DataComp's resharder does it, in stages that resume.

First every tar is listed (`.index` in the new folder): the samples that the subset wants, how often, and
where their bytes lie. Then each new shard is made by itself from those places. A sample wanted n times is
written n times, as `UID-0` … `UID-(n-1)`.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipworks.curate.packing import ReshardConfig, pack_shard
from clipworks.curate.subsets import counts_in, merge_subsets, read_subset
from clipworks.curate.tars import list_samples
from clipworks.curate.uids import hex_of, uids_of
from clipworks.errors import DataError, reason_of
from clipworks.files import is_complete, read_json, read_manifest, sha256_file, write_json
from clipworks.stage import Made, ShowProgress, Source, Workers, run_stage
from clipworks.tables import read_table, write_table

STAGE = "reshard"
INDEX = ".index"
TABLES = ("sizes.json", "meta.json", "sample_ids.npy")
"""Files beside the shards that DataComp's and open_clip's tools look for."""
SHARD_NAME = "{:08d}"
_MEMBER = pa.struct([("suffix", pa.string()), ("offset", pa.int64()), ("num_bytes", pa.int64())])
_SCHEMA = pa.schema(
    [
        ("tar", pa.string()),
        ("uid", pa.string()),
        ("copies", pa.int64()),
        ("rows", pa.string()),
        ("row", pa.int64()),
        ("faces", pa.list_(pa.list_(pa.float64()))),
        ("members", pa.list_(_MEMBER)),
    ]
)


def reshard(
    folder: Path,
    subset: Path,
    out: Path,
    config: ReshardConfig,
    *,
    workers: int = 1,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Pack the samples of a subset into new shards.

    The new folder holds `00000000.tar` …, `00000000_stats.json` with its successes, `sizes.json`,
    `meta.json`, `sample_ids.npy` and the manifest. A damaged tar is counted and gives what stands before
    the damage.

    Args:
        folder: tars, and for faces the tables of the same names.
        subset: a subset file.
        out: the new folder.
        config: how.
        workers: processes.
        show: told when a tar is listed and when a shard is made.

    Raises:
        ConfigError: the folder was begun with something else.
        DataError: there is no tar, the subset is damaged, or the folder cannot be written.
    """
    wants_faces = config.blur_faces or config.keep_boxes
    found = list_tars(folder, subset, out / INDEX, wants_faces=wants_faces, workers=workers, show=show)
    manifest = pack_shards(out / INDEX, subset, out, config, workers=workers, show=show)
    return manifest | {"index": found["counts"]}


def list_tars(
    folder: Path,
    subset: Path,
    out: Path,
    *,
    chosen: Path | None = None,
    wants_faces: bool = False,
    workers: int = 1,
    cluster: Workers | None = None,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Write where the samples of a subset lie in tars; a stage with a part per tar.

    Args:
        folder: tars.
        subset: a subset file.
        out: the folder to write.
        chosen: a finished folder with the rows of the subset, tables named as the tars: of a tar only the
            rows of its table are taken, each once.
        wants_faces: list the boxes of faces too, from the tables beside the tars.
        workers: processes.
        cluster: where the work is done instead.
        show: told when a tar is listed.

    Raises:
        ConfigError: the folder was begun with something else.
        DataError: there is no tar, the subset is damaged, or the folder cannot be written.
    """
    read_subset(subset)
    tars = sorted(folder.glob("*.tar"))
    if not tars:
        raise DataError(f"{folder} holds no .tar file.", "Give a folder of fetched shards.")
    hashes = _known_hashes(folder)
    sources = [Source(name=tar.stem, path=str(tar), digest=_digest_of(tar, hashes)) for tar in tars]
    work = partial(_list_tar, subset=subset, chosen=chosen, wants_faces=wants_faces)
    values: dict[str, Any] = {"subset": sha256_file(subset), "faces": wants_faces}
    if chosen is not None:
        values["rows"] = read_manifest(chosen)["sources"]
    return run_stage(
        work, sources, out, stage="reshard index", config=values, workers=workers, pool=cluster, show=show
    )


def pack_shards(
    index: Path,
    subset: Path,
    out: Path,
    config: ReshardConfig,
    *,
    details: Mapping[str, Any] | None = None,
    workers: int = 1,
    cluster: Workers | None = None,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Pack what `list_tars` has listed; a stage with a part per new shard.

    Args:
        index: the folder that `list_tars` wrote.
        subset: the same subset file.
        out: the new folder.
        config: how.
        details: more that the folder is made with, as JSON values, for its manifest.
        workers: processes.
        cluster: where the work is done instead.
        show: told when a shard is made.

    Raises:
        ConfigError: the folder was begun with something else.
        DataError: the index is unfinished, or the folder cannot be written.
    """
    found = read_manifest(index)
    copies = int(found["counts"].get("copies", 0))
    digest, count = found["config"]["subset"], -(-copies // config.samples_per_shard)
    sources = [
        Source(name=SHARD_NAME.format(n), path=str(n), digest=f"{n} of {count} {digest} {found['sources']}")
        for n in range(count)
    ]
    work = partial(pack_shard, index=index, config=config)
    values = asdict(config) | found["config"] | dict(details or {})
    manifest = run_stage(
        work, sources, out, stage=STAGE, config=values, workers=workers, pool=cluster, show=show
    )
    _write_tables(out, subset, manifest, found["counts"], len(read_subset(subset)))
    return manifest


def _write_tables(
    out: Path, subset: Path, manifest: Mapping[str, Any], listed: Mapping[str, int], wanted: int
) -> None:
    """Write TABLES."""
    sizes = {f"{part['name']}.tar": part["rows"] for part in manifest["parts"]}
    meta = {
        "output_shard_count": len(sizes),
        "output_count": manifest["rows"],
        "processed_count": listed.get("samples", 0),
        "blur_count": manifest["counts"].get("blurred", 0),
        "subset_count": wanted,
        "not_found_count": wanted - listed.get("copies", 0),
        "damaged_tars": listed.get("damaged_tars", 0),
    }
    of_sizes, of_all, of_ids = (out / name for name in TABLES)
    if of_ids.exists() and read_json(of_all) == meta:
        return
    write_json(of_sizes, sizes)
    write_json(of_all, meta)
    merge_subsets([subset], of_ids)


def _list_tar(source: Source, folder: Path, *, subset: Path, chosen: Path | None, wants_faces: bool) -> Made:
    path, counts = Path(source.path), Counter[str]()
    try:
        samples = list(list_samples(path, counts))
        faces = _faces_beside(path) if wants_faces else {}
        rows_of = None if chosen is None else _rows_of(chosen / f"{source.name}.parquet")
    except (OSError, DataError) as error:
        return Made(rows=0, failure=f"{path} cannot be read: {reason_of(error)}.")
    copies = counts_in(read_subset(subset), uids_of([sample.uid for sample in samples]))
    wanted = [(sample, int(n), 0) for sample, n in zip(samples, copies, strict=True) if n]
    if rows_of is not None:
        found = ((sample, rows_of.pop(sample.uid, None)) for sample in samples)
        wanted = [(sample, 1, row) for sample, row in found if row is not None]
    rows = [
        {
            "tar": str(path),
            "uid": sample.uid,
            "copies": n,
            "rows": None if chosen is None else str(chosen / f"{source.name}.parquet"),
            "row": row,
            "faces": faces.get(sample.uid, []),
            "members": [asdict(member) for member in sample.members],
        }
        for sample, n, row in wanted
    ]
    name = f"{source.name}.parquet"
    write_table(folder / name, pa.Table.from_pylist(rows, _SCHEMA))
    counts["chosen"], counts["copies"] = len(rows), sum(n for _, n, _ in wanted)
    return Made(rows=len(rows), counts=counts, files=[name])


def _rows_of(table: Path) -> dict[str, int]:
    """Where each id stands in a table of chosen rows; of equal ones, and where there is no table, none."""
    if not table.exists():
        return {}
    uids = hex_of(uids_of(read_table(table, ["uid"])["uid"].to_pylist()))
    return {uid: row for row, uid in reversed(list(enumerate(uids)))}


def _faces_beside(tar: Path) -> dict[str, list[list[float]]]:
    """Boxes by id, of the table beside a tar."""
    table = read_table(tar.with_suffix(".parquet"), ["uid", "face_bboxes"])
    uids = hex_of(uids_of(table["uid"].to_pylist()))
    return {uid: boxes or [] for uid, boxes in zip(uids, table["face_bboxes"].to_pylist(), strict=True)}


def _known_hashes(folder: Path) -> dict[str, str]:
    """The sha256 of every file of a finished stage; nothing for a folder of other tools."""
    if not is_complete(folder):
        return {}
    parts = read_manifest(folder).get("parts", [])
    return {name: file["sha256"] for part in parts for name, file in part["files"].items()}


def _digest_of(tar: Path, hashes: Mapping[str, str]) -> str:
    """What tells that a tar has changed: its hash where a manifest has it, else its size and time."""
    try:
        stat = tar.stat()
        return hashes.get(tar.name) or f"{stat.st_size} {stat.st_mtime_ns}"
    except OSError as error:
        raise DataError(f"{tar} cannot be read: {reason_of(error)}.") from error
