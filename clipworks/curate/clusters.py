"""Centroids of picture features: nearest ones, k-means, and those that lie near a data set.

DataComp's image_based filter keeps pictures whose nearest of 100,000 centroids is the nearest of some
ImageNet picture. Centroids are a file, the user's or made here.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import ConfigError, DataError, reason_of

BATCH_ROWS = 1024
ITERATIONS = 20
"""DataComp's."""

Matrix = NDArray[np.float32]

Blocks = Callable[[], Iterable[NDArray[Any]]]
"""Reads features anew, in blocks [n, D]."""


def nearest_centroids(features_ND: NDArray[Any], centroids_KD: Matrix) -> NDArray[np.int64]:
    """Number of the centroid with the largest inner product, int64 [N]; the first of equals.

    Raises:
        DataError: the widths differ.
    """
    if features_ND.shape[1] != centroids_KD.shape[1]:
        raise DataError(
            f"Features have {features_ND.shape[1]} numbers, the centroids {centroids_KD.shape[1]}.",
            "Use centroids of the same model.",
        )
    nearest = np.empty(len(features_ND), np.int64)
    for start in range(0, len(features_ND), BATCH_ROWS):
        block = features_ND[start : start + BATCH_ROWS].astype(np.float32)
        nearest[start : start + BATCH_ROWS] = np.argmax(block @ centroids_KD.T, axis=1)
    return nearest


def target_centroids(blocks: Blocks, centroids_KD: Matrix) -> NDArray[np.int64]:
    """Numbers of the centroids that are nearest to some row, sorted, int64 [T]."""
    found = [np.unique(nearest_centroids(block, centroids_KD)) for block in blocks()]
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)


def train_centroids(
    blocks: Blocks, num_centroids: int, *, seed: int = 0, iterations: int = ITERATIONS
) -> Matrix:
    """Lloyd's k-means with the squared distance, float32 [K, D]; memory is K x D whatever the rows.

    Starts at rows drawn by seed; a centroid without rows takes half of the largest one's. Sums are float64
    in the order of the blocks. DataComp used Faiss with the same settings: not the same numbers.

    Raises:
        ConfigError: fewer rows than centroids, or no centroid is wanted.
    """
    if num_centroids < 1:
        raise ConfigError(f"num_centroids is {num_centroids}; it must be at least 1.")
    total = sum(len(block) for block in blocks())
    if total < num_centroids:
        raise ConfigError(f"{num_centroids} centroids are wanted of {total} rows.")
    chosen = np.sort(np.random.default_rng(seed).choice(total, num_centroids, replace=False))
    centroids = _rows_at(blocks, chosen).astype(np.float64)
    for _ in range(iterations):
        sums, counts = np.zeros_like(centroids), np.zeros(num_centroids)
        half = (centroids**2).sum(axis=1) / 2
        for block in blocks():
            for start in range(0, len(block), BATCH_ROWS):
                rows = block[start : start + BATCH_ROWS].astype(np.float64)
                nearest = np.argmax(rows @ centroids.T - half, axis=1)
                np.add.at(sums, nearest, rows)
                counts += np.bincount(nearest, minlength=num_centroids)
        has_rows = counts > 0
        centroids[has_rows] = sums[has_rows] / counts[has_rows, None]
        for empty in np.flatnonzero(~has_rows):
            largest = int(np.argmax(counts))
            shift = np.where(np.arange(centroids.shape[1]) % 2, 1.0, -1.0) / 1024
            centroids[empty] = centroids[largest] * (1 + shift)
            centroids[largest] = centroids[largest] * (1 - shift)
            counts[empty], counts[largest] = counts[largest] / 2, counts[largest] / 2
    return centroids.astype(np.float32)


@lru_cache(maxsize=2)
def read_matrix(path: Path) -> Matrix:
    """A `.npy` of numbers [K, D] as float32.

    Raises:
        DataError: it is missing, damaged or of another shape.
    """
    return _read(path, 2, "f").astype(np.float32)


def read_hashes(path: Path) -> NDArray[np.uint64] | None:
    """The hashes in a `.npy` of an evaluation set, each once, ascending; None if it holds features.

    Raises:
        DataError: it holds neither, or cannot be read.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as references: {reason_of(error)}.") from error
    if array.dtype == np.uint64 and array.ndim == 1:
        return np.unique(array)
    read_matrix(path)
    return None


@lru_cache(maxsize=2)
def read_targets(path: Path) -> NDArray[np.int64]:
    """A `.npy` of centroid numbers [T].

    Raises:
        DataError: it is missing, damaged or of another shape.
    """
    return _read(path, 1, "iu").astype(np.int64)


def _rows_at(blocks: Blocks, places: NDArray[np.int64]) -> NDArray[Any]:
    """The rows at ascending places."""
    found, first = [], 0
    for block in blocks():
        inside = places[(places >= first) & (places < first + len(block))]
        found.append(block[inside - first])
        first += len(block)
    return np.concatenate(found)


def _read(path: Path, dimensions: int, kinds: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, allow_pickle=False)
        if array.ndim != dimensions or array.dtype.kind not in kinds or not array.size:
            raise ValueError(f"it is {array.dtype} {list(array.shape)}")
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} cannot be read as a table of {dimensions} dimensions: {reason_of(error)}."
        ) from error
    return array
