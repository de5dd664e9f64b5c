"""How sure a number is: bootstrap intervals, paired differences, and p values of several tasks."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.evaluate.metrics import Columns, Metric

DRAWS = 1000
_LARGEST, _LARGEST_RANGE = 1 << 62, 1 << 20
_UNITS_PER_KIND = 4
"""Units of one kind, on average, from which draws are made of kinds: the same law, and a fraction of the
numbers."""


def bootstrap(
    columns: Columns, metrics: Mapping[str, Metric], *, seed: str, draws: int = DRAWS
) -> dict[str, NDArray[np.float64]]:
    """Replicates of metrics: units are drawn with replacement, the same draws for all metrics.

    Args:
        columns: name -> [N, ...].
        metrics: name -> what is computed.
        seed: words that the draws come from.
        draws: how many.

    Returns:
        Name -> float64 [draws]; not numbers where a draw holds nothing that the metric counts.
    """
    cells, counts = distinct(columns)
    rng = generator(seed)
    found = {name: np.empty(draws) for name in metrics}
    for draw, weights in enumerate(_draws(counts, rng, draws)):
        for name, metric in metrics.items():
            found[name][draw] = metric(cells, weights)
    return found


def paired_difference(
    first: Columns, second: Columns, metric: Metric, *, seed: str, draws: int = DRAWS
) -> dict[str, Any]:
    """The first model's metric less the second's on the same units, drawn together.

    Returns:
        `difference`, `interval_95` and `p`, two-sided: how often draws fall on the other side of 0.
    """
    joint = {f"1 {name}": column for name, column in first.items()}
    joint |= {f"2 {name}": column for name, column in second.items()}
    cells, counts = distinct(joint)
    one = {name: cells[f"1 {name}"] for name in first}
    other = {name: cells[f"2 {name}"] for name in second}
    rng = generator(seed)
    found = [metric(one, w) - metric(other, w) for w in _draws(counts, rng, draws)]
    replicates = np.array([value for value in found if math.isfinite(value)])
    value = metric(one, counts) - metric(other, counts)
    below, above = (replicates <= 0).mean(), (replicates >= 0).mean()
    p = min(1.0, 2 * max(min(below, above), 1 / (len(replicates) + 1)))
    return {"difference": value, "interval_95": interval(replicates), "p": 1.0 if value == 0 else float(p)}


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Two-sided exact p of as many one-sided successes under no difference; the normal law from 2,000 on."""
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    count, least = only_first + only_second, min(only_first, only_second)
    if count == 0:
        return 1.0
    if count > 2000:
        z = (abs(only_first - only_second) - 1) / math.sqrt(count)
        return math.erfc(max(z, 0.0) / math.sqrt(2))
    logs = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in range(least + 1)
    ]
    return min(1.0, 2 * sum(math.exp(value - count * math.log(2)) for value in logs))


def interval(replicates: NDArray[np.float64]) -> list[float] | None:
    """The middle 95 % of replicates; None where there are none."""
    values = replicates[np.isfinite(replicates)]
    return [float(end) for end in np.quantile(values, (0.025, 0.975))] if len(values) else None


def holm(values: Sequence[float]) -> list[float]:
    """p values of several comparisons, corrected after Holm (1979)."""
    order = sorted(range(len(values)), key=lambda place: values[place])
    corrected, least = [1.0] * len(values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = least
    return corrected


def distinct(columns: Columns) -> tuple[dict[str, NDArray[Any]], NDArray[np.float64]]:
    """Units that are alike in everything as one with a count, where there are many of a kind."""
    count = len(next(iter(columns.values())))
    if any(column.ndim > 1 for column in columns.values()):
        return dict(columns), np.ones(count)
    kinds, size = np.zeros(count, dtype=np.int64), 1
    for column in columns.values():
        numbers = _numbers(column)
        if size * (int(numbers.max()) + 1) >= _LARGEST:
            kinds = np.unique(kinds, return_inverse=True)[1]
            size = int(kinds.max()) + 1
        kinds *= int(numbers.max()) + 1
        kinds += numbers
        size *= int(numbers.max()) + 1
    _, first, counts = np.unique(kinds, return_index=True, return_counts=True)
    if len(counts) * _UNITS_PER_KIND > count:
        return dict(columns), np.ones(count)
    return {name: column[first] for name, column in columns.items()}, counts.astype(np.float64)


def _numbers(column: NDArray[Any]) -> NDArray[np.int64]:
    """Numbers from 0 that are equal where values are, int64 [N]."""
    if column.dtype.kind in "iu" and int(column.max()) - int(column.min()) < _LARGEST_RANGE:
        return column.astype(np.int64) - int(column.min())
    return np.unique(column, return_inverse=True)[1]


def generator(seed: str) -> np.random.Generator:
    """Random numbers that depend on words alone."""
    return np.random.default_rng(list(hashlib.sha256(seed.encode()).digest()))


def _draws(
    counts: NDArray[np.float64], rng: np.random.Generator, draws: int
) -> Iterator[NDArray[np.float64]]:
    total = int(counts.sum())
    if len(counts) == total:
        for _ in range(draws):
            yield np.bincount(rng.integers(0, total, total), minlength=total).astype(np.float64)
        return
    shares = counts / total
    for _ in range(draws):
        yield rng.multinomial(total, shares).astype(np.float64)
