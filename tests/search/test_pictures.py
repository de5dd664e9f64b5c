"""Which files folders, globs and names stand for, and what captions files say of them."""

import json
from pathlib import Path

import pytest

from clipworks.errors import DataError, InputError
from clipworks.search.pictures import find_pictures, read_captions


def names(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_a_folder_gives_its_pictures_and_those_below_it_in_order(pictures: Path) -> None:
    assert names(find_pictures([pictures]), pictures) == [
        "black.png",
        "deep/blue.png",
        "green.png",
        "red.png",
    ]


def test_hidden_files_and_folders_and_other_kinds_are_left_out_of_a_folder(pictures: Path) -> None:
    (pictures / ".clipworks").mkdir()
    (pictures / ".clipworks" / "x.png").touch()
    (pictures / ".hidden.png").touch()
    (pictures / "notes.txt").touch()
    assert len(find_pictures([pictures])) == 4


def test_a_glob_gives_the_pictures_that_match(pictures: Path) -> None:
    assert names(find_pictures([pictures / "**" / "b*.png"]), pictures) == ["black.png", "deep/blue.png"]


def test_a_named_file_is_taken_whatever_its_ending(pictures: Path) -> None:
    odd = pictures / "red.picture"
    odd.write_bytes((pictures / "red.png").read_bytes())
    assert find_pictures([odd]) == [odd]


def test_a_file_named_like_a_pattern_is_that_file(pictures: Path) -> None:
    odd = pictures / "a[1].png"
    odd.touch()
    assert find_pictures([odd]) == [odd]


def test_a_file_meant_twice_comes_once(pictures: Path) -> None:
    assert len(find_pictures([pictures, pictures / "red.png", pictures / "*.png"])) == 4


@pytest.mark.parametrize(("name", "words"), [("none", "does not exist"), ("*.gif", "No picture matches")])
def test_a_name_with_nothing_behind_it_is_said(pictures: Path, name: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        find_pictures([pictures / name])
    assert caught.value.code == "not_found"
    assert str(pictures / name) in caught.value.message


def test_a_folder_without_pictures_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pictures"):
        find_pictures([tmp_path])


def test_captions_are_read_by_file_with_every_further_column_as_detail(tmp_path: Path) -> None:
    rows = [
        {
            "file": "a.png",
            "caption": "a fox",
            "licence": "MIT",
            "author": "A",
            "source": "S",
            "kind": "emoji",
        },
        {"file_name": "deep/b.png", "text": "a dog", "license": "CC0-1.0", "tags": ["x"]},
    ]
    text = "\n".join([json.dumps(rows[0]), "", json.dumps(rows[1])])
    (tmp_path / "captions.jsonl").write_text(text)
    captions = read_captions(tmp_path)
    assert captions["a.png"] == {
        "caption": "a fox",
        "licence": "MIT",
        "author": "A",
        "source": "S",
        "details": {"kind": "emoji"},
    }
    assert (captions["deep/b.png"]["caption"], captions["deep/b.png"]["licence"]) == ("a dog", "CC0-1.0")
    assert captions["deep/b.png"]["author"] == ""


def test_a_folder_without_a_captions_file_has_no_captions(pictures: Path) -> None:
    assert read_captions(pictures) == {}


@pytest.mark.parametrize("line", ["not json", "[1]", '{"caption": "x"}', '{"file": 3}'])
def test_a_wrong_line_of_a_captions_file_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "metadata.jsonl").write_text('{"file": "a.png"}\n' + line)
    with pytest.raises(DataError, match=r"metadata\.jsonl, line 2"):
        read_captions(tmp_path)
