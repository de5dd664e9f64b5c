"""Intervals cover what they should, pairs are compared as pairs, and draws depend on words alone."""

import numpy as np
import pytest

from clipworks.evaluate.metrics import accuracy, outcome_columns
from clipworks.evaluate.resample import (
    bootstrap,
    distinct,
    holm,
    interval,
    mcnemar,
    paired_difference,
)
from clipworks.model.tallies import wilson


def units(seed: int, count: int = 300, share: float = 0.7) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    said = np.where(random.random(count) < share, labels, (labels + 1) % 4)
    return outcome_columns(labels, said, labels == said)


def test_the_bootstrap_interval_is_that_of_a_binomial_share() -> None:
    found = units(1, 2000)
    replicates = bootstrap(found, {"acc1": accuracy}, seed="x")["acc1"]
    low, high = interval(replicates) or (0, 0)
    expected = wilson(int(found["hit"].sum()), 2000)
    assert (low, high) == pytest.approx(expected, abs=0.005)
    assert np.array_equal(replicates, bootstrap(found, {"acc1": accuracy}, seed="x")["acc1"])


def test_many_units_are_drawn_by_their_kinds_with_the_same_spread() -> None:
    found = units(2, 30_000)
    cells, counts = distinct(found)
    assert len(counts) < 20 and counts.sum() == 30_000
    assert accuracy(cells, counts) == pytest.approx(accuracy(found, np.ones(30_000)))
    spread = bootstrap(found, {"acc1": accuracy}, seed="x", draws=300)["acc1"].std()
    share = accuracy(cells, counts)
    assert spread == pytest.approx(np.sqrt(share * (1 - share) / 30_000), rel=0.2)


def test_kinds_are_told_apart_whatever_their_values_are() -> None:
    random = np.random.default_rng(4)
    columns = {
        "large": random.choice([-(1 << 62), 5, 1 << 62], 900),
        "share": random.choice([0.25, 1 / 3, 0.5], 900),
        "flag": random.choice([True, False], 900),
        **{f"wide {n}": random.choice([0, (1 << 20) - 2], 900) for n in range(3)},
    }
    cells, counts = distinct(columns)
    plain = {tuple(row) for row in zip(*(column.tolist() for column in columns.values()), strict=True)}
    assert len(counts) == len(plain) and counts.sum() == 900
    assert {tuple(row) for row in zip(*(cell.tolist() for cell in cells.values()), strict=True)} == plain
    few, ones = distinct({"x": np.arange(9)})
    assert (ones == 1).all() and len(few["x"]) == 9


def test_a_model_does_not_differ_from_itself_and_a_better_one_does() -> None:
    one, same, better = units(3), units(3), units(3, share=0.95)
    assert paired_difference(one, same, accuracy, seed="x")["p"] == 1
    found = paired_difference(better, one, accuracy, seed="x")
    low, high = found["interval_95"]
    assert low > 0 and low < found["difference"] < high and found["p"] < 0.01


def test_mcnemar_equals_the_binomial_test() -> None:
    first = np.array([True] * 10 + [False] * 2 + [True] * 50)
    second = np.array([False] * 10 + [True] * 2 + [True] * 50)
    assert mcnemar(first, second) == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert mcnemar(first, first) == 1
    many = np.arange(9000) % 3 != 0
    assert mcnemar(many, np.roll(many, 1)) == pytest.approx(1)


def test_p_values_are_corrected_after_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
