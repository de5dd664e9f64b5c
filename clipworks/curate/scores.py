"""Scores, features and hashes of the pictures in fetched shards, as columns and arrays of DataComp's names.

For each table of a folder of shards: `NAME.parquet` with the same rows (what has no picture is empty) and,
with a model, `NAME.npz` with the features (float16, unit rows; zeros where there is no picture). Any model of
`clipworks.load` will do. A picture is found in the tar by the id in its json.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clipworks.curate.hashes import perceptual_hash
from clipworks.curate.kept import write_kept_rows
from clipworks.curate.pool import Pool, Rows, read_rows, sources_of
from clipworks.curate.tars import TarSample, list_samples
from clipworks.curate.uids import hex_of
from clipworks.errors import ConfigError, DataError, InputError
from clipworks.files import atomic_write
from clipworks.model.engine import Engine
from clipworks.model.loading import Precision, load
from clipworks.stage import Made, ShowProgress, Source, Workers, run_stage
from clipworks.tables import num_rows, write_table
from clipworks.tars import read_member

STAGE = "score"
_IMAGES = ("jpg", "jpeg", "png", "webp")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig:
    """What is computed of each picture."""

    model: str = ""
    """Any name or path that `clipworks.load` takes; empty: no scores and features."""
    prefix: str = "b32"
    """`b32` and `l14` give DataComp's names; any other gives clip_PREFIX_similarity_score and PREFIX_img."""
    precision: Precision = "auto"
    """Of the model's arithmetic."""
    batch_size: int = 64
    """Pictures in memory at a time, 1 to 1024."""
    hashes: bool = True
    """Write `phash`, the perceptual hash, uint64."""

    def __post_init__(self) -> None:
        if not self.prefix.isidentifier():
            raise ConfigError(f"prefix is {self.prefix!r}; it must be a name of letters and digits.")
        if self.precision not in get_args(Precision):
            raise ConfigError(f"precision is {self.precision!r}; known: {', '.join(get_args(Precision))}.")
        if not 1 <= self.batch_size <= 1024:
            raise ConfigError(f"batch_size is {self.batch_size}; it must be 1 to 1024.")
        if not self.model and not self.hashes:
            raise ConfigError("Neither a model nor hashes are asked for.", "Add --set model=NAME.")


def score_pool(
    pool: Pool,
    config: ScoreConfig,
    out: Path,
    *,
    workers: int = 1,
    cluster: Workers | None = None,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Write tables of scores beside a pool whose tars stand beside its tables.

    The folder also says which rows have a picture that can be read, as a filter's folder does. The manifest
    counts `scored`, `without_picture`, `unreadable` and `damaged_tars`.

    Raises:
        ConfigError: a setting is wrong, or the folder was begun with something else.
        CheckpointError: the model cannot be loaded.
        DataError: the folder cannot be written.
    """
    values = {**asdict(config), "drops": "unreadable"}
    if config.model:
        values["fingerprint"] = _engine(config.model, config.precision).fingerprint
    work = partial(_score_table, pool=pool, config=config)
    sources = sources_of(pool, "tar")
    return run_stage(work, sources, out, stage=STAGE, config=values, workers=workers, pool=cluster, show=show)


def check_model(name: str) -> None:
    """Load a model that will be asked for scores. Raises as `clipworks.load`."""
    _engine(name, ScoreConfig().precision)


def _score_table(source: Source, folder: Path, *, pool: Pool, config: ScoreConfig) -> Made:
    table, counts = Path(source.path), Counter[str]()
    pieces: list[Rows] = []
    try:
        texts, places = dict[int, str](), dict[str, int]()
        for piece in read_rows(pool, table, ["text"]):
            pieces.append(piece)
            named = zip(piece.places.tolist(), hex_of(piece.uids), piece.texts(), strict=True)
            for place, uid, text in named:
                texts[place] = text
                places.setdefault(uid, place)
        rows = num_rows(table)
        columns, features = _empty(rows, config)
        for batch in _batches(table.with_suffix(".tar"), places, config, counts):
            _fill(batch, texts, config, columns, features, counts)
    except (DataError, OSError) as error:
        return Made(rows=0, failure=str(error))
    counts["without_picture"] = len(texts) - counts["scored"]
    files = [f"{source.name}.parquet"]
    write_table(folder / files[0], _as_table(columns))
    if features:
        files.append(f"{source.name}.npz")
        with atomic_write(folder / files[1]) as file:
            np.savez(file, allow_pickle=False, **features)
    stay = [piece.where(columns["is_there"][piece.places]) for piece in pieces]
    kept = write_kept_rows(folder, source, stay, copies_rows=False)
    return Made(rows=rows, counts=counts, files=[*files, *kept.files])


Columns = dict[str, NDArray[Any]]


def _empty(rows: int, config: ScoreConfig) -> tuple[Columns, Columns]:
    columns: Columns = {"is_there": np.zeros(rows, np.bool_)}
    features: Columns = {}
    if config.hashes:
        columns["phash"] = np.zeros(rows, np.uint64)
    if config.model:
        dim = _engine(config.model, config.precision).dim
        columns[f"clip_{config.prefix}_similarity_score"] = np.zeros(rows, np.float32)
        for tower in ("img", "txt"):
            features[f"{config.prefix}_{tower}"] = np.zeros((rows, dim), np.float16)
    return columns, features


def _as_table(columns: Columns) -> pa.Table:
    missing = ~columns["is_there"]
    return pa.table(
        {name: pa.array(values, mask=missing) for name, values in columns.items() if name != "is_there"}
    )


def _batches(
    tar: Path, places: dict[str, int], config: ScoreConfig, counts: Counter[str]
) -> Iterator[list[tuple[int, bytes]]]:
    """Places and pictures of a tar, some at a time."""
    samples = iter(list_samples(tar, counts))
    with tar.open("rb") as file:
        while batch := list(islice(samples, config.batch_size)):
            found = [(places.pop(sample.uid, None), _picture(file, sample)) for sample in batch]
            yield [(place, image) for place, image in found if place is not None and image]


def _picture(file: Any, sample: TarSample) -> bytes:
    member = next((one for one in sample.members if one.suffix in _IMAGES), None)
    return read_member(file, member) if member else b""


def _fill(
    batch: list[tuple[int, bytes]],
    texts: dict[int, str],
    config: ScoreConfig,
    columns: Columns,
    features: Columns,
    counts: Counter[str],
) -> None:
    good, pixels = [], []
    engine = _engine(config.model, config.precision) if config.model else None
    for place, image in batch:
        try:
            if config.hashes:
                columns["phash"][place] = perceptual_hash(image)
            if engine is not None:
                pixels.append(engine.prepare_image(image))
        except InputError:
            counts["unreadable"] += 1
            continue
        good.append(place)
        columns["is_there"][place] = True
    counts["scored"] += len(good)
    if engine is not None and good:
        images = engine.embed_pixels(np.stack(pixels))
        captions = engine.embed_texts([texts[place] for place in good])
        columns[f"clip_{config.prefix}_similarity_score"][good] = (images * captions).sum(axis=1)
        features[f"{config.prefix}_img"][good] = images
        features[f"{config.prefix}_txt"][good] = captions


@lru_cache(maxsize=1)
def _engine(model: str, precision: Precision) -> Engine:
    return load(model, precision=precision)
