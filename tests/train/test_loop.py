"""Runs: what they leave behind, and that an interruption changes nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clipworks.errors import DataError
from clipworks.files import sha256_file
from clipworks.model.weights import read_checkpoint
from clipworks.train.checkpoint import METRICS, open_run
from clipworks.train.config import TrainConfig
from clipworks.train.loop import _Caught, train
from clipworks.train.loss import Score
from clipworks.train.recipes import tiny
from clipworks.train.states import list_states
from clipworks.train.step import Step


def config() -> TrainConfig:
    return replace(tiny(), steps=8, batch_size=16, save_every_steps=3, patch_dropout=0.5, unmasked_steps=2)


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / METRICS).read_text().splitlines()]


@pytest.fixture(scope="module")
def whole_run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    return train(config(), shards, tmp_path_factory.mktemp("runs") / "whole")


def test_a_run_ends_as_a_checkpoint(whole_run: Path) -> None:
    checkpoint = read_checkpoint(whole_run)
    assert checkpoint.config == tiny().model
    assert checkpoint.tensors["text.token_embedding.weight"].shape == (49408, 64)
    assert len(losses(whole_run)) == 8


@pytest.mark.slow
def test_the_loss_falls_on_forty_drawings(shards: Path, tmp_path: Path) -> None:
    long = replace(tiny(), steps=60, learning_rate=3e-3, recolour=False, first_text_prob=1.0)
    run = train(long, shards, tmp_path / "run")
    assert sum(losses(run)[-5:]) / 5 < 0.5 * losses(run)[0]


@pytest.mark.slow
@pytest.mark.parametrize("matrix_learning_rate", [None, 2e-3])
def test_ctrl_c_saves_the_step_and_repeating_goes_on_exactly(
    shards: Path, whole_run: Path, tmp_path: Path, matrix_learning_rate: float | None
) -> None:
    def interrupt(step: Step) -> None:
        if step.step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    chosen = replace(config(), matrix_learning_rate=matrix_learning_rate)
    whole = train(chosen, shards, tmp_path / "whole") if matrix_learning_rate else whole_run
    cut = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        train(chosen, shards, cut, on_step=interrupt)
    assert len(losses(cut)) == 5
    train(chosen, shards, cut)
    assert losses(cut) == losses(whole)
    assert sha256_file(cut / "model.safetensors") == sha256_file(whole / "model.safetensors")


@pytest.mark.slow
def test_a_killed_run_goes_on_from_its_last_state_to_the_same_bytes(
    shards: Path, whole_run: Path, tmp_path: Path
) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[3])\n"
        "from train.test_loop import config; from clipworks.train.loop import train\n"
        "kill = lambda step: step.step == 4 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "train(config(), Path(sys.argv[1]), Path(sys.argv[2]), on_step=kill)\n"
    )
    tests = str(Path(__file__).parents[1])
    process = subprocess.run([sys.executable, "-c", program, str(shards), str(tmp_path), tests], check=False)
    assert process.returncode == -signal.SIGKILL
    train(config(), shards, tmp_path)
    assert losses(tmp_path) == losses(whole_run)
    assert sha256_file(tmp_path / "model.safetensors") == sha256_file(whole_run / "model.safetensors")


def test_a_complete_run_is_left_alone(shards: Path, whole_run: Path) -> None:
    before = (whole_run / "model.safetensors").stat().st_mtime_ns
    train(config(), shards, whole_run, on_step=lambda _: pytest.fail("a step was made"))
    assert (whole_run / "model.safetensors").stat().st_mtime_ns == before


def test_another_configuration_in_the_same_folder_is_refused(shards: Path, whole_run: Path) -> None:
    with pytest.raises(DataError, match="differs in steps"):
        train(replace(config(), steps=9), shards, whole_run)


@pytest.mark.parametrize("content", ["manifest.json", "00000.tar"])
def test_a_folder_of_something_else_is_refused(shards: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / content).write_text("{}")
    with pytest.raises(DataError, match=f"holds {content} and no train.json"):
        train(config(), shards, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [content]


def test_a_file_in_the_place_of_the_run_folder_is_refused(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(DataError, match="run is a file"):
        train(config(), shards, tmp_path / "run")


def test_a_run_that_was_killed_at_its_first_write_starts_again(shards: Path, tmp_path: Path) -> None:
    (tmp_path / ".train.json.part").write_text("{")
    open_run(tmp_path, config(), "0" * 64)
    assert [path.name for path in tmp_path.iterdir()] == ["train.json"]


def test_ctrl_c_at_any_moment_of_a_step_saves_before_it_stops(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flag is raised right after a look at it."""
    looks = iter([False, *[True] * 20])

    class Late(list[int]):
        def __bool__(self) -> bool:
            return next(looks)

    @contextmanager
    def flag() -> Iterator[_Caught]:
        yield _Caught(numbers=Late([signal.SIGINT]))

    monkeypatch.setattr("clipworks.train.loop._signal_caught", flag)
    with pytest.raises(KeyboardInterrupt):
        train(config(), shards, tmp_path)
    assert int(list_states(tmp_path)[-1].name) == len(losses(tmp_path)) == 2


def test_the_seconds_of_a_step_leave_out_saving(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def save(*_: Any, **__: Any) -> None:
        nonlocal now
        now += 100

    clock = SimpleNamespace(perf_counter=lambda: now, monotonic=lambda: now)
    monkeypatch.setattr("clipworks.train.loop.time", clock)
    monkeypatch.setattr("clipworks.train.step.time", clock)
    monkeypatch.setattr("clipworks.train.loop.save_state", save)
    seconds: list[float] = []
    train(config(), shards, tmp_path, on_step=lambda step: seconds.append(step.seconds))
    assert seconds == [0.0] * 8


def test_shards_that_were_changed_are_refused(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "shards")
    path = tmp_path / "shards" / "00001.tar"
    path.write_bytes(path.read_bytes().replace(b"pink", b"grey"))
    with pytest.raises(DataError, match=r"00001\.tar has the sha256"):
        train(config(), tmp_path / "shards", tmp_path / "run")


def test_a_damaged_state_is_refused_with_the_remedy(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(config(), shards, tmp_path, on_step=lambda _: os.kill(os.getpid(), signal.SIGINT))
    (state,) = list_states(tmp_path)
    (state / "part-0-of-1.safetensors").write_bytes(b"not a state")
    with pytest.raises(DataError, match=r"can be resumed: .*part-0-of-1.safetensors is not what was written"):
        train(config(), shards, tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "clipworks.train.step.contrast",
        lambda image, *_, **__: Score(loss=(image * float("nan")).sum(), accuracy=torch.zeros(())),
    )
    with pytest.raises(DataError, match="The loss of step 0 is nan"):
        train(config(), shards, tmp_path)


def test_a_folder_without_shards_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no .tar file"):
        train(config(), tmp_path, tmp_path / "run")


def test_bfloat16_stays_close_to_float32(shards: Path, whole_run: Path, tmp_path: Path) -> None:
    run = train(replace(config(), precision="bf16"), shards, tmp_path)
    assert torch.allclose(torch.tensor(losses(run)), torch.tensor(losses(whole_run)), rtol=0.02)
