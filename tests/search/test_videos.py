"""Libraries with videos: their frames are found, follow their files, and survive what files can be."""

import shutil
from pathlib import Path

import pytest

from clipworks.errors import DataError
from clipworks.model.engine import Engine
from clipworks.search import frames
from clipworks.search.answer import Ask
from clipworks.search.build import build_index
from clipworks.search.check import check_index
from clipworks.search.frames import read_video_facts
from clipworks.search.opening import open_index
from clipworks.search.query import search_terms
from clipworks.search.terms import Term
from clipworks.search.videos import Sampling
from tests.search.movies import write_video
from tests.search.test_stores import needs

RED_BLUE = ("red", "blue", "red", "blue")


@pytest.fixture
def folder(pictures: Path) -> Path:
    """Pictures and a video of four scenes, two of a colour."""
    needs("av")
    (pictures / "blue.txt").write_text("not about the video")
    write_video(pictures / "trips" / "two.mp4", RED_BLUE)
    (pictures / "trips" / "two.mp4.txt").write_text("two colours")
    return pictures


def frames_in(index: Path) -> dict[str, float]:
    return {
        item.id.partition("#")[0] + f" {item.details['scene']}": item.details["second"]
        for item, _ in open_index(index).entries()
        if "#" in item.id
    }


def test_a_video_is_found_by_what_is_in_it_and_when(folder: Path, engine: Engine, tmp_path: Path) -> None:
    report = build_index(folder, tmp_path / "index", engine)
    assert (report.embedded, report.count, report.skipped) == (8, 8, ())
    library = open_index(tmp_path / "index")
    hits = search_terms(library, engine, [Term(text="blue")], Ask(limit=3)).hits
    found = next(hit for hit in hits if hit.id.startswith("trips/two.mp4#2"))
    assert found.path == str(folder / "trips" / "two.mp4") and 2 <= found.details["second"] < 3.3
    assert found.caption == "two colours" and found.details["scene"] == 1
    like = search_terms(library, engine, [Term(like=found.id, region=(0, 0, 0.5, 1))], Ask(limit=1))
    assert like.hits[0].score == pytest.approx(1, abs=1e-3)
    assert library.words("two colours", 9, None).keys() == library.scenes(range(8)).keys()


def test_one_scene_is_one_hit_however_many_frames_it_has(
    folder: Path, engine: Engine, tmp_path: Path
) -> None:
    build_index(folder, tmp_path / "index", engine, sampling=Sampling(seconds=0.5))
    library = open_index(tmp_path / "index")
    assert library.count() == 4 + 16
    hits = search_terms(library, engine, [Term(text="red")], Ask(limit=20, is_folded=True)).hits
    scenes = [(hit.id.partition("#")[0], hit.details["scene"]) for hit in hits if "#" in hit.id]
    assert len(scenes) == len(set(scenes)) <= 4


def test_frames_follow_their_file_without_being_embedded_again(
    folder: Path, engine: Engine, tmp_path: Path
) -> None:
    video, index = folder / "trips" / "two.mp4", tmp_path / "index"
    build_index(folder, index, engine)
    before = frames_in(index)
    assert len(before) == 4
    again = build_index(folder, index, engine)
    assert (again.embedded, again.removed, again.moved) == (0, 0, 0)
    video.rename(folder / "moved.mp4")
    moved = build_index(folder, index, engine)
    assert (moved.embedded, moved.moved, moved.removed) == (0, 4, 0)
    assert [name.split()[0] for name in frames_in(index)] == ["moved.mp4"] * 4
    shutil.copy(folder / "moved.mp4", folder / "copy.mp4")
    (folder / "moved.mp4").touch()
    copied = build_index(folder, index, engine)
    assert (copied.embedded, copied.count) == (0, 12)
    write_video(folder / "moved.mp4", ["green", "red"])
    changed = build_index(folder, index, engine)
    assert (changed.embedded, changed.count) == (2, 10)
    (folder / "copy.mp4").unlink()
    assert build_index(folder, index, engine).removed == 4
    assert check_index(index, with_files=True).problems == ()
    closer = build_index(folder, index, engine, sampling=Sampling(seconds=1))
    assert closer.embedded == 4 and build_index(folder, index, engine).embedded == 0


def test_a_video_may_take_the_place_of_another(folder: Path, engine: Engine, tmp_path: Path) -> None:
    index = tmp_path / "index"
    write_video(folder / "other.mp4", ["green", "red", "green"])
    build_index(folder, index, engine)
    (folder / "other.mp4").replace(folder / "trips" / "two.mp4")
    moved = build_index(folder, index, engine)
    assert (moved.embedded, moved.moved, moved.count) == (0, 3, 7)
    shutil.copy(folder / "trips" / "two.mp4", folder / "third.mp4")
    write_video(folder / "fourth.mp4", ["blue", "red", "blue", "red"])
    assert build_index(folder, index, engine).embedded == 4
    shutil.copy(folder / "third.mp4", folder / "fourth.mp4")
    assert (build_index(folder, index, engine).count, len(frames_in(index))) == (13, 9)
    assert check_index(index).problems == ()


def test_a_video_that_is_away_is_tried_again(
    folder: Path, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(path: Path) -> None:
        path.rename(path.with_suffix(".away"))
        read_video_facts(path)

    with monkeypatch.context() as patch:
        patch.setattr("clipworks.search.video_build.read_video_facts", away)
        assert "No such file" in build_index(folder, tmp_path / "index", engine).skipped[0].reason
    (folder / "trips" / "two.away").rename(folder / "trips" / "two.mp4")
    assert build_index(folder, tmp_path / "index", engine).embedded == 4


def test_bad_videos_are_noted_and_the_rest_goes_on(folder: Path, engine: Engine, tmp_path: Path) -> None:
    content, index = (folder / "trips" / "two.mp4").read_bytes(), tmp_path / "index"
    (folder / "bad.mov").write_bytes(b"no video")
    (folder / "cut.mp4").write_bytes(content[: len(content) * 85 // 100])
    report = build_index(folder, index, engine)
    reasons = {one.path.name: one.reason for one in report.skipped}
    assert "not opened" in reasons["bad.mov"] and "cut off" in reasons["cut.mp4"]
    assert any(name.startswith("cut.mp4") for name in frames_in(index))
    again = build_index(folder, index, engine)
    assert again.embedded == 0 and {one.path.name for one in again.skipped} == set(reasons)
    (folder / "cut.mp4").write_bytes(content)
    (folder / "bad.mov").unlink()
    mended = build_index(folder, index, engine)
    assert mended.skipped == () and open_index(index).failures() == []


def test_without_the_extra_videos_are_listed_with_what_to_do(
    pictures: Path, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipworks.search.video_build.reads_videos", lambda: False)
    monkeypatch.setattr(frames, "find_spec", lambda name: None)
    frames.reads_videos.cache_clear()
    (pictures / "clip.mp4").write_bytes(b"whatever")
    report = build_index(pictures, tmp_path / "index", engine)
    assert (report.videos_left, report.count, report.skipped) == (1, 4, ())
    ((name, reason),) = open_index(tmp_path / "index").failures()
    assert name == "clip.mp4" and 'pip install "clipworks[video]"' in reason
    only = tmp_path / "only"
    only.mkdir()
    (only / "clip.mp4").write_bytes(b"whatever")
    with pytest.raises(DataError, match="clipworks\\[video\\]"):
        build_index(only, tmp_path / "other", engine)
    frames.reads_videos.cache_clear()
