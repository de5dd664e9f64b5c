"""Schedules, shares of the rate, locked towers, recomputed blocks, the scale of a 16-bit loss."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from clipworks.errors import ConfigError, DataError
from clipworks.model.network import Clip, initialise
from clipworks.model.weights import read_checkpoint
from clipworks.train.config import TrainConfig
from clipworks.train.loop import train
from clipworks.train.optim import (
    LossScale,
    build_optimizers,
    lock_towers,
    recompute_blocks,
    schedule,
    set_rates,
    tower_groups,
)
from clipworks.train.recipes import tiny
from clipworks.train.start import with_start


def test_a_constant_rate_stays_and_a_cooldown_ends_at_zero() -> None:
    constant = replace(tiny(), steps=100, warmup_steps=10, schedule="constant")
    assert [schedule(step, constant) for step in (4, 10, 99)] == [0.5, 1.0, 1.0]
    cooling = replace(constant, schedule="cooldown", cooldown_steps=20)
    assert [schedule(step, cooling) for step in (79, 80, 90, 99)] == [1.0, 1.0, 0.5, 0.05]


def test_rates_fall_from_block_to_block() -> None:
    config = replace(tiny(), layer_decay=0.5, warmup_steps=0, learning_rate=1.0)
    model = Clip(config.model)
    (adamw,) = build_optimizers(model, config)
    set_rates([adamw], 0, config)
    rates = {id(p): group["lr"] for group in adamw.param_groups for p in group["params"]}
    assert rates[id(model.vision.projection.weight)] == 1
    assert rates[id(model.vision.blocks[1].qkv.weight)] == rates[id(model.vision.ln_post.weight)] == 0.5
    assert rates[id(model.text.blocks[0].qkv.bias)] == 0.25
    assert rates[id(model.text.token_embedding.weight)] == rates[id(model.vision.class_embedding)] == 0.125
    assert rates[id(model.logit_scale)] == 1


def test_groups_hold_every_weight_once() -> None:
    model = Clip(tiny().model)
    groups = tower_groups(model.text)
    assert len(groups) == 4
    assert sum(map(len, groups)) == len(list(model.text.parameters()))


@pytest.mark.parametrize(
    ("unlocked", "trained"),
    [
        (0, []),
        (1, ["projection.weight"]),
        (2, ["blocks.1.qkv.weight", "ln_post.weight", "projection.weight"]),
    ],
)
def test_a_locked_tower_trains_its_top_groups_alone(unlocked: int, trained: list[str]) -> None:
    model = Clip(tiny().model)
    lock_towers(model, replace(tiny(), start="any", lock_image=True, image_unlocked=unlocked))
    names = [name for name, p in model.vision.named_parameters() if p.requires_grad]
    assert set(trained) <= set(names) and bool(names) == bool(trained)
    assert not any(name.startswith(("blocks.0", "class", "position", "patch")) for name in names)
    assert all(p.requires_grad for p in model.text.parameters())


def test_a_lock_that_leaves_nothing_or_too_much_is_refused() -> None:
    model = Clip(tiny().model)
    with pytest.raises(ConfigError, match="5 groups of the vision tower .* has 4"):
        lock_towers(model, replace(tiny(), start="any", lock_image=True, image_unlocked=5))
    with pytest.raises(ConfigError, match="nothing is left to train"):
        lock_towers(model, replace(tiny(), start="any", lock_image=True, lock_text=True))


def test_a_locked_tower_is_the_same_at_the_end(shards: Path, tmp_path: Path) -> None:
    short = replace(tiny(), steps=3, batch_size=8, learning_rate=3e-3)
    first = train(replace(short, steps=2), shards, tmp_path / "first")
    config = replace(with_start(short, str(first)), lock_image=True, image_unlocked=1)
    before = read_checkpoint(first).tensors
    after = read_checkpoint(train(config, shards, tmp_path / "run")).tensors
    for name in (name for name in before if name.startswith("vision.")):
        is_same = bool((before[name] == after[name]).all())
        assert is_same == (name != "vision.projection.weight"), name


def test_recomputed_blocks_have_the_same_gradients() -> None:
    config = tiny().model
    images, tokens = torch.randn(3, 3, 32, 32), torch.tensor([[1, 5, 49407], [1, 49407, 0], [2, 3, 49407]])
    gradients = []
    for is_recomputed in (False, True):
        model = Clip(config)
        initialise(model, 0)
        names = [name for name, _ in model.named_parameters()]
        if is_recomputed:
            recompute_blocks(model)
        assert [name for name, _ in model.named_parameters()] == names
        image_BE, text_BE = model(images, tokens)
        (image_BE * text_BE).sum().backward()  # type: ignore[no-untyped-call]
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 40
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_the_scale_of_the_loss_halves_after_overflow_and_doubles_after_good_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LossScale, "GROWTH_STEPS", 3)
    scale = LossScale(is_on=True)
    assert scale.retreat() and scale.factor == 32768
    for _ in range(3):
        scale.advance()
    assert scale.factor == 65536 and scale.state.tolist() == [65536, 0]
    assert sum(1 for _ in range(40) if scale.retreat()) == 16 and scale.factor == 1
    off = LossScale(is_on=False)
    assert not off.retreat() and off.factor == 1


def half(**changes: Any) -> TrainConfig:
    return replace(tiny(), steps=4, batch_size=8, precision="fp16", **changes)


@pytest.mark.slow
def test_sixteen_bit_floats_stay_close_to_float32(shards: Path, tmp_path: Path) -> None:
    seen: dict[str, list[float]] = {"fp16": [], "f32": []}
    for precision, losses in seen.items():
        config = replace(half(), precision=precision)  # type: ignore[arg-type]
        train(config, shards, tmp_path / precision, on_step=lambda step, to=losses: to.append(step.loss))
    assert seen["fp16"] == pytest.approx(seen["f32"], rel=0.02)
    assert seen["fp16"] != seen["f32"]


def test_a_step_that_overflows_is_left_out_and_the_next_is_taken(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LossScale, "START", 2.0**40)
    norms: list[float] = []
    train(half(), shards, tmp_path / "run", on_step=lambda step: norms.append(step.gradient_norm))
    assert not torch.isfinite(torch.tensor(norms[0]))


def test_a_scale_that_cannot_fall_any_more_stops_the_run(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LossScale, "START", 1.0)
    monkeypatch.setattr("clipworks.train.step.clip_gradients", lambda *_: torch.tensor(float("inf")))
    with pytest.raises(DataError, match="gradient norm inf"):
        train(half(), shards, tmp_path / "run")


def test_the_logit_scale_is_clamped_where_the_configuration_says(shards: Path, tmp_path: Path) -> None:
    scales: list[float] = []
    config = replace(tiny(), steps=2, batch_size=8, largest_scale=5.0)
    train(config, shards, tmp_path / "run", on_step=lambda step: scales.append(step.logit_scale))
    assert scales[0] == pytest.approx(5.0) and max(scales) < 5.0001


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reading": "stream", "recolour": False, "zoom": 0.1}, "zoom is 0.1"),
        ({"reading": "stream"}, "Set recolour=false"),
        ({"cooldown_steps": 5}, "schedule is cosine and cooldown_steps 5"),
        ({"schedule": "cooldown"}, "schedule is cooldown and cooldown_steps 0"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
        ({"learning_rate": float("inf")}, "learning_rate is inf; it must be finite"),
        ({"warmup_steps": 50}, "warmup_steps is 50, more than all 20 steps"),
        ({"steps": 4, "schedule": "cooldown", "cooldown_steps": 9}, "cooldown_steps 9, more than all 4"),
        ({"lock_image": True}, "lock_image is true, and the run starts from random weights"),
        ({"text_unlocked": 1}, "text_unlocked needs lock_text"),
        ({"matrix_learning_rate": 1e-3, "layer_decay": 0.9}, "matrix_learning_rate goes neither"),
        ({"largest_scale": 1.0}, "largest_scale is 1.0"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0; it must be none or above 0"),
        ({"schedule": "linear"}, "cosine, constant, cooldown"),
        ({"ema_decay": 1.0}, "ema_decay is 1"),
        ({"largest_pixels": 0}, "largest_pixels is 0"),
    ],
)
def test_settings_without_effect_and_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(tiny(), **changes)
