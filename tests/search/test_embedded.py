"""The index folder: what is written is found, in the right order, and damage is noticed."""

import json
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from clipworks.errors import ConfigError, DataError
from clipworks.model.engine import Engine
from clipworks.search import embedded
from clipworks.search.build import build_index
from clipworks.search.embedded import EmbeddedStore, open_index
from clipworks.search.store import VectorStore


@pytest.fixture
def store(pictures: Path, engine: Engine, tmp_path: Path) -> EmbeddedStore:
    (pictures / "metadata.jsonl").write_text(
        '{"file": "red.png", "caption": "a red square", "licence": "MIT"}\n'
    )
    build_index(pictures, tmp_path / "index", engine)
    return open_index(tmp_path / "index")


def files_of(folder: Path) -> tuple[Path, Path]:
    """The vectors and the items, of which there is one generation."""
    (vectors,), (items,) = folder.glob("vectors.*"), folder.glob("items.*")
    return vectors, items


def test_the_store_meets_the_protocol(store: EmbeddedStore) -> None:
    protocol: VectorStore = store
    assert (protocol.count(), protocol.dim) == (4, 8)


def test_a_query_gives_the_nearest_first_with_what_is_known_of_it(
    store: EmbeddedStore, engine: Engine, pictures: Path
) -> None:
    hits = store.query(engine.embed_texts(["red"])[0], 2)
    assert hits[0].id == "red.png"
    assert hits[0].score == pytest.approx(1.0, abs=1e-5)
    assert (hits[0].caption, hits[0].licence) == ("a red square", "MIT")
    assert Path(hits[0].path).samefile(pictures / "red.png")
    assert hits[0].score >= hits[1].score


def test_scores_are_cosines_of_an_exact_scan(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_SCAN_ROWS", 3)  # more than one block
    random = np.random.default_rng(7).standard_normal(8)
    vector = (random / np.linalg.norm(random)).astype(np.float32)
    hits = store.query(vector, 4)
    assert [hit.score for hit in hits] == pytest.approx(
        sorted(store.vectors @ vector, reverse=True), abs=1e-6
    )


def test_a_limit_above_the_count_gives_all(store: EmbeddedStore, engine: Engine) -> None:
    assert len(store.query(engine.embed_texts(["red"])[0], 1000)) == 4


def test_equal_scores_come_in_index_order(store: EmbeddedStore) -> None:
    hits = store.query(np.zeros(8, dtype=np.float32), 4)
    assert [hit.id for hit in hits] == ["black.png", "deep/blue.png", "green.png", "red.png"]


def test_equal_scores_come_in_index_order_when_the_limit_cuts_them(
    engine: Engine, pictures: Path, tmp_path: Path
) -> None:
    source = tmp_path / "many"
    source.mkdir()
    for number in range(500):
        shutil.copy(
            pictures / ("deep/blue.png" if number in (7, 40) else "red.png"), source / f"{number:03d}.png"
        )
    build_index(source, tmp_path / "index", engine)
    store = open_index(tmp_path / "index")
    for words, expected in (
        ("red", ["000.png", "001.png", "002.png", "003.png", "004.png"]),
        ("blue", ["007.png", "040.png", "000.png", "001.png", "002.png"]),
    ):
        assert [hit.id for hit in store.query(engine.embed_texts([words])[0], 5)] == expected


def test_a_limit_below_one_and_a_vector_of_another_length_are_refused(store: EmbeddedStore) -> None:
    with pytest.raises(ConfigError, match="limit is 0"):
        store.query(np.zeros(8, dtype=np.float32), 0)
    with pytest.raises(ConfigError, match=r"needs \(8,\)"):
        store.query(np.zeros(9, dtype=np.float32), 1)


def test_an_item_is_found_by_its_id(store: EmbeddedStore) -> None:
    item = store.get("red.png")
    assert item is not None and item.caption == "a red square"
    assert store.get("nothing.png") is None


def test_an_index_moved_together_with_its_pictures_still_finds_them(
    store: EmbeddedStore, engine: Engine, tmp_path: Path
) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir()
    shutil.move(tmp_path / "index", target / "index")
    shutil.move(tmp_path / "pictures", target / "pictures")
    hit = open_index(target / "index").query(engine.embed_texts(["blue"])[0], 1)[0]
    assert Path(hit.path).samefile(target / "pictures" / "deep" / "blue.png")


def test_an_index_inside_the_folder_of_pictures_is_opened_by_that_folder(
    pictures: Path, engine: Engine
) -> None:
    build_index(pictures, embedded.default_place(pictures), engine)
    assert open_index(pictures).count() == 4


def test_a_folder_without_an_index_is_said_with_the_command_that_makes_one(pictures: Path) -> None:
    with pytest.raises(DataError, match="no finished index") as caught:
        open_index(pictures)
    assert f"clipworks index {pictures}" in caught.value.remedy
    with pytest.raises(DataError, match="does not exist"):
        open_index(pictures / "none")


def test_an_index_whose_manifest_is_missing_is_unfinished(store: EmbeddedStore) -> None:
    (store.folder / "manifest.json").unlink()
    with pytest.raises(DataError, match="no finished index"):
        open_index(store.folder)


@pytest.mark.parametrize(
    "damage", ["vectors cut", "vectors gone", "items cut", "header gone", "not an index"]
)
def test_files_that_do_not_belong_together_are_refused(store: EmbeddedStore, damage: str) -> None:
    manifest = store.folder / "manifest.json"
    values = json.loads(manifest.read_text())
    vectors, items = files_of(store.folder)
    match damage:
        case "vectors cut":
            np.save(vectors, np.zeros((3, 8), dtype=np.float32))
        case "vectors gone":
            vectors.unlink()
        case "items cut":
            items.write_bytes(b"{}\n")
        case "header gone":
            manifest.write_text(json.dumps({**values, "header": {}}))
        case "not an index":
            manifest.write_text(json.dumps({"format": "clipworks"}))
    with pytest.raises(DataError, match=r"damaged|is not an index"):
        open_index(store.folder)


def test_an_index_of_another_version_is_refused(store: EmbeddedStore) -> None:
    manifest = store.folder / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "version": 99}))
    with pytest.raises(DataError, match="version 99"):
        open_index(store.folder)


