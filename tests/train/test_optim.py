"""Schedule and parameter groups."""

import math
from dataclasses import replace

import pytest

from clipworks.model.network import Clip
from clipworks.train.optim import build_optimizer, learning_rate
from clipworks.train.recipes import tiny


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine() -> None:
    config = replace(tiny(), steps=110, warmup_steps=10, learning_rate=2.0)
    assert learning_rate(0, config) == pytest.approx(0.2)
    assert learning_rate(9, config) == pytest.approx(2.0)
    assert learning_rate(10, config) == pytest.approx(2.0)
    assert learning_rate(60, config) == pytest.approx(1.0)
    assert learning_rate(109, config) == pytest.approx(1 + math.cos(math.pi * 0.99))


def test_a_run_without_warm_up_begins_at_the_peak() -> None:
    config = replace(tiny(), warmup_steps=0, learning_rate=0.5)
    assert learning_rate(0, config) == 0.5


def test_vectors_and_the_temperature_do_not_decay() -> None:
    config = tiny()
    model = Clip(config.model)
    matrices, vectors = build_optimizer(model, config).param_groups
    assert matrices["weight_decay"] == config.weight_decay and vectors["weight_decay"] == 0
    assert all(p.ndim > 1 for p in matrices["params"])
    assert any(p is model.logit_scale for p in vectors["params"])
    assert len(matrices["params"]) + len(vectors["params"]) == len(list(model.parameters()))
