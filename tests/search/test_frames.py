"""Frames of videos: scenes, seconds, limits, and files that are no good videos."""

from pathlib import Path

import numpy as np
import pytest

from clipworks.errors import ConfigError, InputError, MissingExtraError
from clipworks.search import frames
from clipworks.search.frames import (
    CutOffError,
    frame_at,
    picture_bytes,
    read_frames,
    read_video_facts,
    turned,
)
from clipworks.search.videos import Sampling, clock, file_of, frame_id, read_sampling
from tests.search.movies import SIZE, write_video
from tests.search.test_stores import needs
from tests.serve.colours import COLOURS

SCENES = ("red", "blue", "green")


def colour_of(pixels: np.ndarray) -> str:
    mean = pixels.reshape(-1, 3).mean(axis=0)
    return min(COLOURS, key=lambda name: float(np.abs(mean - COLOURS[name]).sum()))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    needs("av")
    return write_video(tmp_path / "colours.mp4", SCENES)


def test_each_scene_gives_one_frame(video: Path) -> None:
    found = list(read_frames(video, Sampling(), 24))
    assert [(colour_of(one.pixels), one.scene) for one in found] == [("red", 0), ("blue", 1), ("green", 2)]
    assert found[0].second == 0 and all(2 * n <= one.second < 2 * n + 1.3 for n, one in enumerate(found))
    assert found[0].pixels.shape == (SIZE[1], SIZE[0], 3) and found[0].pixels.dtype == np.uint8


def test_where_key_frames_are_rare_all_frames_are_looked_at(tmp_path: Path) -> None:
    needs("av")
    video = write_video(tmp_path / "long.mp4", SCENES, seconds=10, key_every=600)
    assert [round(one.second) for one in read_frames(video, Sampling(), 24)] == [0, 10, 20]


def test_a_frame_every_few_seconds_knows_its_scene(video: Path) -> None:
    found = list(read_frames(video, Sampling(seconds=0.5), 24))
    assert [one.second for one in found] == pytest.approx(np.arange(0, 6, 0.5), abs=0.01)
    assert [one.scene for one in found] == [0] * 4 + [1] * 4 + [2] * 4


def test_the_frame_at_a_second_is_the_one_that_is_shown_then(video: Path) -> None:
    for second, name in ((0, "red"), (1.9, "red"), (2.0, "blue"), (4.55, "green"), (99, "green")):
        assert colour_of(frame_at(video, second, 24)) == name
    assert picture_bytes(video, "colours.mp4#2.000").startswith(b"\x89PNG")
    assert picture_bytes(video, "colours.mp4") == video.read_bytes()


def test_a_long_video_gives_fewer_frames_of_each_minute(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_FRAMES", 3)
    assert len(list(read_frames(video, Sampling(seconds=0.1), 24))) == 3
    monkeypatch.setattr(frames, "MAX_DECODED", 5)
    assert [one.second for one in read_frames(video, Sampling(seconds=0.1), 24)] == [0]


def test_a_cut_off_video_gives_the_frames_before(video: Path, tmp_path: Path) -> None:
    content = video.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(content[: len(content) * 85 // 100])
    given = []
    with pytest.raises(CutOffError, match="damaged after 0:0[234]"):
        for one in read_frames(cut, Sampling(), 24):
            given.append(colour_of(one.pixels))
    assert given == ["red", "blue"]
    assert colour_of(frame_at(cut, 3, 24)) == "blue"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no video",
        b"\0\0\0\x18ftypmp42" + bytes(200),
        b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile colours.mp4\n",
    ],
    ids=["empty", "text", "head only", "playlist", "list of files"],
)
def test_what_is_no_video_is_refused_and_nothing_else_opened(content: bytes, video: Path) -> None:
    bad = video.with_name("bad.mp4")
    bad.write_bytes(content)
    for call in (lambda: list(read_frames(bad, Sampling(), 24)), lambda: frame_at(bad, 0, 24)):
        with pytest.raises(InputError, match=r"bad\.mp4"):
            call()


def test_damaged_bytes_are_an_error_of_ours_or_none(video: Path, tmp_path: Path) -> None:
    content, random = bytearray(video.read_bytes()), np.random.default_rng(3)
    for number in range(60):
        bad = bytearray(content)
        for place in random.integers(0, len(bad), 20):
            bad[place] = random.integers(0, 256)
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(bad)
        try:
            read_video_facts(path)
            list(read_frames(path, Sampling(), 24))
        except InputError:
            continue


def test_frames_above_the_limit_are_not_decoded(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_PIXELS", 3000)
    with pytest.raises(InputError, match="64x48; the limit"):
        list(read_frames(video, Sampling(), 24))


def test_missing_and_silent_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("av")
    with pytest.raises(InputError, match="No such file"):
        read_video_facts(tmp_path / "none.mp4")
    frames.reads_videos.cache_clear()
    monkeypatch.setattr(frames, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        frame_at(tmp_path / "none.mp4", 0, 24)
    assert "clipworks[video]" in caught.value.remedy and frames.reader_version() == ""
    frames.reads_videos.cache_clear()


def test_facts_are_those_of_a_phone(tmp_path: Path) -> None:
    needs("av")
    said = {
        "com.apple.quicktime.make": "Apple",
        "com.apple.quicktime.model": "iPhone 15",
        "com.apple.quicktime.creationdate": "2024-05-17T14:03:59+0200",
        "com.apple.quicktime.location.ISO6709": "+48.2082-016.3738+151.000/",
        "title": "The harbour",
    }
    facts = read_video_facts(write_video(tmp_path / "phone.mov", ["red"], said=said))
    assert (facts.width, facts.height, facts.camera, facts.caption) == (
        *SIZE,
        "Apple iPhone 15",
        "The harbour",
    )
    assert (facts.latitude, facts.longitude, facts.taken) == (48.2082, -16.3738, 1715954639)


def test_a_camera_held_upright_gives_upright_frames() -> None:
    wide = np.zeros((2, 3, 3), dtype=np.uint8)
    wide[0, 0] = 255
    assert turned(wide, -90).shape == (3, 2, 3) and turned(wide, -90)[0, 1, 0] == 255
    assert turned(wide, 90)[2, 0, 0] == 255 and turned(wide, 180)[1, 2, 0] == 255


def test_names_of_frames_are_read_back() -> None:
    assert file_of(frame_id("a/b #1.mp4", 12.5)) == ("a/b #1.mp4", 12.5)
    assert file_of("a#1.000") == ("a#1.000", None) and file_of("b.mp4") == ("b.mp4", None)
    assert [clock(second) for second in (7.9, 3765)] == ["0:07", "1:02:45"]
    assert read_sampling("2.5") == Sampling(seconds=2.5) and read_sampling(Sampling().name) == Sampling()
    for wrong in ("often", "0", "-1", "nan", "1e9"):
        with pytest.raises(ConfigError):
            read_sampling(wrong)
