"""Shares with their intervals: how often a classifier is right, by class, and what it takes for what."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Z = 1.959963984540054
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % points of Student's distribution with 1, 2, ... degrees of freedom."""


def wilson(hits: float, count: int) -> list[float]:
    """The 95 % interval of a share after Wilson (1927)."""
    share = hits / count
    middle = share + _Z * _Z / (2 * count)
    half = _Z * math.sqrt(share * (1 - share) / count + _Z * _Z / (4 * count * count))
    scale = 1 / (1 + _Z * _Z / count)
    return [(middle - half) * scale, (middle + half) * scale]


def share_of(hits: int, count: int) -> dict[str, Any]:
    """A share in 0..1 with its 95 % interval, to four decimals."""
    interval = [round(end, 4) for end in wilson(hits, count)]
    return {"value": round(hits / count, 4), "interval_95": interval, "n": count}


def mean_of(values: Sequence[float]) -> dict[str, Any]:
    """A mean over draws with its 95 % interval after Student; one value has none."""
    mean = float(np.mean(values))
    result: dict[str, Any] = {"value": round(mean, 4), "draws": [round(value, 4) for value in values]}
    if len(values) > 1:
        t = _T[len(values) - 2] if len(values) - 2 < len(_T) else _Z
        half = t * float(np.std(values, ddof=1)) / math.sqrt(len(values))
        result["interval_95"] = [round(mean - half, 4), round(mean + half, 4)]
    return result


def tally(logits: NDArray[Any], labels: NDArray[np.int64], classes: Sequence[str]) -> dict[str, Any]:
    """All that a result says of one classifier on one set.

    Args:
        logits: float [N, C].
        labels: int64 [N], 0..C - 1.
        classes: C names.
    """
    confusion = confusion_of(logits, labels, len(classes))
    counts = confusion.sum(axis=1)
    recalls = confusion.diagonal()[counts > 0] / counts[counts > 0]
    top5 = np.sort(logits, axis=1)[:, -min(5, len(classes))]
    is_top5 = logits[np.arange(len(labels)), labels] >= top5
    result = {"top1": share_of(int(confusion.diagonal().sum()), len(labels))}
    if len(classes) > 5:
        result["top5"] = share_of(int(is_top5.sum()), len(labels))
    return {
        **result,
        "mean_per_class_recall": round(float(recalls.mean()), 4),
        "per_class": [
            {"class": name, **(share_of(int(confusion[i, i]), int(counts[i])) if counts[i] else {"n": 0})}
            for i, name in enumerate(classes)
        ],
        "confusion": confusion.tolist(),
    }


def confusion_of(logits: NDArray[Any], labels: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """int64 [C, C]: rows are true classes, columns what was said."""
    table = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(table, (labels, logits.argmax(axis=1)), 1)
    return table


def accuracy_of(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Share of rows whose largest logit is that of the label."""
    return float((logits.argmax(axis=1) == labels).mean())