def test_an_index_of_version_1_is_read_and_says_nothing_of_its_pixels(store: EmbeddedStore) -> None:
    as_version_1(store.folder)
    old = open_index(store.folder)
    assert (old.count(), old.header.preprocess) == (4, "")
    assert np.array_equal(old.vectors, store.vectors)


def test_a_build_removes_the_files_of_version_1_and_leavings_of_killed_builds_and_nothing_else(
    store: EmbeddedStore, pictures: Path, engine: Engine
) -> None:
    wanted = {path.name for path in store.folder.iterdir()} | {"items of mine.jsonl"}
    as_version_1(store.folder)
    for name in (
        "items of mine.jsonl",
        "vectors.0123456789abcdef.npy",
        ".items.0123456789abcdef.jsonl.x8_z",
        ".manifest.json.abc",
    ):
        (store.folder / name).touch()
    assert build_index(pictures, store.folder, engine).embedded == 4
    assert {path.name for path in store.folder.iterdir()} == wanted


def as_version_1(folder: Path) -> None:
    vectors, items = files_of(folder)
    vectors.rename(folder / "vectors.npy")
    items.rename(folder / "items.jsonl")
    values = json.loads((folder / "manifest.json").read_text())
    del values["generation"], values["header"]["preprocess"]
    (folder / "manifest.json").write_text(json.dumps({**values, "version": 1}))


def test_an_index_that_is_updated_while_it_is_opened_is_opened_anew(
    store: EmbeddedStore, pictures: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = embedded.read_manifest

    def read_then_update(folder: Path) -> Any:
        manifest = read(folder)
        monkeypatch.undo()
        (pictures / "red.png").unlink()
        build_index(pictures, store.folder, engine)
        return manifest

    monkeypatch.setattr(embedded, "read_manifest", read_then_update)
    assert open_index(store.folder).count() == 3


def test_the_vectors_are_mapped_not_read(store: EmbeddedStore) -> None:
    assert isinstance(store.vectors, np.memmap)
    assert cast(np.ndarray, store.vectors).dtype == np.float32
