"""Two processes on gloo against one with the same batches: the same losses and the same weights."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from clipworks.errors import ConfigError
from clipworks.files import read_manifest
from clipworks.train.distributed import Processes, clip_gradients, compute_shared
from clipworks.train.loop import train
from clipworks.train.metrics import METRICS
from clipworks.train.recipes import tiny
from clipworks.train.states import list_states
from train.torchrun import torchrun

SHORT = {"steps": 6, "batch_size": 16, "patch_dropout": 0.5, "unmasked_steps": 2, "save_every_steps": 3}
LOSSES: dict[str, dict[str, Any]] = {
    "softmax": {},
    "sigmoid": {"loss": "sigmoid"},
    "several_positives": {"shared_captions": "positive"},
}


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / METRICS).read_text().splitlines()]


def largest_difference(one: Path, other: Path) -> float:
    mine, theirs = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    return max((mine[name] - theirs[name]).abs().max().item() for name in mine)


@pytest.mark.slow
def test_two_processes_train_as_one_whatever_the_loss_the_sharing_and_the_parts(
    shards: Path, tmp_path: Path
) -> None:
    teacher = train(replace(tiny(), steps=1, warmup_steps=0), shards, tmp_path / "taught")
    kinds = {**LOSSES, "teacher": {"teacher": str(teacher)}}
    short = {**SHORT, "steps": 4, "save_every_steps": 4}
    for name, settings in kinds.items():
        train(replace(tiny(), **short, **settings), shards, tmp_path / name)
    runs = {
        f"{name}-{parallel}-{parts}": {**short, **settings, "parallel": parallel, "accumulation": parts}
        for name, settings in kinds.items()
        for parallel in ("ddp", "fsdp")
        for parts in (1, 2)
    }
    done = torchrun(shards, tmp_path, runs)
    assert done.returncode == 0, done.stderr
    for run in runs:
        alone = tmp_path / run.split("-")[0]
        assert losses(tmp_path / run) == pytest.approx(losses(alone), abs=1e-5)
        assert largest_difference(tmp_path / run, alone) < 1e-5, run


@pytest.mark.slow
def test_a_state_of_one_world_is_read_by_another(shards: Path, tmp_path: Path) -> None:
    """One process, then three with parts of weights, then two with whole ones, against one throughout."""
    settings = {**SHORT, "batch_size": 12, "save_every_steps": 1}
    whole = train(replace(tiny(), **settings), shards, tmp_path / "whole")
    out = tmp_path / "run"

    class Enough(Exception):
        pass

    def stop(step: Any) -> None:
        if step.step == 2:
            raise Enough

    with pytest.raises(Enough):
        train(replace(tiny(), **settings), shards, out, on_step=stop)
    sharded = {"run": {**settings, "parallel": "fsdp"}}
    cut = torchrun(shards, tmp_path, sharded, processes=3, kill=(3, signal.SIGKILL))
    assert cut.returncode != 0
    state = read_manifest(list_states(out)[-1])
    assert state["step"] == 3 and len(state["files"]) == 3
    assert len(state["tensors"]["weight/vision.blocks.0.qkv.weight"]["pieces"]) == 3
    done = torchrun(shards, tmp_path, {"run": settings})
    assert done.returncode == 0, done.stderr
    assert losses(out) == pytest.approx(losses(whole), abs=1e-5)
    assert largest_difference(out, whole) < 1e-5


@pytest.mark.slow
def test_a_killed_process_is_started_again_and_the_run_ends_the_same(shards: Path, tmp_path: Path) -> None:
    runs = {"whole": {**SHORT, "save_every_steps": 1}}
    assert torchrun(shards, tmp_path, runs).returncode == 0
    restarted = torchrun(
        shards,
        tmp_path,
        {"run": runs["whole"]},
        kill=(3, signal.SIGKILL),
        options=["--max-restarts=1"],
    )
    assert restarted.returncode == 0, restarted.stderr
    assert "exitcode: -9" in restarted.stderr
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert largest_difference(tmp_path / "run", tmp_path / "whole") == 0


@pytest.mark.slow
def test_the_command_runs_under_torchrun_and_speaks_once(shards: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "clipworks", "train", "--recipe", "tiny", "--data", str(shards), "--json"]
    command += ["--out", str(tmp_path / "run"), "--set", "steps=2", "--set", "parallel=fsdp"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 2
    assert done.stderr.count("is complete.") == 1


def test_processes_that_cannot_share_a_batch_are_refused() -> None:
    with pytest.raises(ConfigError, match="batch_size is 32, which 3 processes"):
        Processes(rank=1, world=3).rows(32)
    assert Processes(rank=2, world=4).rows(32) == slice(16, 24)


def test_one_process_computes_all_rows_in_batches() -> None:
    sizes: list[int] = []

    def double(rows: torch.Tensor) -> torch.Tensor:
        sizes.append(len(rows))
        return 2 * rows

    rows = torch.arange(7.0)[:, None]
    assert torch.equal(compute_shared(double, rows, 3, Processes()), 2 * rows)
    assert sizes == [3, 3, 1]


def test_a_long_gradient_is_shortened_and_a_short_one_kept() -> None:
    long, short = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    long.grad, short.grad = torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.4])
    assert clip_gradients([long], 1.0, Processes()).item() == pytest.approx(5.0)
    assert long.grad.norm().item() == pytest.approx(1.0, rel=1e-5)
    clip_gradients([short], 1.0, Processes())
    assert torch.equal(short.grad, torch.tensor([0.3, 0.4]))
