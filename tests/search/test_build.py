"""Building and updating an index: only what changed is embedded, one bad file harms no other."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from clipworks.errors import ConfigError, DataError, InputError
from clipworks.model.engine import Engine
from clipworks.search.build import build_index, update_index
from clipworks.search.check import check_index
from clipworks.search.matrix import Matrix
from clipworks.search.opening import open_index
from tests.serve.colours import ColourEngine, picture


def content(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Id -> hash of the file and the vector."""
    library = open_index(folder)
    entries = zip(library.entries(), library.vectors, strict=True)
    return {item.id: (stamp.sha256, vector.tobytes()) for (item, stamp), vector in entries}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "index"


def test_a_folder_becomes_an_index(pictures: Path, out: Path, engine: Engine) -> None:
    report = build_index(pictures, out, engine)
    assert (report.count, report.embedded, report.reused, report.removed, report.skipped) == (4, 4, 0, 0, ())
    store = open_index(out)
    assert (store.count(), store.fingerprint) == (4, engine.fingerprint)
    assert np.linalg.norm(store.vectors, axis=1) == pytest.approx(np.ones(4), abs=1e-3)


def test_a_repeated_build_embeds_nothing_and_changes_nothing(
    pictures: Path, out: Path, engine: Engine
) -> None:
    build_index(pictures, out, engine)
    before = open_index(out).revision()
    calls = cast(Any, engine).calls
    calls.clear()
    report = build_index(pictures, out, engine)
    assert (report.embedded, report.reused) == (0, 4)
    assert calls == []
    assert open_index(out).revision() == before


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
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_a_touched_and_a_renamed_file_are_not_embedded_again(
    pictures: Path, out: Path, engine: Engine
) -> None:
    build_index(pictures, out, engine)
    os.utime(pictures / "red.png", (1, 1))
    (pictures / "green.png").rename(pictures / "moved.png")
    report = build_index(pictures, out, engine)
    assert (report.embedded, report.reused, report.moved, report.removed) == (0, 4, 1, 0)
    library = open_index(out)
    assert library.get("moved.png") is not None and library.get("green.png") is None
    assert library.query(engine.embed_texts(["green"])[0], 1)[0].id == "moved.png"


def test_two_pictures_that_change_places_are_not_embedded_again(
    pictures: Path, out: Path, engine: Engine
) -> None:
    build_index(pictures, out, engine)
    (pictures / "red.png").rename(pictures / "other.png")
    (pictures / "green.png").rename(pictures / "red.png")
    (pictures / "other.png").rename(pictures / "green.png")
    for name in ("red.png", "green.png"):
        os.utime(pictures / name, (7, 7))
    assert build_index(pictures, out, engine).embedded == 0
    assert open_index(out).query(engine.embed_texts(["red"])[0], 1)[0].id == "green.png"


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


def test_a_name_that_is_not_utf8_is_skipped_before_anything_is_embedded(
    pictures: Path, out: Path, engine: Engine
) -> None:
    odd = not_utf8(pictures)
    report = build_index(pictures, out, engine)
    assert (report.count, report.embedded) == (4, 4)
    assert [one.path for one in report.skipped] == [odd]
    assert report.skipped[0].reason.endswith(r"caf\xe9.png is not UTF-8; rename it.")


def test_a_folder_whose_name_is_not_utf8_is_indexed_elsewhere(
    pictures: Path, out: Path, engine: Engine
) -> None:
    folder = not_utf8(pictures).with_suffix(".d")
    folder.mkdir()
    (folder / "red.png").write_bytes(picture("red"))
    build_index(folder, out, engine)
    (hit,) = open_index(out).query(engine.embed_texts(["red"])[0], 5)
    assert Path(hit.path).samefile(folder / "red.png")


def not_utf8(folder: Path) -> Path:
    """A picture with a byte in its name that is no UTF-8."""
    path = Path(os.fsdecode(os.fsencode(folder / "caf") + b"\xe9.png"))
    try:
        path.write_bytes(picture("red"))
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 names only")
    return path


def test_half_a_surrogate_pair_in_a_caption_harms_nothing(pictures: Path, out: Path, engine: Engine) -> None:
    (pictures / "captions.jsonl").write_text(r'{"file": "red.png", "caption": "a \ud83d"}')
    build_index(pictures, out, engine)
    item = open_index(out).get("red.png")
    assert item is not None and item.caption == "a ?"


def test_a_wrong_captions_file_is_said_before_anything_is_embedded(
    pictures: Path, out: Path, engine: Engine
) -> None:
    (pictures / "captions.jsonl").write_text("no json")
    with pytest.raises(DataError, match="line 1 is not JSON"):
        build_index(pictures, out, engine)
    assert cast(Any, engine).calls == []


def test_a_place_that_cannot_be_written_is_said_before_anything_is_embedded(
    pictures: Path, out: Path, engine: Engine
) -> None:
    out.touch()
    for place in (out, out / "index"):
        with pytest.raises(DataError, match="cannot be written") as caught:
            build_index(pictures, place, engine)
        assert str(place) in caught.value.message and "--out" in caught.value.remedy
    assert cast(Any, engine).calls == []


