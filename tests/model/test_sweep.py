"""The search for C: validation decides, and nothing else is looked at."""

import numpy as np

from clipworks.model.sweep import Part, Trial, search_c

RNG = np.random.default_rng(3)
MEANS = RNG.standard_normal((3, 8))


def part(count: int, noise: float = 1.5) -> Part:
    labels = RNG.integers(0, 3, count)
    features = (MEANS[labels] + noise * RNG.standard_normal((count, 8))).astype(np.float32)
    return Part(features=features, labels=labels)


def test_the_best_of_all_trials_on_validation_is_taken_and_few_are_made() -> None:
    seen: list[Trial] = []
    sweep = search_c(part(60), part(200), 3, max_iterations=200, on_trial=seen.append)
    assert len(sweep.trials) == len(seen) <= 15
    assert sweep.best.accuracy == max(trial.accuracy for trial in seen)
    ties = [trial for trial in seen if trial.accuracy == sweep.best.accuracy]
    assert sweep.best.loss == min(trial.loss for trial in ties)
    assert [trial.c for trial in sweep.trials] == sorted(trial.c for trial in seen)


def test_the_head_is_the_one_of_the_best_trial() -> None:
    train, val = part(60), part(200)
    sweep = search_c(train, val, 3, max_iterations=200)
    hits = (val.features @ sweep.fit.weight.T + sweep.fit.bias).argmax(axis=1) == val.labels
    assert hits.mean() == sweep.best.accuracy
