"""Pictures of a pool that stand in an evaluation set: by hash or by features, for the flag `contaminated`.

DataComp dropped what was near a picture of its 38 tests. What is compared is the user's choice: perceptual
hashes within few bits, or features with a cosine. What counts by bytes is a blocklist (the rule `blocked`).
"""

from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.curate.clusters import BATCH_ROWS, read_hashes, read_matrix
from clipworks.curate.hashes import bands_of, near_listed
from clipworks.curate.pool import Mask, Pool, Rows, read_rows, sources_of
from clipworks.curate.similarities import unit_rows
from clipworks.curate.subsets import write_subset
from clipworks.curate.uids import UID
from clipworks.errors import ConfigError, DataError
from clipworks.files import sha256_file
from clipworks.stage import Made, ShowProgress, Source, Workers, run_stage


@dataclass(frozen=True, kw_only=True, slots=True)
class ContaminationConfig:
    """What a picture is compared with."""

    references: str
    """`.npy` of an evaluation set: hashes uint64 [R], or features float [R, D]."""
    column: str = "phash"
    """A column of 64-bit hashes, or with features an array of the npz such as b32_img."""
    distance: int = 4
    """Different bits at most, 0 to 15."""
    threshold: float = 0.95
    """Cosine at least, above 0 and at most 1. DataComp's was .604 with another network than CLIP."""

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"threshold is {self.threshold}; it must be above 0 and at most 1.")
        if not Path(self.references).is_file():
            raise ConfigError(f"The setting references names {self.references}, which does not exist.")
        bands_of(np.empty(0, np.uint64), self.distance)


def find_contaminated(
    pool: Pool,
    config: ContaminationConfig,
    out: Path,
    *,
    workers: int = 1,
    cluster: Workers | None = None,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Write the ids of contaminated rows, a subset file `NAME.npy` per table; `write_kept` joins them.

    Raises:
        ConfigError: the folder was begun with something else.
        DataError: the references or a column cannot be read, or the folder cannot be written.
    """
    hashes = read_hashes(Path(config.references))
    for rows in read_rows(pool, pool.sample, _columns(hashes, config)):
        _is_contaminated(rows.where(np.zeros(len(rows), np.bool_)), config, hashes)
        break
    values = asdict(config) | {"references": sha256_file(Path(config.references))}
    work = partial(_check_table, pool=pool, config=config)
    sources = sources_of(pool)
    return run_stage(
        work, sources, out, stage="contamination", config=values, workers=workers, pool=cluster, show=show
    )


def _check_table(source: Source, folder: Path, *, pool: Pool, config: ContaminationConfig) -> Made:
    hashes = read_hashes(Path(config.references))
    counts: Counter[str] = Counter()
    found = [np.empty(0, UID)]
    try:
        for rows in read_rows(pool, Path(source.path), _columns(hashes, config)):
            found.append(rows.uids[_is_contaminated(rows, config, hashes)])
            counts["rows in"] += len(rows)
    except DataError as error:
        return Made(rows=0, failure=str(error))
    uids = np.concatenate(found)
    write_subset(folder / f"{source.name}.npy", uids)
    counts["contaminated"] = len(uids)
    return Made(rows=len(uids), counts=counts, files=[f"{source.name}.npy"])


def _is_contaminated(rows: Rows, config: ContaminationConfig, hashes: NDArray[Any] | None) -> Mask:
    if hashes is not None:
        values = rows.table[config.column].to_pylist()
        there = np.array([value is not None for value in values], np.bool_)
        near = near_listed(np.array([value or 0 for value in values], np.uint64), hashes, config.distance)
        return near & there
    references = read_matrix(Path(config.references))
    features = unit_rows(rows.features(config.column))
    if len(features) and features.shape[1] != references.shape[1]:
        raise DataError(f"A row has {features.shape[1]} features, a reference {references.shape[1]}.")
    close = np.zeros(len(features), np.bool_)
    for start in range(0, len(references), BATCH_ROWS):
        block = unit_rows(references[start : start + BATCH_ROWS])
        close |= (features @ block.T >= config.threshold).any(axis=1)
    return close


def _columns(hashes: NDArray[Any] | None, config: ContaminationConfig) -> tuple[str, ...]:
    return () if hashes is None else (config.column,)
