"""The whole way on the made-up packages; needs resvg-py, and rsvg-convert for the clip art."""

import io
import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from clipworks.shards import read_shards
from recipes.pictogram_captions import WEIGHTS, Picture, Tally, picture_key

pictogram_shards = pytest.importorskip("recipes.pictogram_shards", reason="resvg-py is not installed")
needs_rsvg = pytest.mark.skipif(shutil.which("rsvg-convert") is None, reason="rsvg-convert is not installed")


def glyph(name: str, source: str, mark: str) -> Picture:
    return Picture(
        key=picture_key(source, mark),
        texts=(name,),
        source=source,
        licence="MIT",
        kind="glyph",
        form="svg",
        content=mark,
    )


def make(monkeypatch: pytest.MonkeyPatch, packages: Path, wordnet: Path, out: Path, *more: str) -> None:
    paths = ["--packages", str(packages), "--wordnet", str(wordnet), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["pictogram_shards", *paths, *more])
    pictogram_shards.main()


def test_each_set_gives_one_picture_of_a_name_before_any_gives_two() -> None:
    pictures = [glyph("fox", "a", str(i)) for i in range(5)] + [glyph("fox", "b", "9")]
    tally = Tally()
    chosen = pictogram_shards.choose(pictures, tally)
    assert sorted(picture.source for picture in chosen) == ["a", "b"]
    assert tally.left_out["picture: enough of this name"] == 4


def test_copies_are_left_out_and_the_order_is_that_of_the_keys() -> None:
    pictures = [glyph("fox", "a", "same"), glyph("cat", "b", "same"), glyph("dog", "a", "other")]
    chosen = pictogram_shards.choose(pictures, Tally())
    assert len(chosen) == 2 and [p.key for p in chosen] == sorted(p.key for p in chosen)


def test_a_drawing_without_ink_is_blank() -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"></svg>'
    picture = glyph("fox", "a", svg)
    assert pictogram_shards.render(picture) == "blank"


def test_a_broken_drawing_is_reported() -> None:
    assert pictogram_shards.render(glyph("fox", "a", "<svg")) == "cannot be rendered"


@needs_rsvg
def test_a_wide_drawing_is_centred(packages: Path) -> None:
    path = next((packages / "openclipart/usr/share/openclipart/svg").glob("animal*"))
    picture = Picture(
        key="k", texts=("fox",), source="s", licence="l", kind="clip art", form="svg file", content=str(path)
    )
    image = Image.open(io.BytesIO(pictogram_shards.render(picture)))
    assert image.size == (64, 64) and image.getpixel((32, 32)) == (255, 0, 0, 255)
    assert image.getchannel("A").getbbox() == (0, 16, 64, 48)


@needs_rsvg
def test_packages_become_shards_with_counts_and_credits(
    packages: Path, wordnet_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "shards"
    make(monkeypatch, packages, wordnet_folder, out)
    samples = list(read_shards(out))
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert manifest["samples"] == len(samples) == sum(manifest["counts"]["set"].values())
    assert manifest["left_out"]["picture: blank"] == 1
    fox = next(sample for sample in samples if sample.details["source"] == "noto")
    assert fox.texts[0] == "fox"
    assert (fox.details["licence"], fox.details["mono"]) == ("Apache-2.0", False)
    assert fox.details["weight"] == WEIGHTS["emoji"]
    assert Image.open(io.BytesIO(fox.image)).mode == "RGBA"
    credits_page = (out / "ATTRIBUTION.md").read_text()
    assert "The noto people" in credits_page and "fluent" not in credits_page
    assert len(json.loads((out / "held_out.json").read_bytes())) == 2


def test_the_same_packages_give_the_same_bytes_with_any_number_of_workers(
    packages: Path, wordnet_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for workers in ("1", "2"):
        out = tmp_path / workers
        make(monkeypatch, packages, wordnet_folder, out, "--sets", "lines,noto,flag", "--workers", workers)
    assert (tmp_path / "1/00000.tar").read_bytes() == (tmp_path / "2/00000.tar").read_bytes()
    assert (tmp_path / "1/manifest.json").read_bytes() == (tmp_path / "2/manifest.json").read_bytes()


@pytest.mark.parametrize("last_step", ["describe", "attribution", "finish_shards"])
def test_a_folder_is_unfinished_until_its_last_file_is_there(
    packages: Path, wordnet_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last_step: str
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    out, sets = tmp_path / "out", ("--sets", "flag")
    with monkeypatch.context() as patch:
        patch.setattr(pictogram_shards, last_step, stop)
        with pytest.raises(KeyboardInterrupt):
            make(patch, packages, wordnet_folder, out, *sets)
    assert not (out / "manifest.json").exists()
    make(monkeypatch, packages, wordnet_folder, out, *sets)
    assert sorted(path.name for path in out.iterdir()) == [
        "00000.tar",
        "ATTRIBUTION.md",
        "data_manifest.json",
        "held_out.json",
        "manifest.json",
    ]


def test_a_dry_run_writes_nothing(
    packages: Path, wordnet_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(monkeypatch, packages, wordnet_folder, tmp_path / "out", "--sets", "flag", "--dry-run")
    assert not (tmp_path / "out").exists()
