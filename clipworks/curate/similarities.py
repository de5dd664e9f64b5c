"""Newer scores that need features alone: negCLIPLoss and NormSim (Wang et al. 2024, arXiv 2405.19547).

negCLIPLoss of a pair i is its cosine less what a training batch would say against it:
    s_ii - (T / 2K) sum_k [ log sum_{j in B_k} exp(s_ij / T) + log sum_{j in B_k} exp(s_ji / T) ]
with T the temperature (0.01 in OpenAI's models) and B_k the pair and a batch of others drawn at random.
Here the K batches are drawn once, by hash, and every pair joins each of them: the same expectation, and no
shuffle.
NormSim_p of a picture is the p-norm of its cosines with the pictures of a target set, p = 2 or infinity.
Sums are float64 in batches of fixed size, so that memory is flat and sharding changes nothing.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clipworks.curate.clusters import read_matrix
from clipworks.curate.pool import Pool, Rows, read_rows, sources_of
from clipworks.curate.samples import draw_features
from clipworks.curate.uids import Uids, halves_of
from clipworks.errors import ConfigError, DataError
from clipworks.files import atomic_write, sha256_file
from clipworks.stage import Made, ShowProgress, Source, Workers, run_stage
from clipworks.tables import num_rows, write_table

BATCH_ROWS = 256
REFERENCES = ".references.npz"

Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class SimilarityConfig:
    """What is computed of the features beside a pool."""

    prefix: str = "l14"
    """Features PREFIX_img and PREFIX_txt of the npz."""
    temperature: float = 0.01
    """T, above 0: 1 / logit scale of the model."""
    num_batches: int = 5
    """K, 0 or more; 0: no negclip."""
    batch_rows: int = 32_768
    """Pairs of a batch, 2 or more."""
    targets: str = ""
    """`.npy` [T, D] of a target set's picture features, for normsim_2 and normsim_inf; empty: none."""
    seed: int = 0
    """Of the batches, 0 or more."""

    def __post_init__(self) -> None:
        for name, least in (("num_batches", 0), ("batch_rows", 2), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be {least} or more.")
        if not self.temperature > 0:
            raise ConfigError(f"temperature is {self.temperature}; it must be above 0.")


def score_similarities(
    pool: Pool,
    config: SimilarityConfig,
    out: Path,
    *,
    workers: int = 1,
    cluster: Workers | None = None,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Write a table of `negclip`, `normsim_2` and `normsim_inf` for each table of a pool, the same rows.

    Raises:
        ConfigError: a setting is wrong, or the folder was begun with something else.
        DataError: features are missing, or the folder cannot be written.
    """
    references = out.with_name(f".{out.name}{REFERENCES}")
    values: dict[str, Any] = asdict(config)
    if config.targets:
        if not Path(config.targets).is_file():
            raise ConfigError(f"The setting targets names {config.targets}, which does not exist.")
        values["targets"] += f" {sha256_file(Path(config.targets))}"
    if config.num_batches:
        _write_references(references, pool, config)
        values["references"] = sha256_file(references)
    work = partial(_score_table, pool=pool, config=config, references=references)
    sources = sources_of(pool)
    return run_stage(
        work, sources, out, stage="similarity", config=values, workers=workers, pool=cluster, show=show
    )


def neg_clip_loss(
    images_ND: NDArray[Any],
    texts_ND: NDArray[Any],
    uids: Uids,
    batches: Sequence[tuple[Uids, NDArray[Any], NDArray[Any]]],
    temperature: float,
) -> Matrix:
    """negCLIPLoss of pairs against batches of ids, pictures and texts; float64 [N].

    Features are scaled to length 1. A pair that stands in a batch itself is not counted twice.
    """
    images, texts = unit_rows(images_ND), unit_rows(texts_ND)
    own = (images * texts).sum(axis=1)
    against = np.zeros(len(own))
    for others, other_images, other_texts in batches:
        is_other = ~np.isin(_as_void(others), _as_void(uids))
        places = (
            {key: place for place, key in enumerate(_as_void(others).tolist())} if not is_other.all() else {}
        )
        mine = [places.get(key) for key in _as_void(uids).tolist()]
        for rows, columns in ((images, unit_rows(other_texts)), (texts, unit_rows(other_images))):
            against += _log_sums(rows, columns, own, mine, temperature)
    values: Matrix = own - temperature / (2 * max(1, len(batches))) * against
    return values


def norm_sims(images_ND: NDArray[Any], targets_TD: NDArray[Any]) -> tuple[Matrix, Matrix]:
    """NormSim_2 and NormSim_inf of pictures, float64 [N] each; features are scaled to length 1."""
    images, targets = unit_rows(images_ND), unit_rows(targets_TD)
    moments = targets.T @ targets
    two = np.sqrt(np.maximum(np.einsum("nd,de,ne->n", images, moments, images, optimize=True), 0))
    most = np.zeros(len(images))
    for start in range(0, len(targets), 4096):
        most = np.maximum(most, np.abs(images @ targets[start : start + 4096].T).max(axis=1, initial=0))
    return two, most


def unit_rows(features_ND: NDArray[Any]) -> Matrix:
    """Rows scaled to length 1, float64; rows of zeros stay."""
    rows = features_ND.astype(np.float64)
    units: Matrix = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return units


def _log_sums(
    rows: Matrix, columns: Matrix, own: Matrix, mine: Sequence[int | None], temperature: float
) -> Matrix:
    """log of own's exponential and those of all columns but the row's own."""
    sums = np.empty(len(rows))
    for start in range(0, len(rows), BATCH_ROWS):
        logits = rows[start : start + BATCH_ROWS] @ columns.T / temperature
        for line, place in enumerate(mine[start : start + BATCH_ROWS]):
            if place is not None:
                logits[line, place] = -np.inf
        logits = np.concatenate([logits, own[start : start + BATCH_ROWS, None] / temperature], axis=1)
        most = logits.max(axis=1, keepdims=True)
        sums[start : start + BATCH_ROWS] = most[:, 0] + np.log(np.exp(logits - most).sum(axis=1))
    return sums


def _as_void(uids: Uids) -> NDArray[Any]:
    """One number for each id, for comparisons: its two halves mixed."""
    halves = halves_of(uids)
    return halves[:, 0] ^ (halves[:, 1] * np.uint64(0x9E3779B97F4A7C15))


def _write_references(path: Path, pool: Pool, config: SimilarityConfig) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    for number in range(config.num_batches):
        for tower in ("img", "txt"):
            uids, features = draw_features(
                pool, f"{config.prefix}_{tower}", config.batch_rows - 1, seed=config.seed, stream=number + 1
            )
            arrays[f"{number}_{tower}"] = features.astype(np.float16)
        arrays[f"{number}_uids"] = uids
    with atomic_write(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


@lru_cache(maxsize=1)
def _read_references(path: Path, count: int) -> tuple[tuple[Uids, NDArray[Any], NDArray[Any]], ...]:
    with np.load(path, allow_pickle=False) as file:
        return tuple((file[f"{n}_uids"], file[f"{n}_img"], file[f"{n}_txt"]) for n in range(count))


def _score_table(
    source: Source, folder: Path, *, pool: Pool, config: SimilarityConfig, references: Path
) -> Made:
    try:
        rows = num_rows(Path(source.path))
        columns = {name: np.full(rows, np.nan) for name in _names(config)}
        for piece in read_rows(pool, Path(source.path), ()):
            for name, values in _scores(piece, config, references).items():
                columns[name][piece.places] = values
    except DataError as error:
        return Made(rows=0, failure=str(error))
    name = f"{source.name}.parquet"
    write_table(folder / name, pa.table({key: pa.array(values) for key, values in columns.items()}))
    return Made(rows=rows, counts=Counter(scored=rows), files=[name])


def _scores(piece: Rows, config: SimilarityConfig, references: Path) -> dict[str, Matrix]:
    images = piece.features(f"{config.prefix}_img")
    scores = {}
    if config.num_batches:
        batches = _read_references(references, config.num_batches)
        texts = piece.features(f"{config.prefix}_txt")
        scores["negclip"] = neg_clip_loss(images, texts, piece.uids, batches, config.temperature)
    if config.targets:
        scores["normsim_2"], scores["normsim_inf"] = norm_sims(images, read_matrix(Path(config.targets)))
    return scores


def _names(config: SimilarityConfig) -> list[str]:
    return ["negclip"] * bool(config.num_batches) + ["normsim_2", "normsim_inf"] * bool(config.targets)
