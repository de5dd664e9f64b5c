"""Schedule, and which optimizer trains what."""

import math
from dataclasses import replace

import pytest
import torch

from clipworks.model.network import Clip
from clipworks.train.muon import Muon
from clipworks.train.optim import build_optimizers, schedule, set_rates
from clipworks.train.recipes import tiny


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine() -> None:
    config = replace(tiny(), steps=110, warmup_steps=10)
    assert schedule(0, config) == pytest.approx(0.1)
    assert schedule(9, config) == pytest.approx(1)
    assert schedule(10, config) == pytest.approx(1)
    assert schedule(60, config) == pytest.approx(0.5)
    assert schedule(109, config) == pytest.approx((1 + math.cos(math.pi * 0.99)) / 2)


def test_a_run_without_warm_up_begins_at_the_peak() -> None:
    assert schedule(0, replace(tiny(), warmup_steps=0)) == 1


def test_vectors_and_the_temperature_do_not_decay() -> None:
    config = tiny()
    model = Clip(config.model)
    (adamw,) = build_optimizers(model, config)
    matrices, vectors = adamw.param_groups
    assert matrices["weight_decay"] == config.weight_decay and vectors["weight_decay"] == 0
    assert all(p.ndim > 1 for p in matrices["params"])
    assert any(p is model.logit_scale for p in vectors["params"])
    assert len(matrices["params"]) + len(vectors["params"]) == len(list(model.parameters()))


def test_muon_takes_the_matrices_inside_the_towers_and_adamw_the_rest() -> None:
    config = replace(tiny(), matrix_learning_rate=0.02, warmup_steps=0)
    model = Clip(config.model)
    adamw, muon = build_optimizers(model, config)
    assert isinstance(adamw, torch.optim.AdamW) and isinstance(muon, Muon)
    names = {id(p): name for name, p in model.named_parameters()}
    inner = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    rest = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert inner | rest == set(names.values()) and not inner & rest
    assert {"vision.blocks.0.qkv.weight", "text.blocks.1.down.weight", "text.projection.weight"} <= inner
    assert {
        "text.token_embedding.weight",
        "vision.position_embedding",
        "vision.patch_embedding.weight",
        "vision.blocks.0.qkv.bias",
        "logit_scale",
    } <= rest


def test_each_optimizer_follows_its_own_peak() -> None:
    config = replace(tiny(), steps=100, warmup_steps=10, learning_rate=1e-3, matrix_learning_rate=0.02)
    adamw, muon = build_optimizers(Clip(config.model), config)
    set_rates([adamw, muon], 4, config)
    assert [group["lr"] for group in adamw.param_groups] == pytest.approx([5e-4, 5e-4])
    assert [group["lr"] for group in muon.param_groups] == pytest.approx([0.01])
