"""An index of plain files: what is written is found, damage is noticed, and a build makes a library of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipworks.errors import DataError
from clipworks.model.engine import Engine
from clipworks.search import snapshot
from clipworks.search.build import build_index
from clipworks.search.library import Library
from clipworks.search.opening import open_index
from clipworks.search.snapshot import read_snapshot, stamp_of, write_index
from clipworks.search.store import IndexHeader, Item, Relevance


def write(pictures: Path, out: Path, engine: Engine, *names: str) -> None:
    entries = []
    for name in names or ("black.png", "deep/blue.png", "green.png", "red.png"):
        item = Item(id=name, path=str(pictures / name), caption=f"about {name}", licence="MIT")
        entries.append((item, stamp_of(pictures / name)))
    pixels = np.stack([engine.prepare_image(Path(item.path)) for item, _ in entries])
    header = IndexHeader(
        model="colours",
        fingerprint=engine.fingerprint,
        precision=engine.precision,
        preprocess=engine.preprocess,
        dim=engine.dim,
        root="../pictures",
        relevance=relevance_of(engine),
    )
    write_index(out, header, entries, engine.embed_pixels(pixels))


def relevance_of(engine: Engine) -> Relevance:
    return Relevance(text_threshold=0.5, text_margin=0.4, image_threshold=0.6, mean=(0.25,) * engine.dim)


@pytest.fixture
def store(pictures: Path, engine: Engine, tmp_path: Path) -> Library:
    write(pictures, tmp_path / "index", engine)
    return open_index(tmp_path / "index")


def files_of(folder: Path) -> tuple[Path, Path]:
    """The vectors and the items, of which there is one generation."""
    (vectors,), (items,) = folder.glob("vectors.*"), folder.glob("items.*")
    return vectors, items


def test_it_is_searched_like_a_library(store: Library, engine: Engine, pictures: Path) -> None:
    (hit,) = store.query(engine.embed_texts(["blue"])[0], 1)
    assert (hit.id, hit.caption, hit.licence) == ("deep/blue.png", "about deep/blue.png", "MIT")
    assert Path(hit.path).samefile(pictures / "deep" / "blue.png")
    assert store.relevance == relevance_of(engine)
    assert store.words("about red", 5, None).keys() == {store.slot_of("red.png")}


def test_equal_indexes_are_equal_in_every_byte(
    store: Library, pictures: Path, engine: Engine, tmp_path: Path
) -> None:
    write(pictures, tmp_path / "again", engine)
    first, second = (
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in (store.folder, tmp_path / "again")
    )
    assert first == second


def test_a_build_makes_a_library_of_it_and_embeds_only_what_is_new(
    store: Library, pictures: Path, engine: Engine
) -> None:
    before = {
        item.id: vector.tobytes() for (item, _), vector in zip(store.entries(), store.vectors, strict=True)
    }
    (store.folder / "items of mine.jsonl").touch()
    (pictures / "green.png").unlink()
    report = build_index(pictures, store.folder, engine)
    assert (report.count, report.embedded, report.removed) == (3, 0, 1)
    names = {path.name for path in store.folder.iterdir()}
    assert names == {".lock", "library.db", "vectors.f16", "items of mine.jsonl"}
    now = open_index(store.folder)
    after = {item.id: vector.tobytes() for (item, _), vector in zip(now.entries(), now.vectors, strict=True)}
    assert after == {name: vector for name, vector in before.items() if name != "green.png"}


def test_an_import_that_was_killed_begins_again(
    store: Library, pictures: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    def stop(folder: Path) -> None:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr("clipworks.search.converted.remove_snapshot", stop)
        with pytest.raises(Stop):
            build_index(pictures, store.folder, engine)
    report = build_index(pictures, store.folder, engine)
    assert (report.count, report.embedded) == (4, 0)
    assert not (store.folder / "manifest.json").exists()


def test_an_index_whose_manifest_is_missing_is_unfinished(store: Library) -> None:
    (store.folder / "manifest.json").unlink()
    with pytest.raises(DataError, match="no index"):
        open_index(store.folder)


@pytest.mark.parametrize(
    "damage", ["vectors cut", "vectors gone", "items cut", "header gone", "mean cut", "not an index"]
)
def test_files_that_do_not_belong_together_are_refused(store: Library, damage: str) -> None:
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
        case "mean cut":
            values["header"]["relevance"]["mean"].pop()
            manifest.write_text(json.dumps(values))
        case "not an index":
            manifest.write_text(json.dumps({"format": "clipworks"}))
    with pytest.raises(DataError, match=r"damaged|is not an index"):
        open_index(store.folder)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("mean", None, "relevance.mean has to be a list of 8"),
        ("mean", [[1.0]] * 8, "relevance.mean has to be a list of 8"),
        ("mean", ["1"] * 8, "relevance.mean has to be a list of 8"),
        ("mean", [float("nan")] * 8, "relevance.mean has to be a list of 8"),
        ("text_margin", None, "relevance.mean has to be a list of 0"),
        ("text_margin", "x", "relevance.text_margin has to be a finite number or null, not 'x'"),
        ("text_threshold", float("nan"), "relevance.text_threshold has to be a finite number"),
        ("image_threshold", True, "relevance.image_threshold has to be a finite number"),
        ("relevance", [], "relevance has to be an object"),
        ("dim", "8", "dim a whole number"),
        ("fingerprint", 5, "fingerprint has to be a text, not 5"),
    ],
)
def test_a_damaged_header_is_told_by_its_field(store: Library, field: str, value: Any, said: str) -> None:
    manifest = store.folder / "manifest.json"
    values = json.loads(manifest.read_text())
    place = values["header"] if field in values["header"] else values["header"]["relevance"]
    place[field] = value
    manifest.write_text(json.dumps(values))
    with pytest.raises(DataError, match=f"damaged: .*{said}"):
        open_index(store.folder)


def test_an_index_of_another_version_is_refused(store: Library) -> None:
    manifest = store.folder / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "version": 99}))
    with pytest.raises(DataError, match="version 99"):
        open_index(store.folder)


def test_an_index_of_version_1_is_read_and_embedded_anew_by_a_build(store: Library, engine: Engine) -> None:
    as_version_1(store.folder)
    old = open_index(store.folder)
    assert (old.count(), old.header.preprocess) == (4, "")
    assert np.array_equal(old.vectors, store.vectors)
    assert build_index(store.folder.parent / "pictures", store.folder, engine).embedded == 4


def as_version_1(folder: Path) -> None:
    vectors, items = files_of(folder)
    vectors.rename(folder / "vectors.npy")
    items.rename(folder / "items.jsonl")
    values = json.loads((folder / "manifest.json").read_text())
    del values["generation"], values["header"]["preprocess"]
    (folder / "manifest.json").write_text(json.dumps({**values, "version": 1}))


def test_an_index_that_is_written_anew_while_it_is_opened_is_opened_anew(
    store: Library, pictures: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = snapshot.read_manifest

    def read_then_write(folder: Path) -> Any:
        manifest = read(folder)
        monkeypatch.undo()
        write(pictures, store.folder, engine, "black.png", "red.png")
        return manifest

    monkeypatch.setattr(snapshot, "read_manifest", read_then_write)
    assert len(read_snapshot(store.folder).rows) == 2