def test_a_disk_that_is_full_is_said_and_what_was_there_is_kept(
    pictures: Path, out: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    build_index(pictures, out, engine)
    before = content(out)
    (pictures / "new.png").write_bytes(picture((1, 2, 3)))
    with monkeypatch.context() as patch:
        patch.setattr(Matrix, "write", fail)
        with pytest.raises(DataError, match=r"cannot be written: No space left on device\."):
            build_index(pictures, out, engine)
    assert content(out) == before
    assert build_index(pictures, out, engine).embedded == 1


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
    before = content(out)
    with pytest.raises(ConfigError, match="was made by the checkpoint"):
        build_index(pictures, out, cast(Engine, ColourEngine("other")))
    assert content(out) == before


@pytest.mark.parametrize("change", ["precision", "preprocess"])
def test_an_engine_that_makes_other_vectors_of_the_same_checkpoint_embeds_all_anew(
    pictures: Path, out: Path, engine: Engine, change: str
) -> None:
    build_index(pictures, out, engine)
    setattr(engine, change, "another")
    assert build_index(pictures, out, engine).embedded == 4
    assert getattr(open_index(out).header, change) == "another"
    assert build_index(pictures, out, engine).embedded == 0


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
    assert open_index(tmp_path / "a").count() == 3
    report = build_index(pictures, tmp_path / "a", engine)
    assert (report.embedded, report.reused) == (1, 3)
    build_index(pictures, tmp_path / "b", engine)
    assert content(tmp_path / "a") == content(tmp_path / "b")


@pytest.mark.parametrize("change", ["precision", "preprocess"])
def test_the_rest_of_an_interrupted_build_is_not_mixed_with_other_vectors(
    pictures: Path, out: Path, engine: Engine, change: str
) -> None:
    def stop(done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        build_index(pictures, out, engine, on_progress=stop)
    setattr(engine, change, "another")
    assert build_index(pictures, out, engine).embedded == 4


def test_the_rest_of_an_interrupted_build_by_another_checkpoint_is_refused(
    pictures: Path, out: Path, engine: Engine
) -> None:
    def stop(done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        build_index(pictures, out, engine, on_progress=stop)
    with pytest.raises(ConfigError, match="was made by the checkpoint"):
        build_index(pictures, out, cast(Engine, ColourEngine("other")))


def test_what_sidecars_say_is_taken_up_when_it_changes_without_embedding(
    pictures: Path, out: Path, engine: Engine
) -> None:
    (pictures / "red.png.txt").write_text("a poppy\n")
    build_index(pictures, out, engine)
    library = open_index(out)
    assert (
        library.items([library.slot_of("red.png") or 0])[library.slot_of("red.png") or 0].caption == "a poppy"
    )
    (pictures / "red.png.txt").write_text("a fire engine")
    os.utime(pictures / "red.png.txt", (9, 9))
    assert build_index(pictures, out, engine).embedded == 0
    item = open_index(out).get("red.png")
    assert item is not None and item.caption == "a fire engine"
    assert library.words("engine", 5, None).keys() == {library.slot_of("red.png")}


def test_an_unchanged_folder_needs_no_model_and_reads_no_picture(
    pictures: Path, out: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures / "bad.jpg").write_text("this is no picture")
    build_index(pictures, out, engine, model="colours")

    def fail(*arguments: Any) -> Any:
        raise AssertionError("not needed")

    monkeypatch.setattr(Path, "read_bytes", fail)
    report = update_index(pictures, out, fail, model="colours", trusts_name=True)
    assert (report.count, report.embedded, len(report.skipped)) == (4, 0, 1)
    with pytest.raises(AssertionError, match="not needed"):
        update_index(pictures, out, fail, model="another", trusts_name=True)


def test_a_second_build_of_the_same_index_at_once_is_refused(
    pictures: Path, out: Path, engine: Engine
) -> None:
    def begin_another(done: int, total: int) -> None:
        with pytest.raises(DataError, match="Another process is writing"):
            build_index(pictures, out, engine)

    build_index(pictures, out, engine, on_progress=begin_another)


def test_an_open_index_sees_what_is_written_meanwhile(pictures: Path, out: Path, engine: Engine) -> None:
    build_index(pictures, out, engine)
    library = open_index(out)
    (pictures / "new.png").write_bytes(picture((250, 240, 5)))
    (pictures / "black.png").unlink()
    build_index(pictures, out, engine)
    assert library.count() == 4
    assert library.get("black.png") is None
    ids = {hit.id for hit in library.query(engine.embed_texts(["red"])[0], 9)}
    assert ids == {"red.png", "green.png", "deep/blue.png", "new.png"}


def test_slots_of_gone_pictures_are_used_again_by_a_later_build(
    pictures: Path, out: Path, engine: Engine
) -> None:
    build_index(pictures, out, engine)
    size = (out / "vectors.f16").stat().st_size
    (pictures / "black.png").unlink()
    build_index(pictures, out, engine)
    (pictures / "new.png").write_bytes(picture((250, 240, 5)))
    build_index(pictures, out, engine)
    assert (out / "vectors.f16").stat().st_size == size
    assert not check_index(out).problems


def test_pictures_of_a_folder_that_cannot_be_read_are_kept(
    pictures: Path, out: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_index(pictures, out, engine)
    scan = os.scandir

    def fail(folder: Any) -> Any:
        if Path(folder).name == "deep":
            raise PermissionError(errno.EACCES, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", fail)
    report = build_index(pictures, out, engine)
    assert (report.count, report.removed) == (4, 0)
    assert "Permission denied" in report.skipped[0].reason


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
