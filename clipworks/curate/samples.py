"""Rows drawn from a pool by the hash of their id: the same ones whatever the order and the sharding."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.curate.pool import Pool, read_rows
from clipworks.curate.uids import SAMPLE, UID, Uids, hashes_of, order_of
from clipworks.errors import DataError


def draw_features(
    pool: Pool, name: str, count: int, *, seed: int = 0, stream: int = 0
) -> tuple[Uids, NDArray[np.float32]]:
    """Features of `count` rows, or of all if there are fewer, in the order of their ids.

    The rows with the smallest hashes are taken; two passes, and memory for the rows taken.

    Raises:
        DataError: the pool has no row, or features are missing.
    """
    bound = _bound(pool, count, seed, stream)
    uids, features = [np.empty(0, UID)], list[NDArray[Any]]()
    for table in pool.tables:
        for rows in read_rows(pool, table, ()):
            chosen = rows.where(hashes_of(rows.uids, seed, stream=SAMPLE + stream) <= bound)
            if len(chosen):
                uids.append(chosen.uids)
                features.append(chosen.features(name).astype(np.float32))
    if not features:
        raise DataError("The pool has no row to draw.")
    joined = np.concatenate(uids)
    order = order_of(joined)
    return joined[order], np.concatenate(features)[order]


def features_of(pool: Pool, name: str) -> Iterator[NDArray[np.float32]]:
    """All features of a pool, float32, in blocks."""
    for table in pool.tables:
        for rows in read_rows(pool, table, ()):
            yield rows.features(name).astype(np.float32)


def _bound(pool: Pool, count: int, seed: int, stream: int) -> np.uint64:
    """The hash of the last row that is taken."""
    smallest = np.empty(0, np.uint64)
    for table in pool.tables:
        for rows in read_rows(pool, table, ()):
            smallest = np.concatenate([smallest, hashes_of(rows.uids, seed, stream=SAMPLE + stream)])
            if len(smallest) > count:
                smallest = np.partition(smallest, count - 1)[:count]
    return np.uint64(smallest.max()) if len(smallest) else np.uint64(0)
