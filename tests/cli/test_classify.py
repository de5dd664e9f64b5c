"""`clipworks classify`: scores per label; a bad picture is said and skipped."""

import json
from pathlib import Path

import pytest

import clipworks
from tests.cli.conftest import Run
from tests.conftest import TinyClip


def test_each_picture_gets_its_labels_best_first(run: Run, folder: Path) -> None:
    lines = run(
        "classify", folder / "a.png", folder / "b.jpg", "--labels", "a cat, a dog"
    ).stdout.splitlines()
    assert lines[0] == str(folder / "a.png")
    assert {lines[1].split("  ")[-1], lines[2].split("  ")[-1]} == {"a cat", "a dog"}
    assert lines[3] == str(folder / "b.jpg")
    assert float(lines[1].split("%")[0]) >= float(lines[2].split("%")[0])


def test_json_gives_every_score_as_the_engine_computes_it(
    run: Run, folder: Path, tiny_clip: TinyClip
) -> None:
    labels = ["a cat", "a dog", "three stripes"]
    output = run("classify", folder, "--labels", ",".join(labels), "--json").stdout
    rows = [json.loads(line) for line in output.splitlines()]
    paths = [folder / "a.png", folder / "b.jpg", folder / "deep" / "c.webp"]
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    expected = clipworks.load(tiny_clip.native).classify(paths, labels)
    for row, scores in zip(rows, expected, strict=True):
        found = {label["label"]: label["score"] for label in row["labels"]}
        assert [found[label] for label in labels] == pytest.approx(scores, abs=1e-4)
        assert sum(found.values()) == pytest.approx(1.0, abs=1e-5)
        assert list(found.values()) == sorted(found.values(), reverse=True)


def test_templates_change_the_scores(run: Run, folder: Path) -> None:
    arguments = ("classify", folder / "a.png", "--labels", "a,b", "--json")
    plain = run(*arguments).stdout
    assert run(*arguments, "--template", "a drawing of {}", "--template", "{} at night").stdout != plain


def test_a_labels_file_has_one_label_a_line_with_commas_and_blank_lines(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("red, white and blue\n\n a dog \n", encoding="utf-8-sig")
    row = json.loads(run("classify", folder / "a.png", "--labels-file", file, "--json").stdout)
    assert {label["label"] for label in row["labels"]} == {"red, white and blue", "a dog"}


def test_many_labels_are_cut_for_people_and_complete_in_json(run: Run, folder: Path) -> None:
    labels = ",".join("abcdefgh")
    assert run("classify", folder / "a.png", "--labels", labels).stdout.endswith("and 3 labels more\n")
    output = run("classify", folder / "a.png", "--labels", labels, "--json").stdout
    assert len(json.loads(output)["labels"]) == 8


@pytest.mark.parametrize("labels", ["", " , ,"])
def test_empty_labels_are_one_sentence(run: Run, folder: Path, labels: str) -> None:
    result = run("classify", folder / "a.png", "--labels", labels, status=1)
    assert result.stderr == 'Error: --labels holds no label. Give some, as in --labels "a cat,a dog".\n'


def test_no_labels_or_two_sources_of_labels_are_wrong_usage(run: Run, folder: Path) -> None:
    run("classify", folder / "a.png", status=2)
    run("classify", folder / "a.png", "--labels", "a", "--labels-file", "b.txt", status=2)


def test_a_template_without_a_place_for_the_label_is_one_sentence(run: Run, folder: Path) -> None:
    result = run("classify", folder / "a.png", "--labels", "a", "--template", "a photo", status=1)
    assert "{}" in result.stderr and result.stderr.count("\n") == 1


def test_a_label_of_10_mb_is_one_short_sentence(run: Run, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("x" * 10_000_000)
    result = run("classify", folder / "a.png", "--labels-file", file, status=1)
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    assert len(result.stderr) < 500


@pytest.mark.parametrize(
    ("content", "words"), [(b"\xff\xfe\x00", "not text in UTF-8"), (None, "cannot be read")]
)
def test_a_labels_file_that_cannot_be_read_is_named(
    run: Run, folder: Path, tmp_path: Path, content: bytes | None, words: str
) -> None:
    file = tmp_path / "labels.txt"
    if content is not None:
        file.write_bytes(content)
    result = run("classify", folder / "a.png", "--labels-file", file, status=1)
    assert words in result.stderr and str(file) in result.stderr


def test_control_characters_in_names_and_labels_do_not_reach_the_terminal(run: Run, folder: Path) -> None:
    odd = folder / "a\x1b[31m.png"
    odd.write_bytes((folder / "a.png").read_bytes())
    assert "\x1b" not in run("classify", odd, "--labels", "x\x1b[0m,y").stdout


def test_the_named_sets_are_taken_whole(run: Run, folder: Path) -> None:
    arguments = ("classify", folder / "a.png", "--label-set", "imagenet", "--template", "a {}", "--json")
    assert len(json.loads(run(*arguments).stdout)["labels"]) == 1000
    plain = run("classify", folder / "a.png", "--labels", "a,b", "--json").stdout
    simple = run("classify", folder / "a.png", "--labels", "a,b", "--template-set", "simple", "--json").stdout
    assert simple != plain


def test_a_set_beside_its_own_words_or_an_unknown_set_is_wrong_usage(run: Run, folder: Path) -> None:
    start = ("classify", folder / "a.png")
    run(*start, "--labels", "a", "--label-set", "imagenet", status=2)
    result = run(*start, "--labels", "a", "--template", "{}", "--template-set", "simple", status=2)
    assert "either --template or --template-set" in result.stderr
    assert "imagenet" in run(*start, "--label-set", "imagnet", status=2).stderr
