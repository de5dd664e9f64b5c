"""How much regularisation: searched on validation alone, coarse to fine, as OpenAI's probes do."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipworks.model.logistic import Fit, cross_entropy, fit_logistic
from clipworks.model.tallies import accuracy_of

STEPS_PER_DECADE = 8
LEAST_EXPONENT, MOST_EXPONENT = -6, 6
_FIRST_STEP = 2 * STEPS_PER_DECADE
_TOLERANCE = 1e-3
"""Rougher than that of the last fit: a trial only says how many pictures are right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One value of C."""

    c: float
    """scikit-learn's C."""
    accuracy: float
    """On validation, 0..1."""
    loss: float
    """Cross-entropy on validation, nats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What a search found."""

    best: Trial
    """The highest validation accuracy; among equals the lowest validation loss."""
    trials: tuple[Trial, ...]
    """Everything that was tried, by C."""
    fit: Fit
    """The head of the best trial, fitted on the training part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Features with labels."""

    features: NDArray[np.float32]
    """float32 [N, D]."""
    labels: NDArray[np.int64]
    """int64 [N]."""


def search_c(
    train: Part,
    val: Part,
    num_classes: int,
    *,
    max_iterations: int,
    on_trial: Callable[[Trial], None] | None = None,
) -> Sweep:
    """The C that classifies the validation part best.

    Of 97 values from 1e-6 to 1e6, eight a decade, seven are tried first; then the neighbours of the best one
    at a distance of 8, 4, 2 and 1. Each fit begins at the nearest one that is done.
    """
    last = (MOST_EXPONENT - LEAST_EXPONENT) * STEPS_PER_DECADE
    trials: dict[int, Trial] = {}
    fits: dict[int, Fit] = {}

    def try_step(step: int) -> None:
        if not 0 <= step <= last or step in trials:
            return
        near = min(fits, key=lambda other: abs(other - step), default=None)
        c = 10 ** (LEAST_EXPONENT + step / STEPS_PER_DECADE)
        start = None if near is None else fits[near]
        fit = fit_logistic(
            train.features,
            train.labels,
            num_classes,
            c=c,
            start=start,
            max_iterations=max_iterations,
            tolerance=_TOLERANCE,
        )
        logits = val.features @ fit.weight.T + fit.bias
        trial = Trial(
            c=c,
            accuracy=accuracy_of(logits, val.labels),
            loss=cross_entropy(fit, val.features, val.labels),
        )
        trials[step], fits[step] = trial, fit
        if on_trial is not None:
            on_trial(trial)

    for step in range(0, last + 1, _FIRST_STEP):
        try_step(step)
    distance = _FIRST_STEP // 2
    while distance:
        peak = _peak(trials)
        try_step(peak - distance)
        try_step(peak + distance)
        distance //= 2
    best = _peak(trials)
    return Sweep(best=trials[best], trials=tuple(trials[step] for step in sorted(trials)), fit=fits[best])


def _peak(trials: dict[int, Trial]) -> int:
    return max(trials, key=lambda step: (trials[step].accuracy, -trials[step].loss, -step))
