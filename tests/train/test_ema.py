"""The running mean of the weights."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from clipworks.model.weights import read_checkpoint
from clipworks.train.ema import RunningMean
from clipworks.train.loop import train
from clipworks.train.metrics import METRICS
from clipworks.train.recipes import tiny


def test_the_mean_follows_the_weights_as_its_decay_says() -> None:
    weights = {"a": torch.zeros(3)}
    mean = RunningMean(weights, 0.9)
    weights["a"] += 1
    mean.update(weights, 0)
    assert mean.tensors["a"].tolist() == pytest.approx([0.9] * 3)  # (1 + 0) / (10 + 0) of the old
    mean.update({"a": torch.full((3,), 2.0)}, 10**6)
    assert mean.tensors["a"].tolist() == pytest.approx([0.9 * 0.9 + 0.1 * 2] * 3)


@pytest.mark.slow
def test_the_mean_is_exported_and_resumes_exactly(shards: Path, tmp_path: Path) -> None:
    config = replace(tiny(), steps=6, batch_size=8, save_every_steps=2, ema_decay=0.9, learning_rate=3e-3)

    class Stop(Exception):
        pass

    def stop(step: object) -> None:
        if (tmp_path / "cut" / METRICS).stat().st_size and getattr(step, "step", 0) == 4:
            raise Stop

    whole = train(config, shards, tmp_path / "whole")
    with pytest.raises(Stop):
        train(config, shards, tmp_path / "cut", on_step=stop)
    cut = train(config, shards, tmp_path / "cut")
    plain = train(replace(config, ema_decay=0.0), shards, tmp_path / "plain")
    one, other, last = (read_checkpoint(run).tensors for run in (whole, cut, plain))
    assert all(np.array_equal(one[name], other[name]) for name in one)
    distance = math.sqrt(sum(float(np.square(one[name] - last[name]).sum()) for name in one))
    assert distance > 1e-3
