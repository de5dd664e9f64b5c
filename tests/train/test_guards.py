"""Runs that cannot end well are stopped, each reached with a real one."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clipworks.errors import ConfigError, DataError
from clipworks.train import guards
from clipworks.train.config import TrainConfig
from clipworks.train.guards import require_sane_rate
from clipworks.train.loop import train
from clipworks.train.metrics import METRICS
from clipworks.train.recipes import find, tiny
from clipworks.train.states import list_states

from .pools import sample, write_tar


@pytest.fixture(autouse=True)
def short_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(guards, "WINDOW", 4)


def small(**changes: Any) -> TrainConfig:
    settings = {"batch_size": 8, "steps": 12, "warmup_steps": 0, "save_every_steps": 3, **changes}
    return replace(tiny(), **settings)


def steps(run: Path) -> int:
    return len((run / METRICS).read_text().splitlines())


def test_a_loss_stuck_at_chance_stops_the_run(shards: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(DataError, match=r"After 6 steps the loss is still .*ln\(8\) = 2.079") as stopped:
        train(small(learning_rate=1e-12, stuck_steps=6), shards, run)
    assert "--check" in stopped.value.remedy
    assert steps(run) == 6 and [state.name for state in list_states(run)] == ["00000003", "00000006"]
    assert "<svg" in (run / "report.html").read_text()


@pytest.mark.slow
def test_a_run_that_learns_is_not_taken_for_stuck(shards: Path, tmp_path: Path) -> None:
    learning = small(steps=30, stuck_steps=20, learning_rate=3e-3, first_text_prob=1.0, recolour=False)
    train(learning, shards, tmp_path / "run")
    assert steps(tmp_path / "run") == 30


@pytest.mark.slow
def test_features_that_are_all_the_same_stop_the_run(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last layer norm gives one point for all: its gain is lost, its bias stays."""
    from clipworks.model import network

    initialise = network.initialise

    def collapse(model: network.Clip, seed: int) -> None:
        initialise(model, seed)
        torch.nn.init.zeros_(model.vision.ln_post.weight)
        torch.nn.init.ones_(model.vision.ln_post.bias)

    monkeypatch.setattr("clipworks.train.step.initialise", collapse)
    stuck = small(collapsed_steps=3, learning_rate=1e-12, stuck_steps=0)
    with pytest.raises(DataError, match="same for 3 steps, up to step 2 .*collapsed"):
        train(stuck, shards, tmp_path / "run")


@pytest.mark.slow
def test_a_run_that_waits_for_its_data_is_stopped(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipworks.train.loader import read_batches

    def slowly(*arguments: Any, **options: Any) -> Any:
        for batch in read_batches(*arguments, **options):
            time.sleep(0.2)
            yield batch

    monkeypatch.setattr("clipworks.train.feed.read_batches", slowly)
    with pytest.raises(DataError, match=r"of the last 4 steps, up to step \d+, went by waiting for data"):
        train(small(most_wait=0.3), shards, tmp_path / "run")
    line = json.loads((tmp_path / "run" / METRICS).read_text().splitlines()[1])
    assert line["wait_seconds"] > 0.19 and line["seconds"] > line["wait_seconds"]


@pytest.mark.slow
def test_a_stream_of_bad_samples_is_stopped(tmp_path: Path) -> None:
    bad = [(f"bad{n}", {"jpg": b"\xff\xd8\xff", "txt": b"x"}) for n in range(20)]
    write_tar(tmp_path / "pool" / "a.tar", [*map(sample, range(10)), *bad])
    with pytest.raises(DataError, match=r"\d+% of the samples of the last 4 steps, up to step 3"):
        train(small(reading="stream", recolour=False), tmp_path / "pool", tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 1e-3}, "learning_rate is 0.001; training on from pictogram at it would undo"),
        ({"learning_rate": 1e-9}, "would change nothing"),
        ({"matrix_learning_rate": 2e-3}, "matrix_learning_rate is 0.002"),
    ],
)
def test_a_rate_that_would_undo_a_checkpoint_is_refused(
    shards: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    tuning = replace(find("finetune"), **changes)
    with pytest.raises(ConfigError, match=re.escape(message)):
        train(tuning, shards, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes", [{"check_rate": False}, {"lock_image": True}, {"start": None}, {"learning_rate": 1e-5}]
)
def test_other_rates_are_not(changes: dict[str, Any]) -> None:
    require_sane_rate(replace(find("finetune"), **{"learning_rate": 1e-3, **changes}))
