import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from outliers import with_outliers
from tiny_clip import TinyClip, tiny_pixels, tiny_tokens

from clipworks.errors import ConfigError
from clipworks.model import quantize, scales
from clipworks.model.calibration import Calibration, read_calibration
from clipworks.model.executor import GraphExecutor, has_bf16, weight_limit
from clipworks.model.fidelity import compare
from clipworks.model.quantize import Plan, find_plan, make_plan

pytestmark = pytest.mark.slow

LINEAR_LAYERS = {
    f"{tower}.blocks.{n}.{kind}"
    for tower in ("vision", "text")
    for n in (0, 1)
    for kind in ("qkv", "out", "up", "down")
}


@pytest.fixture(scope="module")
def calibration(tiny_clip: TinyClip) -> Calibration:
    return read_calibration(tiny_clip.config)


@pytest.fixture(scope="module")
def all_layers_stay() -> Iterator[None]:
    """The tiny CLIP has one text at 0.9893, which would cost it a layer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize, "FLOOR", 0.985)
        yield


@pytest.fixture(scope="module")
def plan(tiny_clip: TinyClip, calibration: Calibration, all_layers_stay: None) -> Plan:
    return make_plan(tiny_clip.config, tiny_clip.weights, calibration, "int8")


def executor_of(tiny_clip: TinyClip, plan: Plan) -> GraphExecutor:
    return GraphExecutor(tiny_clip.config, tiny_clip.weights, precision=plan.precision, scales=plan.scales)


def running_types(executor: GraphExecutor, kind: str) -> list[str]:
    """Type that each node of a kind has in the graph as it runs."""
    (pool,) = executor._pools.values()
    nodes = [node.get_rt_info() for node in pool._compiled.get_runtime_model().get_ordered_ops()]
    return [node["runtimePrecision"].astype(str) for node in nodes if node["layerType"].astype(str) == kind]


def test_every_linear_layer_of_the_blocks_has_a_scale(plan: Plan) -> None:
    assert plan.name == "int8"
    assert set(plan.scales) == LINEAR_LAYERS
    assert max(scale.error for scale in plan.scales.values()) < 0.02
    assert {scale.limit for scale in plan.scales.values()} == {weight_limit()}


@pytest.mark.parametrize("tower", ["image", "text"])
def test_the_products_of_the_blocks_run_in_int8(tiny_clip: TinyClip, plan: Plan, tower: str) -> None:
    executor = executor_of(tiny_clip, plan)
    if tower == "image":
        executor.encode_images(tiny_pixels(1))
    else:
        executor.encode_texts(tiny_tokens())
    products = running_types(executor, "FullyConnected")
    is_eight_bits = [precision in ("i8", "u8") for precision in products]
    assert sum(is_eight_bits) == 2 * (3 + 1 + 1 + 1)  # two blocks: query, key, value, out, up, down
    others = {"image": 2, "text": 1}[tower]  # the projection, and what embeds the patches
    assert len(products) - sum(is_eight_bits) == others
    assert running_types(executor, "FakeQuantize") == []  # roundings are part of what stands before them


def test_what_the_plan_says_is_what_the_executor_gives(
    tiny_clip: TinyClip, plan: Plan, calibration: Calibration
) -> None:
    exact = GraphExecutor(tiny_clip.config, tiny_clip.weights, precision="f32")
    rough = executor_of(tiny_clip, plan)
    pixels = calibration.held_out.pixels
    found = compare(rough.encode_images(pixels), exact.encode_images(pixels))
    assert found == plan.fidelity["vision"]
    assert 0.99 < found.cosine_min < 0.9999
    assert f"smallest cosine to f32 {found.cosine_min:.5f} for pictures" in plan.sentence


def test_inputs_that_the_calibration_never_saw_are_close_too(tiny_clip: TinyClip, plan: Plan) -> None:
    exact = GraphExecutor(tiny_clip.config, tiny_clip.weights, precision="f32")
    rough = executor_of(tiny_clip, plan)
    pixels = tiny_pixels(16, seed=9)
    assert compare(rough.encode_images(pixels), exact.encode_images(pixels)).cosine_min > 0.98
    assert compare(rough.encode_texts(tiny_tokens()), exact.encode_texts(tiny_tokens())).cosine_min > 0.98


def test_outliers_as_in_trained_models_are_smoothed_away(
    tiny_clip: TinyClip, calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = with_outliers(tiny_clip.weights)
    smoothed = make_plan(tiny_clip.config, weights, calibration, "int8")
    monkeypatch.setattr(scales, "_smooth", lambda peaks, columns, strength: np.ones_like(peaks))
    plain = make_plan(tiny_clip.config, weights, calibration, "int8")
    worst, worst_plain = (max(scale.error for scale in p.scales.values()) for p in (smoothed, plain))
    assert worst < 0.03
    assert worst_plain > 3 * worst
    for tower in ("vision", "text"):
        assert smoothed.fidelity[tower].cosine_mean > plain.fidelity[tower].cosine_mean
        assert smoothed.fidelity[tower].cosine_min > 0.98


def test_layers_that_lose_most_stay_out_of_int8_until_the_aim_is_kept(
    tiny_clip: TinyClip, calibration: Calibration, monkeypatch: pytest.MonkeyPatch, all_layers_stay: None
) -> None:
    whole = make_plan(tiny_clip.config, tiny_clip.weights, calibration, "int8")
    monkeypatch.setattr(quantize, "FLOOR", 1.0)
    half = make_plan(tiny_clip.config, tiny_clip.weights, calibration, "int8")
    for tower in ("vision", "text"):
        all_layers = {name: scale for name, scale in whole.scales.items() if name.startswith(tower)}
        kept = sorted(all_layers, key=lambda name: all_layers[name].error)[: len(all_layers) // 2]
        assert {name for name in half.scales if name.startswith(tower)} == set(kept)
        assert half.fidelity[tower].cosine_mean > whole.fidelity[tower].cosine_mean


@pytest.mark.parametrize(
    ("aim", "has_int8", "expected"), [(0.9, True, "int8"), (0.9, False, ""), (2.0, True, "f32")]
)
def test_auto_is_the_fastest_precision_that_keeps_the_aim(
    tiny_clip: TinyClip,
    calibration: Calibration,
    monkeypatch: pytest.MonkeyPatch,
    aim: float,
    has_int8: bool,
    expected: str,
) -> None:
    monkeypatch.setattr(quantize, "AIM", aim)
    monkeypatch.setattr(quantize, "has_int8", lambda: has_int8)
    monkeypatch.setattr(quantize, "SMALLEST_INT8_WIDTH", 1)
    found = make_plan(tiny_clip.config, tiny_clip.weights, calibration, "auto")
    assert found.name == (expected or ("bf16" if has_bf16() else "f32"))


def test_towers_can_have_different_precisions(plan: Plan) -> None:
    images_only = {name: scale for name, scale in plan.scales.items() if name.startswith("vision")}
    assert replace(plan, precision="bf16", scales=images_only).name == "int8/bf16"
    assert Plan(precision="f32").name == "f32"


def test_small_towers_are_not_tried_in_int8_by_auto(tiny_clip: TinyClip, calibration: Calibration) -> None:
    found = make_plan(tiny_clip.config, tiny_clip.weights, calibration, "auto")
    assert found.scales == {}


# --- kept between starts ----------------------------------------------------------------------------


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, plan: Plan) -> list[str]:
    """The precisions that were measured, in place of measuring."""
    calls: list[str] = []

    def make(config: Any, weights: Any, calibration: Any, precision: str) -> Plan:
        calls.append(precision)
        return plan

    monkeypatch.setattr(quantize, "make_plan", make)
    return calls


def find(tiny_clip: TinyClip, fingerprint: str = "a") -> Plan:
    return find_plan(tiny_clip.config, tiny_clip.weights, fingerprint, "int8")


def same(one: Plan, other: Plan) -> bool:
    one_scales, other_scales = (
        {name: replace(scale, smooth=scale.smooth.tolist()) for name, scale in plan.scales.items()}
        for plan in (one, other)
    )
    return replace(one, scales={}) == replace(other, scales={}) and one_scales == other_scales


def test_a_checkpoint_is_measured_once(
    tiny_clip: TinyClip, plan: Plan, own_cache: Path, made: list[str]
) -> None:
    assert same(find(tiny_clip), plan)
    assert same(find(tiny_clip), plan)
    assert made == ["int8"]
    assert len(list(own_cache.rglob("*.npz"))) == 1
    assert sum(file.stat().st_size for file in own_cache.rglob("*")) < 200_000
    find(tiny_clip, "b")
    assert len(made) == 2


@pytest.mark.parametrize(
    "damage", [lambda data: data[:100], lambda data: b"", lambda data: data[:2000] + bytes(99) + data[2099:]]
)
def test_a_damaged_file_is_measured_again(
    tiny_clip: TinyClip, plan: Plan, own_cache: Path, made: list[str], damage: Any
) -> None:
    find(tiny_clip)
    (file,) = own_cache.rglob("*.npz")
    file.write_bytes(damage(file.read_bytes()))
    assert same(find(tiny_clip), plan)
    assert same(find(tiny_clip), plan)
    assert len(made) == 2


def test_a_cache_that_cannot_be_written_to_changes_nothing(
    tiny_clip: TinyClip, plan: Plan, own_cache: Path, made: list[str]
) -> None:
    (own_cache / "precision").write_text("a file where the folder should be")
    assert same(find(tiny_clip), plan)
    assert len(made) == 1


def test_two_threads_that_measure_at_once_leave_one_whole_file(
    tiny_clip: TinyClip, plan: Plan, own_cache: Path, made: list[str]
) -> None:
    threads = [threading.Thread(target=find, args=(tiny_clip,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same(find(tiny_clip), plan)
    assert [name for name in os.listdir(own_cache / "precision") if name.startswith(".")] == []


def test_int8_on_a_processor_without_it_is_an_error(
    tiny_clip: TinyClip, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    monkeypatch.setattr(quantize, "has_int8", lambda: False)
    with pytest.raises(ConfigError, match=r"does not compute in int8.*precision='auto'"):
        find(tiny_clip)
