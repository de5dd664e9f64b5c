"""`clipworks train`: settings are checked and shown before anything runs."""

import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from clipworks.cli.live import Smooth, clock, line_of, live_table, rows_of
from clipworks.cli.output import Pace, progress_bar
from clipworks.shards import Sample, write_shards
from clipworks.train.metrics import Step
from clipworks.train.recipes import find
from tests.cli.conftest import Run


def test_a_dry_run_prints_the_resolved_configuration(run: Run, tmp_path: Path) -> None:
    arguments = ("train", "--recipe", "tiny", "--data", tmp_path, "--out", tmp_path / "run")
    values = json.loads(run(*arguments, "--set", "steps=7", "--set", "seed=3", "--dry-run").stdout)
    assert (values["steps"], values["seed"]) == (7, 3)
    assert not (tmp_path / "run").exists()


def test_wrong_settings_are_one_sentence(run: Run, tmp_path: Path) -> None:
    arguments = ("train", "--data", tmp_path, "--out", tmp_path / "run", "--dry-run", "--recipe")
    assert "no training recipe" in run(*arguments, "tinny", status=1).stderr
    assert "no such setting" in run(*arguments, "tiny", "--set", "step=7", status=1).stderr
    assert "whole number" in run(*arguments, "tiny", "--set", "steps=x", status=1).stderr


def write_pool(folder: Path) -> Path:
    """Twenty squares of different grey with their captions."""
    from io import BytesIO

    from PIL import Image

    samples = []
    for number in range(20):
        buffer = BytesIO()
        Image.new("RGB", (16, 16), (12 * number,) * 3).save(buffer, "PNG")
        samples.append(
            Sample(key=f"{number:02d}", image=buffer.getvalue(), extension="png", texts=(f"grey {number}",))
        )
    write_shards(samples, folder)
    return folder


@pytest.mark.slow
def test_a_check_says_what_it_found_and_a_run_is_scored(run: Run, tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool")
    arguments = ("train", "--recipe", "tiny", "--data", pool, "--out", tmp_path / "run")
    small = (
        "--set",
        "steps=3",
        "--set",
        "batch_size=8",
        "--set",
        "reading=stream",
        "--set",
        "recolour=false",
    )
    found = json.loads(run(*arguments, *small, "--check", "--json").stdout)
    assert (found["samples"], found["shards"], found["problems"]) == (20, 1, {})
    assert "all steps" in run(*arguments, *small, "--check").stdout
    assert not (tmp_path / "run").exists()
    told = json.loads(run(*arguments, *small, "--eval", pool, "--tensorboard", "--json").stdout)
    assert told["steps"] == 3 and 0 <= told["pool/image_to_text_r1"] <= 1
    assert (
        list((tmp_path / "run").glob("events.out.tfevents.*")) and (tmp_path / "run" / "report.html").exists()
    )


def test_a_folder_of_another_run_is_refused_before_anything_is_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    told = {"config": find("tiny").to_json(), "data_sha256": ""}
    (tmp_path / "run" / "train.json").write_text(json.dumps(told))
    arguments = ("train", "--recipe", "tiny", "--data", tmp_path / "no", "--out", tmp_path / "run")
    for more in (("--check",), ("--eval", tmp_path / "none")):
        error = run(*arguments, "--set", "steps=7", *more, status=1).stderr
        assert "holds another run; it differs in steps" in error


@pytest.mark.slow
def test_from_takes_over_the_shape_of_a_checkpoint(run: Run, tmp_path: Path) -> None:
    arguments = ("train", "--recipe", "tiny", "--data", tmp_path, "--out", tmp_path / "run", "--dry-run")
    values = json.loads(run(*arguments, "--from", "pictogram", "--set", "lock_image=true").stdout)
    assert values["start"] == "pictogram" and values["model"]["vision"]["image_size"] == 64


def test_the_table_shows_means_and_what_is_left() -> None:
    config = replace(find("tiny"), steps=100)
    smooth = Smooth()
    steps = [
        Step(
            step=n,
            loss=2.0 + n,
            accuracy=0.5,
            learning_rate=1e-3,
            gradient_norm=3.0,
            logit_scale=14.3,
            seconds=2.0,
            wait_seconds=0.5,
            pairs_per_second=16.0,
            mfu=0.4,
            memory_bytes=2**30,
            skipped=1,
        )
        for n in range(2)
    ]
    for step in steps:
        smooth.add(step)
    rows = dict(rows_of(config, steps[-1], smooth, {"held/top1": 0.25}))
    assert rows["step"] == "2 of 100   0:03:16 left"
    assert rows["loss"] == "2.0500   chance 3.4657"
    assert rows["speed"] == "16 pairs/s   MFU 40.0%"
    assert rows["data wait"] == "25.0%   skipped 2"
    assert (rows["memory"], rows["held/top1"]) == ("1.00 GiB", "0.2500")
    line = line_of(config, steps[-1], smooth)
    assert line.startswith("step 2 of 100   0:03:16 left   loss 2.0500   chance 3.4657   speed 16 pairs/s")
    smooth.add(replace(steps[-1], loss=math.nan, gradient_norm=math.inf))
    assert dict(rows_of(config, steps[-1], smooth, {}))["loss"] == rows["loss"]
    assert clock(3 * 86_400 + 61) == "3 d 0:01:01"


def paced(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    clock = iter(seconds)
    monkeypatch.setattr("clipworks.cli.output.time", SimpleNamespace(monotonic=lambda: next(clock)))


def test_without_a_terminal_a_line_comes_at_times_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    paced(monkeypatch, 0.0, 1.0, 6.0, 30.0, 37.0, 40.0)
    pace = Pace()
    assert [pace.is_due(is_last=number == 4) for number in range(5)] == [False, True, False, True, True]
    paced(monkeypatch, 0.0, 1.0)
    assert not Pace().is_due(is_last=True)


def test_a_log_of_a_long_command_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paced(monkeypatch, 0.0, 6.0, 7.0, 8.0)
    with progress_bar("Fine-tuning", "steps") as show:
        for done in (1, 2, 3):
            show(done, 3, "of 3 steps" if done == 2 else "")
    assert capsys.readouterr().err == "Fine-tuning: 1 of 3 steps\nFine-tuning: 3 of 3 steps\n"
    paced(monkeypatch, 0.0, 6.0)
    config = replace(find("tiny"), steps=100)
    with live_table(config) as table:
        table(Step(step=9, loss=1.0, learning_rate=1.0, gradient_norm=1.0, logit_scale=1.0, seconds=1.0), {})
    assert capsys.readouterr().err.startswith("step 10 of 100   0:01:30 left   loss 1.0000")
