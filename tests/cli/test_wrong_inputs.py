"""Every wrong picture of the issue gives one clear sentence, harms no other, and odd but good ones work."""

import json
import os
from pathlib import Path

import pytest
from pictures import encoded, picture, png_header

from tests.cli.conftest import Run

GOOD = encoded(picture("RGB", 40, 30), "JPEG")
FRAMES = [picture("RGB", 20, 20).rotate(90 * turn) for turn in range(3)]

WRONG = {
    "text.jpg": (b"only words", "is not a readable picture"),
    "truncated.jpg": (GOOD[: len(GOOD) // 2], "damaged or incomplete"),
    "empty.jpg": (b"", "empty (0 bytes)"),
    "huge.png": (png_header(20_000, 20_000, bits=1, rows=b"\0" * 100), "the limit is 50 million"),
    "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
}

ODD = {
    "sixteen.png": encoded(picture("I;16", 30, 30), "PNG"),
    "cmyk.jpg": encoded(picture("CMYK", 30, 30), "JPEG"),
    "moving.gif": encoded(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]),
    "one.png": encoded(picture("RGB", 1, 1), "PNG"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_picture_is_one_sentence_and_the_others_are_done(run: Run, tmp_path: Path, name: str) -> None:
    data, words = WRONG[name]
    (tmp_path / name).write_bytes(data)
    (tmp_path / "good.jpg").write_bytes(GOOD)
    result = run("classify", tmp_path / name, tmp_path / "good.jpg", "--labels", "a,b", "--json", status=1)
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("Skipped: ") and name in result.stderr and words in result.stderr
    assert len(result.stdout.splitlines()) == 1 and "good.jpg" in result.stdout


@pytest.mark.parametrize("name", ODD)
def test_an_odd_picture_is_classified(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(ODD[name])
    result = run("classify", tmp_path / name, "--labels", "a,b", "--json")
    assert name in result.stdout and result.stderr == ""


def test_a_missing_file_is_said_and_the_others_are_done(run: Run, folder: Path) -> None:
    result = run("classify", folder / "none.png", folder / "a.png", "--labels", "a,b", "--json", status=1)
    assert result.stderr == f"Skipped: {folder / 'none.png'} does not exist. Check the path.\n"
    assert len(result.stdout.splitlines()) == 1


def test_an_index_of_good_and_wrong_pictures_holds_the_good_ones(run: Run, tmp_path: Path) -> None:
    place = tmp_path / "pictures"
    place.mkdir()
    for name, data in {**{name: data for name, (data, _) in WRONG.items()}, **ODD}.items():
        (place / name).write_bytes(data)
    result = run("index", place, status=1)
    lines = result.stderr.splitlines()
    assert len([line for line in lines if line.startswith("Skipped: ")]) == len(WRONG)
    assert lines[-1].startswith(f"{len(ODD)} pictures in {place / '.clipworks'}")
    assert f"{len(WRONG)} skipped" in lines[-1]
    assert len(run("search", place, "anything", "--json").stdout) > 100


def test_a_name_that_is_not_utf8_is_classified_with_its_name_escaped(run: Run, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9.jpg"))
    try:
        path.write_bytes(GOOD)
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 names only")
    output = run("classify", tmp_path, "--labels", "a,b", "--json").stdout
    assert r"caf\udce9.jpg" in output
    assert json.loads(output)["path"] == str(path)
    assert "caf" in run("classify", tmp_path, "--labels", "a,b").stdout


def test_an_index_of_a_name_that_is_not_utf8_and_others_holds_the_others(run: Run, folder: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(folder / "caf") + b"\xe9.jpg"))
    try:
        path.write_bytes(GOOD)
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 names only")
    result = run("index", folder, "--json", status=1)
    assert result.stderr.startswith(f"Skipped: The name of {folder}/caf\\xe9.jpg is not UTF-8; rename it.\n")
    assert json.loads(result.stdout)["count"] == 3


def test_a_place_that_cannot_be_written_is_one_sentence(run: Run, folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    result = run("index", folder, "--out", place / "index", status=1)
    assert result.stderr.startswith(f"Error: The index {place / 'index'} cannot be written: ")
    assert result.stderr.endswith("Choose another folder with --out.\n") and result.stderr.count("\n") == 1


def test_an_output_that_is_a_folder_is_one_sentence(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "taken.npz").mkdir()
    result = run("embed", folder, "--out", tmp_path / "taken.npz", status=1)
    assert "taken.npz is a folder." in result.output and ".part" not in result.output


def test_a_model_name_longer_than_any_path_is_one_sentence(run: Run, folder: Path) -> None:
    assert "Error: " in run("embed", folder, "--model", "a" * 5000, "--out", "x.npz", status=1).output
