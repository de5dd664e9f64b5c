"""A library: what is written is found, in the right order, and damage is noticed."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from clipworks.errors import ConfigError, DataError
from clipworks.model.engine import Engine
from clipworks.search.build import build_index
from clipworks.search.check import check_index
from clipworks.search.library import Library
from clipworks.search.matrix import Matrix
from clipworks.search.opening import default_place, open_index
from clipworks.search.schema import NAME


@pytest.fixture
def store(pictures: Path, engine: Engine, tmp_path: Path) -> Library:
    (pictures / "metadata.jsonl").write_text(
        '{"file": "red.png", "caption": "a red square", "licence": "MIT"}\n'
    )
    build_index(pictures, tmp_path / "index", engine)
    return open_index(tmp_path / "index")


def test_a_query_gives_the_nearest_first_with_what_is_known_of_it(
    store: Library, engine: Engine, pictures: Path
) -> None:
    hits = store.query(engine.embed_texts(["red"])[0], 2)
    assert hits[0].id == "red.png"
    assert hits[0].score == pytest.approx(1.0, abs=1e-3)
    assert (hits[0].caption, hits[0].licence) == ("a red square", "MIT")
    assert Path(hits[0].path).samefile(pictures / "red.png")
    assert hits[0].score >= hits[1].score


def test_scores_are_cosines_of_an_exact_scan(store: Library) -> None:
    random = np.random.default_rng(7).standard_normal(8)
    vector = (random / np.linalg.norm(random)).astype(np.float32)
    hits = store.query(vector, 4)
    assert [hit.score for hit in hits] == pytest.approx(
        sorted(store.vectors @ vector, reverse=True), abs=1e-6
    )


def test_a_limit_above_the_count_gives_all(store: Library, engine: Engine) -> None:
    assert len(store.query(engine.embed_texts(["red"])[0], 1000)) == 4


def test_equal_scores_come_in_index_order(store: Library) -> None:
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
    hits = store.query(engine.embed_texts(["blue"])[0], 5)
    assert {hit.id for hit in hits[:2]} == {"007.png", "040.png"}
    slots = [store.slot_of(hit.id) for hit in store.query(engine.embed_texts(["red"])[0], 5)]
    assert slots == sorted(slots, key=lambda slot: slot or 0)


def test_a_limit_below_one_and_a_vector_of_another_length_are_refused(store: Library) -> None:
    with pytest.raises(ConfigError, match="limit is 0"):
        store.query(np.zeros(8, dtype=np.float32), 0)
    with pytest.raises(ConfigError, match=r"needs \(8,\)"):
        store.query(np.zeros(9, dtype=np.float32), 1)


def test_an_item_is_found_by_its_id(store: Library) -> None:
    item = store.get("red.png")
    assert item is not None and item.caption == "a red square"
    assert store.get("nothing.png") is None


def test_an_index_moved_together_with_its_pictures_still_finds_them(
    store: Library, engine: Engine, tmp_path: Path
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
    build_index(pictures, default_place(pictures), engine)
    assert open_index(pictures).count() == 4


def test_a_folder_without_an_index_is_said_with_the_command_that_makes_one(pictures: Path) -> None:
    with pytest.raises(DataError, match="no index") as caught:
        open_index(pictures)
    assert f"clipworks index {pictures}" in caught.value.remedy
    with pytest.raises(DataError, match="does not exist"):
        open_index(pictures / "none")


@pytest.mark.parametrize(
    "damage", ["vectors cut", "database cut", "another version", "begun only", "header cut"]
)
def test_damage_is_said_with_a_remedy(store: Library, damage: str, engine: Engine) -> None:
    folder = store.folder
    store.close()
    match damage:
        case "vectors cut":
            os.truncate(folder / "vectors.f16", 20)
        case "database cut":
            (folder / NAME).write_bytes(b"SQLite" * 100)
        case "another version":
            change(folder, "UPDATE settings SET value = '99' WHERE name = 'version'")
        case "begun only":
            change(folder, "DELETE FROM settings WHERE name = 'header'")
        case "header cut":
            cut = "json_remove(value, '$.relevance')"
            change(folder, f"UPDATE settings SET value = {cut} WHERE name = 'header'")
    with pytest.raises(
        DataError, match="damaged|version 99|holds nothing|the pictures of the index need"
    ) as caught:
        open_index(folder).query(engine.embed_texts(["red"])[0], 1)
    assert "clipworks index" in caught.value.remedy


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DELETE FROM settings WHERE name = 'header'", "Repeat `clipworks index`"),
        ("UPDATE settings SET value = json_remove(value, '$.dim') WHERE name = 'header'", "header: 'dim'"),
        ("UPDATE settings SET value = '{' WHERE name = 'header'", "The database is damaged"),
        ("DROP TABLE settings", "no such table"),
    ],
)
def test_a_check_tells_a_damaged_header(store: Library, sql: str, said: str) -> None:
    store.close()
    change(store.folder, sql)
    (problem,) = check_index(store.folder).problems
    assert said in problem.problem
    with pytest.raises(DataError):
        open_index(store.folder)


def change(folder: Path, sql: str) -> None:
    with closing(sqlite3.connect(folder / NAME)) as connection:
        connection.execute(sql)
        connection.commit()


def test_the_vectors_are_mapped_not_read(store: Library) -> None:
    rows = Matrix(store.folder / "vectors.f16", 8).rows(4)
    assert isinstance(rows, np.memmap) and rows.dtype == np.float16


def test_an_index_on_a_disk_that_cannot_be_written_is_read(store: Library, engine: Engine) -> None:
    store.close()
    for path in (*store.folder.iterdir(), store.folder):
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        assert open_index(store.folder).query(engine.embed_texts(["red"])[0], 1)[0].id == "red.png"
    finally:
        store.folder.chmod(0o755)
