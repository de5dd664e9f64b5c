import json
from pathlib import Path

import pytest

from recipes.pictogram_captions import Captions, Picture, Tally
from recipes.pictogram_drawings import HeldOut, read_clip_art, read_photographs


@pytest.fixture(scope="module")
def clip_art(packages: Path, captions: Captions) -> tuple[list[Picture], list[HeldOut], Tally]:
    tally = Tally()
    pictures, held_out = read_clip_art(packages / "openclipart/usr/share/openclipart/svg", captions, tally)
    return pictures, held_out, tally


def test_a_quarter_of_a_small_collection_is_held_out(
    clip_art: tuple[list[Picture], list[HeldOut], Tally],
) -> None:
    pictures, held_out, _ = clip_art
    assert len(held_out) == 2
    assert not {row.title for row in held_out} & {picture.name for picture in pictures}
    assert not {Path(row.path).name for row in held_out} & {
        Path(picture.content).name for picture in pictures
    }


def test_a_title_that_many_share_gives_way_to_the_file_name(
    clip_art: tuple[list[Picture], list[HeldOut], Tally],
) -> None:
    names = [picture.name for picture in clip_art[0]]
    assert names.count("umbrella") == 13 and "my collection" not in names


def test_gpl_files_and_empty_titles_are_counted(clip_art: tuple[list[Picture], list[HeldOut], Tally]) -> None:
    left_out = clip_art[2].left_out
    assert left_out["clip art: says GPL"] == 1 and left_out["clip art: title of no meaning"] == 1


def test_keywords_are_captions_without_noise(clip_art: tuple[list[Picture], list[HeldOut], Tally]) -> None:
    fox = next(picture for picture in clip_art[0] if picture.name.startswith("fox"))
    assert "animal" in fox.texts and "unsorted" not in fox.texts


def test_only_credited_training_photographs_are_read(tmp_path: Path, captions: Captions) -> None:
    row = {"file": "a.jpg", "split": "train", "label": "fox", "source": "Some-101", "licence": "CC-BY-4.0"}
    rows = [row, {**row, "split": "test"}, {**row, "licence": "CC-BY-2.0"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tally = Tally()
    (picture,) = read_photographs(tmp_path, captions, tally)
    assert (picture.name, picture.source, picture.kind) == ("fox", "some-101", "photograph")
    assert tally.left_out.total() == 2
