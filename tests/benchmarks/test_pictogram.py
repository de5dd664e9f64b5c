import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import clipworks
from benchmarks import pictogram, suites
from clipworks.files import sha256_file
from clipworks.model.engine import Engine

NAMES = ("fox", "cat", "dog")


@pytest.fixture(scope="module")
def engine(tiny_clip: Any) -> Engine:
    return clipworks.load(tiny_clip.native, precision="f32")


@pytest.fixture
def emoji(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three pictures as the npm package keeps them, and their list."""
    (tmp_path / "assets").mkdir()
    rows = []
    for i, name in enumerate(NAMES):
        Image.new("RGBA", (16, 16), (90 * i, 0, 0, 255)).save(tmp_path / f"assets/1f98{i}-fe0f.webp")
        rows.append(json.dumps({"code": f"1f98{i}", "class": "pet" if i else "mammal", "name": name}))
    (tmp_path / "list.jsonl").write_text("\n".join(rows) + "\n")
    monkeypatch.setattr(pictogram, "EMOJI3D", tmp_path / "list.jsonl")
    return tmp_path


def test_the_committed_lists_are_whole() -> None:
    rows = [json.loads(line) for line in pictogram.EMOJI3D.read_text(encoding="utf-8").splitlines()]
    assert len({row["code"] for row in rows}) == len({row["name"] for row in rows}) == 822
    assert len({row["class"] for row in rows}) == 44
    held_out = json.loads(pictogram.HELD_OUT.read_bytes())
    assert len({row["title"] for row in held_out}) == 500


@pytest.mark.parametrize(("hits", "count", "interval"), [(0, 10, [0.0, 27.8]), (314, 1000, [28.6, 34.3])])
def test_wilson_interval(hits: int, count: int, interval: list[float]) -> None:
    assert suites.wilson(hits, count) == interval


def test_a_model_without_opinion_finds_nothing() -> None:
    scores = suites.recalls(np.zeros((20, 20), dtype=np.float32))
    assert scores["recall_at_10"]["value"] == 0 and scores["median_rank"] == 20


def test_a_perfect_model_finds_everything() -> None:
    scores = suites.recalls(np.eye(20, dtype=np.float32))
    assert scores["recall_at_1"]["value"] == 100 and scores["median_rank"] == 1
    accuracy = suites.accuracy(np.eye(4, dtype=np.float32), np.arange(4))
    assert accuracy["top1"]["value"] == 100 and accuracy["chance"] == 25


@pytest.mark.slow
def test_emoji_scores_are_the_same_from_the_folder_and_from_the_package(engine: Engine, emoji: Path) -> None:
    packed = emoji / "package.tgz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(emoji / "assets", "package/assets")
    scores = pictogram.score_emoji3d(engine, emoji)
    assert scores == pictogram.score_emoji3d(engine, packed)
    assert scores["emoji3d_zero_shot"]["n"] == scores["emoji3d_name"]["n"] == 3
    assert scores["emoji3d_zero_shot"]["classes"] == 2


def test_a_missing_picture_ends_with_its_code(engine: Engine, emoji: Path) -> None:
    (emoji / "assets/1f981-fe0f.webp").unlink()
    with pytest.raises(SystemExit, match="lacks 1 of the pictures, the first is 1f981"):
        pictogram.score_emoji3d(engine, emoji)


@pytest.mark.slow
def test_every_emoji_without_a_skin_tone_is_asked_for_in_each_language(engine: Engine, emoji: Path) -> None:
    for code in ("1f3f0", "1f44b-1f3fb"):  # a castle, and a hand with a skin tone
        Image.new("RGBA", (16, 16), (0, 90, 0, 255)).save(emoji / f"assets/{code}.webp")
    rows = [{"hexcode": f"1F98{i}", "label": name, "group": 3} for i, name in enumerate(NAMES)]
    rows += [{"hexcode": "1F3F0", "label": "Castle", "group": 4}]
    rows += [{"hexcode": "1F44B-1F3FB", "label": "Hand", "group": 0}]
    for language in suites.LANGUAGES:
        (emoji / "base" / language).mkdir(parents=True)
        known = rows[1:] if language == "de" else rows
        (emoji / "base" / language / "data.json").write_text(json.dumps(known))
    packed = emoji / "package.tgz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(emoji / "assets", "package/assets")
        tar.add(emoji / "list.jsonl", "package/package.json")
    scores = pictogram.score_languages(engine, packed, emoji / "base")
    assert scores["emoji_all_name_en"]["n"] == 4 and scores["emoji_all_name_de"]["n"] == 3
    assert scores["emoji_all_name_recall_at_10_of_others"] == 100.0


@pytest.mark.skipif(shutil.which("rsvg-convert") is None, reason="rsvg-convert is not installed")
def test_clip_art_that_cannot_be_drawn_is_left_out(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "usr/share/openclipart/svg"
    folder.mkdir(parents=True)
    good = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><rect width="9" height="9"/></svg>'
    rows = []
    for name, text in (("fox", good), ("cat", good.replace("9", "8")), ("broken", "<svg")):
        (folder / f"{name}.svg").write_text(text)
        rows.append({"path": f"{name}.svg", "title": name, "sha256": sha256_file(folder / f"{name}.svg")})
    (tmp_path / "held_out.json").write_text(json.dumps(rows))
    monkeypatch.setattr(pictogram, "HELD_OUT", tmp_path / "held_out.json")
    scores = pictogram.score_clip_art(engine, tmp_path)
    assert scores["openclipart_title"]["n"] == 2


def test_clip_art_is_left_out_where_nothing_draws_it(
    engine: Engine, emoji: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = dict[str, Any]()
    monkeypatch.setattr("sys.argv", ["pictogram", "--emoji", str(emoji), "--clip-art", str(emoji)])
    monkeypatch.setattr(pictogram.clipworks, "load", lambda name, precision: engine)
    monkeypatch.setattr(pictogram, "write_result", lambda name, results: written.update(results))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    pictogram.main()
    assert "emoji3d_name" in written and "openclipart_title" not in written
    assert "rsvg-convert (librsvg2-bin) is not installed" in capsys.readouterr().err


def test_only_the_test_split_of_photographs_counts(engine: Engine, tmp_path: Path) -> None:
    rows = [{"file": f"{i}.jpg", "split": "train" if i else "test", "label": NAMES[i]} for i in range(3)]
    for row in rows:
        Image.new("RGB", (20, 20)).save(tmp_path / str(row["file"]))
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    scores = suites.score_suite(engine, suites.photograph_suite(tmp_path))["photographs_zero_shot"]
    assert (scores["n"], scores["classes"], scores["top1"]["value"]) == (1, 1, 100.0)


def test_drawings_lie_on_white() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(buffer, "PNG")
    assert pictogram._on_white(buffer.getvalue()).getpixel((0, 0)) == (255, 255, 255)
