"""64-bit hashes of features, as MetaCLIP deduplicates pictures: the signs of 64 principal components."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.curate.hashes import BITS, Hashes
from clipworks.errors import ConfigError, DataError, reason_of
from clipworks.files import NPZ_DAMAGE, atomic_write


@dataclass(frozen=True, kw_only=True, slots=True)
class Projection:
    """Where features are cut in two, 64 times."""

    mean: NDArray[np.float64]
    """float64 [D]"""
    axes: NDArray[np.float64]
    """float64 [64, D], by falling variance"""

    def hashes(self, features_ND: NDArray[Any]) -> Hashes:
        """uint64 [N]: bit n, from the highest, is set where component n is positive.

        Raises:
            DataError: the features have another width.
        """
        if features_ND.shape[1] != len(self.mean):
            raise DataError(f"A row has {features_ND.shape[1]} features, the projection {len(self.mean)}.")
        signs = (features_ND.astype(np.float64) - self.mean) @ self.axes.T > 0
        packed: Hashes = np.packbits(signs, axis=1).view(">u8").astype(np.uint64).ravel()
        return packed


def fit_projection(features_ND: NDArray[Any]) -> Projection:
    """Principal components of features (see `draw_features`), each with its largest number positive.

    Raises:
        ConfigError: there are fewer than 64 dimensions or rows.
    """
    rows = features_ND.astype(np.float64)
    if min(rows.shape) < BITS:
        raise ConfigError(f"64 components are wanted of features {list(rows.shape)}.", "Give more rows.")
    mean = rows.mean(axis=0)
    centred = rows - mean
    _, vectors = np.linalg.eigh(centred.T @ centred / len(rows))
    axes = vectors.T[::-1][:BITS]
    largest = np.abs(axes).argmax(axis=1)
    return Projection(mean=mean, axes=axes * np.sign(axes[np.arange(BITS), largest])[:, None])


def write_projection(path: Path, projection: Projection) -> None:
    """Keep a projection as `.npz`.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    with atomic_write(path) as file:
        np.savez(file, mean=projection.mean, axes=projection.axes)


def read_projection(path: Path) -> Projection:
    """Read what `write_projection` wrote.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            projection = Projection(mean=file["mean"], axes=file["axes"])
    except NPZ_DAMAGE as error:
        raise DataError(f"{path} cannot be read as a projection: {reason_of(error)}.") from error
    if projection.axes.shape != (BITS, *projection.mean.shape):
        raise DataError(f"{path} has axes {list(projection.axes.shape)}, not [64, {projection.mean.size}].")
    return projection
