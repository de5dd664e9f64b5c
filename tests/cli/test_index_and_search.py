"""`clipworks index` and `clipworks search`, together as people use them."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pictures import encoded, picture

from clipworks.model.engine import Engine
from tests.cli.conftest import Run
from tests.conftest import TinyClip
from tests.search.movies import write_video
from tests.search.test_stores import needs


def test_a_folder_is_indexed_in_place_and_searched(run: Run, folder: Path) -> None:
    report = run("index", folder)
    assert report.stdout == ""
    assert (
        f"3 pictures in {folder / '.clipworks'}: 3 embedded, 0 reused, 0 moved, 0 removed, 0 skipped"
        in report.stderr
    )
    output = run("search", folder, "stripes", "--limit", "2", "--all").stdout
    assert output.splitlines()[0].split() == ["score", "caption", "path"]
    assert len(output.splitlines()) == 3


def test_a_repeated_run_reuses_everything(run: Run, folder: Path) -> None:
    run("index", folder)
    values = json.loads(run("index", folder, "--json").stdout)
    assert (values["count"], values["embedded"], values["reused"], values["removed"]) == (3, 0, 3, 0)
    assert values["skipped"] == []


def test_an_interrupted_run_ends_with_130_and_goes_on_when_repeated(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        (folder / f"{number}.png").write_bytes(encoded(picture("RGB", 20 + number, 20), "PNG"))
    embed, calls = Engine.embed_pixels, []

    def fail(engine: Engine, pixels: Any) -> Any:
        calls.append(len(pixels))
        if len(calls) > 1:
            raise KeyboardInterrupt
        return embed(engine, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "embed_pixels", fail)
        assert run("index", folder, status=130).stderr == "Interrupted.\n"
    begun = json.loads(run("search", folder, "a dog", "--json", "--limit", "500", "--all").stdout)
    assert len(begun["hits"]) == calls[0]
    values = json.loads(run("index", folder, "--json").stdout)
    assert (values["count"], values["reused"]) == (103, calls[0])


def test_the_index_remembers_its_model(
    run: Run, folder: Path, tmp_path: Path, tiny_clip: TinyClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLIPWORKS_MODEL")
    monkeypatch.chdir(Path(tiny_clip.native).parent)
    run("index", folder, "--out", tmp_path / "index", "--model", "./native")
    monkeypatch.chdir(tmp_path)
    result = json.loads(run("search", "index", "stripes", "--json").stdout)
    assert len(result["hits"]) == 3


def test_a_picture_finds_itself_and_json_has_path_score_and_caption(run: Run, folder: Path) -> None:
    run("index", folder)
    result = json.loads(run("search", folder, "--image", folder / "b.jpg", "--limit", "1", "--json").stdout)
    (hit,) = result["hits"]
    assert Path(hit["path"]).samefile(folder / "b.jpg")
    assert (hit["caption"], hit["score"]) == ("dots", pytest.approx(1.0, abs=1e-3))
    assert result["is_relevant"] is True


def test_a_search_without_a_good_match_says_so_on_stderr(run: Run, folder: Path) -> None:
    run("index", folder)
    with closing(sqlite3.connect(folder / ".clipworks" / "library.db")) as connection:
        connection.execute(
            "UPDATE settings SET value = json_set(value, '$.relevance.text_threshold', 1.0) "
            "WHERE name = 'header'"
        )
        connection.commit()
    result = run("search", folder, "a dog")
    assert result.stderr == "Nothing relevant found; --all shows the nearest pictures.\n"
    assert result.stdout == ""
    result = run("search", folder, "a dog", "--all")
    assert result.stderr == "Nothing relevant found; these are the nearest pictures.\n"
    assert len(result.stdout.splitlines()) == 4
    values = json.loads(run("search", folder, "a dog", "--json").stdout)
    assert values["is_relevant"] is False and not any(hit["is_relevant"] for hit in values["hits"])


@pytest.mark.slow
def test_an_index_of_another_model_is_refused(run: Run, folder: Path, tiny_clip_quick: TinyClip) -> None:
    run("index", folder)
    for arguments in (("index", folder), ("search", folder, "a dog")):
        result = run(*arguments, "--model", tiny_clip_quick.native, status=1)
        assert "was made by the checkpoint" in result.stderr


def test_a_glob_needs_a_place_for_its_index(run: Run, folder: Path, tmp_path: Path) -> None:
    run("index", folder / "*.png", status=2)
    run("index", folder / "*.png", "--out", tmp_path / "index")
    assert json.loads(run("search", tmp_path / "index", "a dog", "--json").stdout)["hits"][0]["id"] == "a.png"


def test_a_folder_that_is_not_there_or_holds_nothing_is_one_sentence(run: Run, tmp_path: Path) -> None:
    assert "does not exist" in run("index", tmp_path / "none", status=1).stderr
    assert "holds no pictures" in run("index", tmp_path, status=1).stderr
    assert "no index" in run("search", tmp_path, "a dog", status=1).stderr


def test_a_search_needs_a_text_or_a_picture(run: Run, folder: Path) -> None:
    run("index", folder)
    run("search", folder, status=2)
    run("search", folder, "a dog", "--image", folder / "a.png", status=2)
    for term in ("@a.png", "id:a.png", "words:red"):
        assert "such a term with --plus" in run("search", folder, term, status=2).stderr
    assert "weight -1.0 of 'dog'" in run("search", folder, "--plus", "-1*dog", status=1).stderr
    assert "up to 1e15" in run("search", folder, "--where", "width>=99999999999999999999", status=1).stderr
    assert "empty" in run("search", folder, " ", status=1).stderr
    assert "does not exist" in run("search", folder, "--image", folder / "none.png", status=1).stderr
    assert "limit is 0" in run("search", folder, "a dog", "--limit", "0", status=1).stderr


def test_files_that_cannot_be_used_are_listed_later_without_reading_them_again(
    run: Run, folder: Path
) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    run("index", folder, status=1)
    listed = run("index", folder, "--report")
    assert listed.stdout.splitlines()[1].startswith("broken.jpg")
    assert listed.stderr == "3 pictures in the index, 1 file could not be used.\n"
    values = json.loads(run("index", folder, "--report", "--json").stdout)
    assert [one["path"] for one in values["skipped"]] == ["broken.jpg"]


def test_a_sound_index_is_said_to_be_sound_and_a_damaged_one_is_mended(run: Run, folder: Path) -> None:
    run("index", folder)
    assert run("index", "check", folder, "--files").stderr == "3 pictures checked: 0 problems.\n"
    vectors = folder / ".clipworks" / "vectors.f16"
    content = bytearray(vectors.read_bytes())
    content[3] ^= 0x40
    vectors.write_bytes(content)
    assert "not the one that was written" in run("index", "check", folder, status=1).stdout
    values = json.loads(run("index", "check", folder, "--repair", "--json").stdout)
    assert values["repaired"] and len(values["problems"]) == 1
    assert json.loads(run("index", folder, "--json").stdout)["embedded"] == 1
    run("index", "check", folder)


def test_several_terms_are_explained_and_conditions_narrow_the_search(run: Run, folder: Path) -> None:
    run("index", folder)
    first = json.loads(
        run(
            "search", folder, "stripes", "--minus", "0.5*dots", "--plus", "id:b.jpg", "--all", "--json"
        ).stdout
    )["hits"]
    assert [hit["id"] for hit in first] and "b.jpg" not in [hit["id"] for hit in first]
    assert set(first[0]["explained"]) == {"cosine", "+1 stripes", "+1 b.jpg", "-0.5 dots"}
    hits = json.loads(run("search", folder, "--where", "folder=deep", "--json").stdout)["hits"]
    assert [hit["id"] for hit in hits] == ["deep/c.webp"]
    hits = json.loads(run("search", folder, "x", "--where", "words=dots", "--json", "--all").stdout)["hits"]
    assert [hit["id"] for hit in hits] == ["b.jpg"]
    for nothing in (("--where", "folder=none"), ("--plus", "words:nowhere")):
        result = run("search", folder, *nothing)
        assert (result.stdout, result.stderr) == ("", "No picture meets the conditions.\n")
    assert "no field 'colour'" in run("search", folder, "x", "--where", "colour=red", status=1).stderr


def test_thumbnails_are_coloured_cells(run: Run, folder: Path) -> None:
    run("index", folder)
    shown = run("search", folder, "--image", "id:a.png", "--all", "--thumbnails").stdout
    assert "▀" * 24 in shown and "b.jpg" in shown and "a.png" not in shown


def test_watching_takes_up_what_comes_and_goes_until_it_is_interrupted(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [
        lambda: (folder / "new.png").write_bytes(encoded(picture("RGB", 50, 20), "PNG")),
        lambda: (folder / "a.png").unlink(),
        lambda: folder.rename(folder.with_name("away")),
        lambda: folder.with_name("away").rename(folder),
    ]

    def step(seconds: float) -> None:
        assert seconds == 0.5
        if not steps:
            raise KeyboardInterrupt
        steps.pop(0)()

    monkeypatch.setattr("time.sleep", step)
    said = run("index", folder, "--watch", "--every", "0.5", status=130).stderr
    assert "4 pictures in" in said and "1 embedded, 3 reused" in said and "1 removed" in said
    assert "Nothing done: " in said and said.endswith("Interrupted.\n")


def test_an_index_is_searched_with_another_store_after_it_was_moved(run: Run, folder: Path) -> None:
    run("index", folder)
    before = json.loads(run("search", folder, "stripes", "--json").stdout)
    assert json.loads(run("index", "move", folder, "signs", "--json").stdout) == {
        "store": "signs",
        "count": 3,
    }
    assert json.loads(run("search", folder, "stripes", "--json").stdout) == before
    assert "no store 'other'" in run("index", "move", folder, "other", status=1).stderr


def test_captions_are_found_by_a_picture(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a dog\na cat\n")
    assert "2 captions in" in run("index", tmp_path / "words.txt", "--out", tmp_path / "words").stderr
    found = json.loads(run("search", tmp_path / "words", "--image", folder / "b.jpg", "--json").stdout)
    assert {hit["caption"] for hit in found["hits"]} <= {"a dog", "a cat"} and found["hits"]


@pytest.mark.slow
def test_videos_are_searched_by_frames_with_their_times(run: Run, folder: Path) -> None:
    needs("av")
    write_video(folder / "film.mp4", ("red", "blue"))
    assert "5 pictures" in run("index", folder, "--frames", "scenes").stderr
    lines = run("search", folder, "blue", "--all", "--where", "words=film").stdout.splitlines()
    assert "at" in lines[0].split() and any("0:02" in line for line in lines)
    shown = run("search", folder, "blue", "--all", "--thumbnails", "--where", "words=film").stdout
    assert "▀" in shown and "0:02" in shown
    assert "frames is 'often'" in run("index", folder, "--frames", "often", status=1).stderr


def test_videos_that_cannot_be_read_are_said_once_and_listed(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipworks.search.video_build.reads_videos", lambda: False)
    (folder / "film.mp4").write_bytes(b"whatever")
    said = run("index", folder).stderr
    assert '1 video left out: pip install "clipworks[video]"' in said and "Skipped" not in said
    assert "film.mp4" in run("index", folder, "--report").stdout
