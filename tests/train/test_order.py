"""The order of samples is a function of the seed, in constant memory."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipworks.train import order
from clipworks.train.order import Order


def places(made: Order, start: int, count: int) -> list[tuple[int, int]]:
    shards, within = made.locate(start, count)
    return list(zip(shards.tolist(), within.tolist(), strict=True))


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 2),
)
def test_without_resampling_each_sample_comes_once_an_epoch(counts: list[int], seed: int, epoch: int) -> None:
    made = Order(counts, [1.0] * len(counts), seed=seed, is_resampled=False)
    total = sum(counts)
    found = places(made, epoch * total, total)
    assert sorted(found) == [(shard, place) for shard, count in enumerate(counts) for place in range(count)]


@pytest.mark.parametrize("is_resampled", [False, True])
def test_any_part_of_the_sequence_is_the_same_wherever_one_begins(
    is_resampled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "RUN_SAMPLES", 7)
    monkeypatch.setattr(order, "MIXED_RUNS", 3)
    counts = [30, 5, 18, 41]
    whole = places(Order(counts, [1.0] * 4, seed=5, is_resampled=is_resampled), 0, 400)
    again = Order(counts, [1.0] * 4, seed=5, is_resampled=is_resampled)
    assert places(again, 333, 67) == whole[333:]
    assert places(again, 10, 50) == whole[10:60]
    assert places(Order(counts, [1.0] * 4, seed=6, is_resampled=is_resampled), 0, 400) != whole


def test_resampling_visits_a_sample_as_its_weight_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "RUN_SAMPLES", 10)
    made = Order([300, 100, 600], [1.0, 6.0, 1.0], seed=1, is_resampled=True)
    shards, within = made.locate(0, 200_000)
    counts = np.bincount(shards) / len(shards)
    assert counts == pytest.approx([0.2, 0.4, 0.4], abs=0.02)
    in_last = np.bincount(within[shards == 2], minlength=600)
    assert in_last.min() > 0.4 * in_last.mean() and in_last.max() < 1.8 * in_last.mean()


def test_samples_are_mixed_within_so_many_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "RUN_SAMPLES", 10)
    monkeypatch.setattr(order, "MIXED_RUNS", 4)
    made = Order([100] * 20, [1.0] * 20, seed=0, is_resampled=False)
    for block in range(5):
        found = places(made, block * 40, 40)
        runs = Counter((shard, place // 10) for shard, place in found)
        assert list(runs.values()) == [10] * 4
        assert found != sorted(found)


def test_a_substitute_comes_from_the_samples_that_are_mixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "RUN_SAMPLES", 10)
    monkeypatch.setattr(order, "MIXED_RUNS", 2)
    made = Order([50, 50], [1.0, 1.0], seed=0, is_resampled=False)
    block = set(places(made, 20, 20))
    others = {made.substitute(25, draw) for draw in np.linspace(0, 0.999, 50)}
    assert others == block


def test_a_small_shard_does_not_shorten_the_runs_of_the_others() -> None:
    made = Order([5000, 3], [1.0, 1.0], seed=0, is_resampled=True)
    assert made.epoch_samples == 6000
