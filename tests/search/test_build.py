"""Building and updating an index: only what changed is embedded, one bad file harms no other."""

import os
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from clipworks.errors import ConfigError, DataError, InputError
from clipworks.model.engine import Engine
from clipworks.search.build import PARTS, build_index
from clipworks.search.embedded import open_index
from tests.serve.colours import ColourEngine, picture


def folder_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "index"


def test_a_folder_becomes_an_index(pictures: Path, out: Path, engine: Engine) -> None:
    report = build_index(pictures, out, engine)
    assert (report.count, report.embedded, report.reused, report.removed, report.skipped) == (4, 4, 0, 0, ())
    store = open_index(out)
    assert (store.count(), store.fingerprint) == (4, engine.fingerprint)
    assert np.linalg.norm(store.vectors, axis=1) == pytest.approx(np.ones(4), abs=1e-5)


def test_a_repeated_build_embeds_nothing_and_writes_the_same_bytes(
    pictures: Path, out: Path, engine: Engine
) -> None:
    build_index(pictures, out, engine)
    before = folder_bytes(out)
    calls = cast(Any, engine).calls
    calls.clear()
    report = build_index(pictures, out, engine)
    assert (report.embedded, report.reused) == (0, 4)
    assert "images" not in [kind for kind, _ in calls]
    assert folder_bytes(out) == before


def test_only_new_and_changed_pictures_are_embedded_and_gone_ones_dropped(
    pictures: Path, out: Path, engine: Engine
) -> None:
    build_index(pictures, out, engine)
    (pictures / "red.png").write_bytes(picture((250, 0, 0)))
    (pictures / "new.png").write_bytes(picture((9, 99, 199)))
    (pictures / "black.png").unlink()
    report = build_index(pictures, out, engine)
    assert (report.count, report.embedded, report.reused, report.removed) == (4, 2, 2, 1)
    assert open_index(out).get("black.png") is None


def test_an_updated_index_is_the_same_as_one_built_at_once(
    pictures: Path, tmp_path: Path, engine: Engine
) -> None:
    build_index(pictures, tmp_path / "a", engine)
    (pictures / "a first one.png").write_bytes(picture((9, 99, 199)))
    build_index(pictures, tmp_path / "a", engine)
    build_index(pictures, tmp_path / "b", engine)
    assert folder_bytes(tmp_path / "a") == folder_bytes(tmp_path / "b")


def test_a_touched_and_a_renamed_file_are_not_embedded_again(
    pictures: Path, out: Path, engine: Engine
) -> None:
    build_index(pictures, out, engine)
    os.utime(pictures / "red.png", (1, 1))
    (pictures / "green.png").rename(pictures / "moved.png")
    report = build_index(pictures, out, engine)
    assert (report.embedded, report.reused, report.removed) == (0, 4, 1)
    assert open_index(out).get("moved.png") is not None


def test_two_copies_of_a_picture_are_embedded_once_and_both_found(
    pictures: Path, out: Path, engine: Engine
) -> None:
    shutil.copy(pictures / "red.png", pictures / "red again.png")
    report = build_index(pictures, out, engine)
    assert (report.count, report.embedded) == (5, 4)
    hits = open_index(out).query(engine.embed_texts(["red"])[0], 2)
    assert {hit.id for hit in hits} == {"red.png", "red again.png"}


def test_a_bad_file_is_skipped_with_a_reason_and_tried_again_when_mended(
    pictures: Path, out: Path, engine: Engine
) -> None:
    (pictures / "bad.jpg").write_text("this is no picture")
    report = build_index(pictures, out, engine)
    assert report.count == 4
    assert [one.path.name for one in report.skipped] == ["bad.jpg"]
    assert "bad.jpg" in report.skipped[0].reason
    assert open_index(out).get("bad.jpg") is None
    (pictures / "bad.jpg").write_bytes(picture((1, 200, 200)))
    assert build_index(pictures, out, engine).count == 5


def test_captions_changed_later_are_taken_up_without_embedding(
    pictures: Path, out: Path, engine: Engine
) -> None:
    build_index(pictures, out, engine)
    (pictures / "captions.jsonl").write_text('{"file": "deep/blue.png", "caption": "the sky"}\n')
    assert build_index(pictures, out, engine).embedded == 0
    item = open_index(out).get("deep/blue.png")
    assert item is not None and item.caption == "the sky"


def test_an_index_of_another_checkpoint_is_refused_and_left_alone(
    pictures: Path, out: Path, engine: Engine
) -> None:
    build_index(pictures, out, engine)
    before = folder_bytes(out)
    with pytest.raises(ConfigError, match="was made by the checkpoint"):
        build_index(pictures, out, cast(Engine, ColourEngine("other")))
    assert folder_bytes(out) == before


class Stop(Exception):
    """Stands for Ctrl-C."""


def test_an_interrupted_build_goes_on_where_it_stopped(
    pictures: Path, tmp_path: Path, engine: Engine
) -> None:
    def stop(done: int, total: int) -> None:
        assert total == 4
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        build_index(pictures, tmp_path / "a", engine, batch_size=1, on_progress=stop)
    with pytest.raises(DataError, match="no finished index"):
        open_index(tmp_path / "a")
    assert list((tmp_path / "a" / PARTS).iterdir())
    report = build_index(pictures, tmp_path / "a", engine)
    assert (report.embedded, report.reused) == (1, 3)
    build_index(pictures, tmp_path / "b", engine)
    assert folder_bytes(tmp_path / "a") == folder_bytes(tmp_path / "b")
    assert not (tmp_path / "a" / PARTS).exists()


def test_the_rest_of_an_interrupted_build_by_another_checkpoint_is_refused(
    pictures: Path, out: Path, engine: Engine
) -> None:
    def stop(done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        build_index(pictures, out, engine, on_progress=stop)
    with pytest.raises(ConfigError, match="was made by the checkpoint"):
        build_index(pictures, out, cast(Engine, ColourEngine("other")))


def test_a_folder_with_other_files_is_not_written_into(pictures: Path, engine: Engine) -> None:
    with pytest.raises(DataError, match="holds other files and no index"):
        build_index(pictures, pictures, engine)
    assert not (pictures / "manifest.json").exists()


def test_progress_is_told_picture_by_picture(pictures: Path, out: Path, engine: Engine) -> None:
    seen: list[tuple[int, int]] = []
    build_index(pictures, out, engine, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_glob_is_indexed_with_names_below_its_fixed_part(pictures: Path, out: Path, engine: Engine) -> None:
    build_index(pictures / "**" / "b*.png", out, engine)
    assert [item.id for item, _ in open_index(out).entries()] == ["black.png", "deep/blue.png"]


def test_a_source_without_one_usable_picture_is_an_error(tmp_path: Path, out: Path, engine: Engine) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="None of the 1 files") as caught:
        build_index(tmp_path, out, engine)
    assert "0 bytes" in caught.value.message
    with pytest.raises(InputError, match="does not exist"):
        build_index(tmp_path / "none", out, engine)


def test_a_batch_size_out_of_range_is_refused(pictures: Path, out: Path, engine: Engine) -> None:
    with pytest.raises(ConfigError, match="batch_size is 0"):
        build_index(pictures, out, engine, batch_size=0)
