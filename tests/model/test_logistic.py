"""Logistic regression: the minimum of a convex function is recognised by its gradient."""

import numpy as np
import pytest
from numpy.typing import NDArray

from clipworks.errors import ConfigError
from clipworks.model.logistic import Fit, cross_entropy, fit_logistic, minimise

RNG = np.random.default_rng(7)
LABELS = RNG.integers(0, 4, 200)
FEATURES = (RNG.standard_normal((4, 12))[LABELS] + RNG.standard_normal((200, 12))).astype(np.float32)


def gradient(fit: Fit, features: NDArray[np.float32], c: float) -> float:
    """Largest part of the gradient of mean cross-entropy + |W|^2 / (2 c n), in float64."""
    logits = features.astype(np.float64) @ fit.weight.T + fit.bias
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    shares[np.arange(len(features)), LABELS] -= 1
    slope = (shares.T @ features + fit.weight / c) / len(features)
    return float(max(np.abs(slope).max(), np.abs(shares.mean(axis=0)).max()))


@pytest.mark.parametrize("c", [1e-4, 0.1, 1.0, 100.0])
def test_the_gradient_vanishes_at_the_fit(c: float) -> None:
    fit = fit_logistic(FEATURES, LABELS, 4, c=c, tolerance=1e-6)
    assert fit.is_converged
    assert gradient(fit, FEATURES, c) < 1e-3


def test_a_shift_of_all_features_moves_only_the_bias() -> None:
    fit = fit_logistic(FEATURES, LABELS, 4, c=1.0)
    moved = fit_logistic(FEATURES + np.float32(5), LABELS, 4, c=1.0)
    assert moved.weight == pytest.approx(fit.weight, abs=2e-3)
    assert cross_entropy(moved, FEATURES + np.float32(5), LABELS) == pytest.approx(
        cross_entropy(fit, FEATURES, LABELS), abs=1e-4
    )


def test_a_start_at_the_minimum_needs_few_steps() -> None:
    fit = fit_logistic(FEATURES, LABELS, 4, c=1.0)
    assert fit_logistic(FEATURES, LABELS, 4, c=1.0, start=fit).iterations < fit.iterations


def test_separable_pictures_are_all_right_and_little_regularised() -> None:
    features = np.eye(4, dtype=np.float32)[LABELS]
    fit = fit_logistic(features, LABELS, 4, c=1e6)
    assert ((features @ fit.weight.T + fit.bias).argmax(axis=1) == LABELS).all()


def test_strong_regularisation_leaves_the_shares_of_the_classes() -> None:
    fit = fit_logistic(FEATURES, LABELS, 4, c=1e-9, tolerance=1e-7)
    shares = np.exp(fit.bias) / np.exp(fit.bias).sum()
    assert shares == pytest.approx(np.bincount(LABELS) / 200, abs=1e-3)


def test_an_impossible_c_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="c is 0; it must be above 0"):
        fit_logistic(FEATURES, LABELS, 4, c=0)


def test_a_valley_with_a_bend_is_walked_to_its_bottom() -> None:
    def rosenbrock(p: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        x, y = p
        slope = np.array([-400 * x * (y - x * x) - 2 * (1 - x), 200 * (y - x * x)])
        return float(100 * (y - x * x) ** 2 + (1 - x) ** 2), slope

    point, _, is_converged = minimise(rosenbrock, np.array([-1.2, 1.0]), 200, 1e-8)
    assert is_converged and point == pytest.approx([1, 1], abs=1e-5)
