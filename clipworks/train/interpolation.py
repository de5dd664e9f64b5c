"""Between two models: weight-space interpolation of a fine-tuned model with the one it came from.

WiSE-FT (arXiv:2109.01903): (1 - alpha) * before + alpha * after, tensor by tensor. Somewhere between the two
a model is often better at the new task than the tuned one and has forgotten less.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """What a model between the two reaches on validation."""

    alpha: float
    """0 is the model before, 1 the tuned one."""
    score: float
    """Share of validation that is right, 0..1."""
    loss: float
    """Nats."""
    kept: float
    """What is left of the rest: share of the package's gallery whose caption is found first, 0..1."""


def between(before: Tensors, after: Tensors, alpha: float) -> dict[str, NDArray[np.float32]]:
    """The weights at `alpha`, in 0..1; exactly `before` at 0 and `after` at 1."""
    if alpha in (0.0, 1.0):
        return dict(after if alpha else before)
    return {
        name: array
        if after[name] is array
        else ((1 - alpha) * array + alpha * after[name]).astype(np.float32)
        for name, array in before.items()
    }


def alphas_of(count: int) -> tuple[float, ...]:
    """`count` values from 0 to 1, at least two."""
    return tuple(round(float(value), 4) for value in np.linspace(0, 1, count))


def walk(
    before: Tensors,
    after: Tensors,
    alphas: Sequence[float],
    measure: Callable[[Tensors], tuple[float, float, float]],
) -> list[Score]:
    """Measure models on the way; `measure` gives score, loss and kept."""
    found: list[Score] = []
    for alpha in alphas:
        score, loss, kept = measure(between(before, after, alpha))
        found.append(Score(alpha=alpha, score=score, loss=loss, kept=kept))
    return found


def choose(scores: Sequence[Score]) -> Score:
    """The highest validation score; among equals the lowest loss, then the smallest alpha."""
    return max(scores, key=lambda one: (one.score, -one.loss, -one.alpha))
