"""Multinomial logistic regression by L-BFGS, in numpy: what a linear probe is. No PyTorch.

The objective is scikit-learn's: the sum of cross-entropies times C plus half the squared length of the
weights; biases are free. It is convex, so that whoever minimises it finds the same head. Shape letters:
N examples, D features, C classes.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import ConfigError

Vector = NDArray[np.float64]

_MEMORY = 10
_LINE_STEPS = 30
_DECREASE, _CURVATURE = 1e-4, 0.9
_FLAT, _FLAT_STEPS = 1e-6, 5
"""So many steps that each lower the value by a smaller share of it are the last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """A head and how it was found."""

    weight: NDArray[np.float64]
    """float64 [C, D]."""
    bias: NDArray[np.float64]
    """float64 [C], of mean 0."""
    iterations: int
    """Steps of L-BFGS."""
    is_converged: bool
    """Whether the largest part of the gradient fell below the tolerance."""


def fit_logistic(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    num_classes: int,
    *,
    c: float,
    start: Fit | None = None,
    max_iterations: int = 1000,
    tolerance: float = 1e-4,
) -> Fit:
    """Fit a linear classifier.

    Args:
        features: float32 [N, D].
        labels: int64 [N], 0..num_classes - 1.
        num_classes: rows of the head.
        c: scikit-learn's C, above 0: large is little regularisation.
        start: where to begin; None is zero.
        max_iterations: steps at most.
        tolerance: of the largest part of the gradient of the mean objective, in the units of a step.

    Raises:
        ConfigError: `c` is not above 0.
    """
    if not c > 0:
        raise ConfigError(f"c is {c}; it must be above 0.")
    count, width = features.shape
    decay = 1 / (c * count)
    # The bias is free, so that a shift of all features changes no weight; without the mean, which is most of
    # a CLIP feature, the steps are a fraction.
    mean = features.mean(axis=0)
    features = features - mean
    # Steps are taken in units in which the curvature of weights and of biases is about one.
    curvature = (1 - 1 / num_classes) / num_classes
    unit = (curvature * float(np.mean(features.var(axis=0))) + decay) ** -0.5
    units = np.full(num_classes * (width + 1), unit)
    units[num_classes * width :] = curvature**-0.5

    objective = _objective(features, labels, num_classes, decay, units)
    point = np.zeros(num_classes * (width + 1))
    if start is not None:
        point = np.concatenate([start.weight.ravel(), start.bias + start.weight @ mean]) / units
    point, iterations, is_converged = minimise(objective, point, max_iterations, tolerance)
    point = units * point
    weight = point[: num_classes * width].reshape(num_classes, width)
    bias = point[num_classes * width :] - weight @ mean
    return Fit(
        weight=weight,
        bias=bias - bias.mean(),
        iterations=iterations,
        is_converged=is_converged,
    )


def _objective(
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    num_classes: int,
    decay: float,
    units: Vector,
) -> Callable[[Vector], tuple[float, Vector]]:
    """Mean cross-entropy plus decay / 2 times the squared weights, and its gradient, both in `units`."""
    count, width = features.shape
    rows = np.arange(count)

    def objective(point: Vector) -> tuple[float, Vector]:
        point = units * point
        weight = point[: num_classes * width].reshape(num_classes, width)
        logits = features @ weight.astype(np.float32).T + point[num_classes * width :].astype(np.float32)
        logits -= logits.max(axis=1, keepdims=True)
        exponentials = np.exp(logits)
        sums = exponentials.sum(axis=1, keepdims=True)
        loss = float(np.mean(np.log(sums[:, 0], dtype=np.float64) - logits[rows, labels]))
        errors = exponentials / sums
        errors[rows, labels] -= 1
        slope = (errors.T @ features).astype(np.float64) / count + decay * weight
        slopes = np.concatenate([slope.ravel(), errors.sum(axis=0, dtype=np.float64) / count])
        return loss + decay / 2 * float((weight * weight).sum()), units * slopes

    return objective


def cross_entropy(fit: Fit, features: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Mean negative log-probability of the true classes, nats."""
    logits = features @ fit.weight.T + fit.bias
    logits -= logits.max(axis=1, keepdims=True)
    sums = np.log(np.exp(logits).sum(axis=1))
    return float(np.mean(sums - logits[np.arange(len(labels)), labels]))


def minimise(
    objective: Callable[[Vector], tuple[float, Vector]],
    point: Vector,
    max_iterations: int,
    tolerance: float,
) -> tuple[Vector, int, bool]:
    """L-BFGS (Liu and Nocedal 1989) with a line search for the weak Wolfe conditions.

    Args:
        objective: a point -> its value and gradient.
        point: where to begin.
        max_iterations: steps at most.
        tolerance: of the largest part of the gradient.

    Returns:
        The last point, the number of steps, and whether the tolerance was reached.
    """
    value, slope = objective(point)
    pairs: deque[tuple[Vector, Vector, float]] = deque(maxlen=_MEMORY)
    num_flat = 0
    for iteration in range(max_iterations):
        if np.abs(slope).max() <= tolerance:
            return point, iteration, True
        direction = -_apply_inverse(pairs, slope)
        size = 1.0 if pairs else min(1.0, 1.0 / float(np.abs(slope).sum()))
        found = _search(objective, point, value, slope, direction, size)
        if found is None:  # the float32 products give no lower value: this is the bottom
            return point, iteration, bool(np.abs(slope).max() <= 100 * tolerance)
        next_point, next_value, next_slope = found
        moved, turned = next_point - point, next_slope - slope
        bend = float(moved @ turned)
        if bend > 1e-12 * float(turned @ turned):
            pairs.append((moved, turned, 1 / bend))
        num_flat = num_flat + 1 if value - next_value <= _FLAT * abs(value) else 0
        point, value, slope = next_point, next_value, next_slope
        if num_flat == _FLAT_STEPS:
            return point, iteration + 1, True
    return point, max_iterations, bool(np.abs(slope).max() <= tolerance)


def _apply_inverse(pairs: deque[tuple[Vector, Vector, float]], slope: Vector) -> Vector:
    """The approximate inverse of the Hessian times `slope`: the two-loop recursion."""
    result = slope.copy()
    weights: list[float] = []
    for moved, turned, inverse in reversed(pairs):
        weights.append(inverse * float(moved @ result))
        result -= weights[-1] * turned
    if pairs:
        moved, turned, inverse = pairs[-1]
        result *= 1 / (inverse * float(turned @ turned))
    for (moved, turned, inverse), weight in zip(pairs, reversed(weights), strict=True):
        result += (weight - inverse * float(turned @ result)) * moved
    return result


def _search(
    objective: Callable[[Vector], tuple[float, Vector]],
    point: Vector,
    value: float,
    slope: Vector,
    direction: Vector,
    size: float,
) -> tuple[Vector, float, Vector] | None:
    """A step that lowers the value enough and flattens the slope; bisection, doubling while too short."""
    fall = float(slope @ direction)
    low, high = 0.0, float("inf")
    best: tuple[Vector, float, Vector] | None = None
    for _ in range(_LINE_STEPS):
        there = point + size * direction
        there_value, there_slope = objective(there)
        if not there_value <= value + _DECREASE * size * fall:
            high = size
        else:
            best = (there, there_value, there_slope)
            if float(there_slope @ direction) >= _CURVATURE * fall:
                return best
            low = size
        size = (low + high) / 2 if high < float("inf") else 2 * low
    return best
