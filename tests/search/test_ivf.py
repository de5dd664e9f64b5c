"""How many lists are searched is measured: few where pictures lie in clusters, more where they do not."""

from pathlib import Path

import numpy as np
import pytest

from clipworks.search.exact import exactly_nearest
from clipworks.search.matrix import Matrix
from clipworks.search.store import Change, Vectors
from tests.search.libraries import clustered
from tests.search.test_stores import needs

DIM = 32
COUNT = 20_000


def clouds(count: int, seed: int, *, num_clusters: int) -> Vectors:
    """Around so many centres, five times as near to them as these to each other; none: evenly everywhere."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((count, DIM))
    if num_clusters:
        centres = np.random.default_rng(99).standard_normal((num_clusters, DIM))
        vectors = centres[random.integers(0, num_clusters, count)] + vectors / 5
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def everything(vectors: Vectors) -> Change:
    slots, none = np.arange(len(vectors)), np.empty(0, dtype=np.int64)
    return Change(revision=1, slots=slots, vectors=vectors.astype(np.float16), facts=(), gone=none)


@pytest.mark.slow
def test_lists_are_searched_until_the_neighbours_are_found(tmp_path: Path) -> None:
    needs("faiss")
    from clipworks.search.ivf import IvfStore

    searched = {}
    for num_clusters in (200, 0):
        vectors, folder = clouds(COUNT, 0, num_clusters=num_clusters), tmp_path / str(num_clusters)
        folder.mkdir()
        change = everything(vectors)
        matrix = Matrix(None, DIM, np.asarray(change.vectors))
        store = IvfStore(folder, DIM, matrix)
        store.apply(change)
        others = clouds(200, 1, num_clusters=num_clusters)
        true = exactly_nearest(change.vectors, np.ones(COUNT, dtype=np.bool_), others, 10)[0]
        found = store.nearest(others, 10)[0]
        shares = [np.isin(some, own).mean() for some, own in zip(true, found, strict=True)]
        assert np.mean(shares) >= 0.985
        searched[num_clusters] = store.lists_searched
        assert IvfStore(folder, DIM, matrix).lists_searched == store.lists_searched
        assert IvfStore(folder, DIM, matrix, 2).lists_searched == 2
    assert searched[200] == 4 < searched[0]


@pytest.mark.slow
def test_a_few_pictures_need_no_measuring(tmp_path: Path) -> None:
    needs("faiss")
    from clipworks.search.ivf import IvfStore

    for count in (0, 1, 5, 30):
        (tmp_path / str(count)).mkdir()
        change = everything(clustered(count, DIM))
        store = IvfStore(tmp_path / str(count), DIM, Matrix(None, DIM, np.asarray(change.vectors)))
        store.apply(change)
        assert store.count() == count and store.lists_searched == 4
