"""`clipworks probe` and `classify --head`: from class folders to an answer; what is wrong is one sentence."""

import json
from pathlib import Path

import pytest
from own_pictures import write_classes

from tests.cli.conftest import Run
from tests.conftest import TinyClip

QUICK = ("--shots", "1", "--set", "draws=1")


@pytest.fixture
def tiny_model(tiny_clip: TinyClip) -> str:
    return tiny_clip.native


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "own", per_class=6)


@pytest.mark.slow
def test_a_probe_prints_its_table_and_its_head_classifies(
    run: Run, data: Path, tmp_path: Path, tiny_model: str
) -> None:
    out = tmp_path / "probe"
    arguments = ("probe", tiny_model, "--data", data, "--out", out, *QUICK)
    printed = run(*arguments).stdout.splitlines()
    assert printed[0].split() == ["where", "1", "all", "95", "%", "interval", "n"]
    assert [line.split("  ")[0] for line in printed[1:]] == [
        "zero-shot",
        "before the projection",
        "after the projection",
    ]
    result = json.loads(run(*arguments, "--json").stdout)
    assert result["data"]["classes"] == ["blue", "green", "red"]
    head = out / "head.safetensors"
    lines = run("classify", data / "red" / "00.png", data / "blue", "--head", head, "--json").stdout
    rows = [json.loads(line) for line in lines.splitlines()]
    assert len(rows) == 7 and {one["label"] for one in rows[0]["labels"]} == {"red", "green", "blue"}
    assert sum(one["score"] for one in rows[0]["labels"]) == pytest.approx(1, abs=1e-5)


def test_a_head_is_for_its_model_and_goes_without_labels(
    run: Run, data: Path, tmp_path: Path, tiny_model: str
) -> None:
    out = tmp_path / "probe"
    run("probe", tiny_model, "--data", data, "--out", out, *QUICK)
    classify = ("classify", data / "red", "--head", out / "head.safetensors")
    result = run(*classify, "--model", "pictogram", status=1)
    assert "was fitted on" in result.stderr and result.stderr.count("\n") == 1
    run(*classify, "--labels", "a,b", status=2)
    missing = run("classify", data / "red", "--head", tmp_path / "no.safetensors", status=1)
    assert "does not exist" in missing.stderr
    (data / "red" / "bad.png").write_bytes(b"x")
    assert "Skipped: " in run(*classify, status=1).stderr


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    run: Run, data: Path, tmp_path: Path, tiny_model: str
) -> None:
    arguments = ("probe", tiny_model, "--data", data, "--out", tmp_path / "probe", "--dry-run")
    plan = json.loads(run(*arguments, "--json").stdout)
    assert (plan["pictures"], plan["classes"], plan["least_pictures_of_a_class"]) == (18, 3, 6)
    assert "pictures" in run(*arguments).stdout
    assert not (tmp_path / "probe").exists()


@pytest.mark.parametrize("command", ["probe", "finetune"])
def test_wrong_data_are_one_sentence(run: Run, tmp_path: Path, tiny_model: str, command: str) -> None:
    def fails(data: Path, *more: str) -> str:
        arguments = (command, tiny_model, "--data", data, "--out", tmp_path / "out", *more)
        error = run(*arguments, status=1).stderr
        assert error.startswith("Error: ") and error.count("\n") == 1
        return str(error)

    one = write_classes(tmp_path / "one", colours=("red",))
    assert "There is one class, 'red'" in fails(one)
    few = write_classes(tmp_path / "few", per_class=1)
    assert "has 1 different picture, and 2 of them must be held out" in fails(few)
    empty = write_classes(tmp_path / "empty", per_class=3)
    (empty / "yellow").mkdir()
    assert "yellow holds no picture" in fails(empty)
    (few / "labels.jsonl").write_text('{"file": "nowhere.png", "label": "x"}\n')
    assert "line 1 names nowhere.png, which is not in" in fails(few)
    bad = write_classes(tmp_path / "bad", per_class=6)
    (bad / "red" / "00.png").write_bytes(b"no picture")
    assert "1 of 18 pictures cannot be used; the first: Image 'red/00.png'" in fails(bad)
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "photo.txt").write_text("mine")
    good = write_classes(tmp_path / "good", per_class=5)
    assert "holds photo.txt and no" in fails(good)
    assert "no such setting" in fails(good, "--set", "sed=1")


def test_shots_that_are_no_numbers_are_one_sentence(
    run: Run, data: Path, tmp_path: Path, tiny_model: str
) -> None:
    arguments = ("probe", tiny_model, "--data", data, "--out", tmp_path / "probe", "--shots", "one")
    assert "--shots is 'one'" in run(*arguments, status=1).stderr
