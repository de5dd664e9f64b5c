"""Metrics as functions of what came of each unit and of how much each unit weighs. Numpy only.

A unit is what is drawn again by a bootstrap: a picture of a classification task, a picture with its captions
of a retrieval task, a cue, a pair of captions. Weights of one give the metric itself, those of a draw its
replicate, so that values, intervals and comparisons come from one definition.

Ties: scores are float32, and of equal ones the first counts as the larger. `groups.py` has what WILDS adds.
"""

from collections.abc import Callable, Mapping
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[Any]]
"""Name -> one value per unit, [N, ...]."""
Weights = NDArray[np.float64]
"""float64 [N], not negative."""
Metric = Callable[[Columns, Weights], float]
"""The value in 0..1; not a number where no unit weighs anything."""

RECALL_AT = (1, 5, 10)
TOP = 5

CANDIDATES = {"5": (5, 5), "6": (6, 6), "10": (10, 10), "12": (12, 12), "5-6": (0, 6), "10-12": (10, 99)}
"""Ranges of the number of candidates by which WinoGAViL is reported."""


def classification_metrics(num_classes: int) -> dict[str, Metric]:
    """Top-1, top-5 from five classes on, and the mean of the classes' recalls."""
    found: dict[str, Metric] = {"acc1": accuracy}
    if num_classes >= TOP:
        found["acc5"] = share_of("in_top5")
    return {**found, "mean_per_class_recall": mean_recall}


def retrieval_metrics() -> dict[str, Metric]:
    """Recalls both ways at 1, 5 and 10, and the mean of both at 1."""
    found: dict[str, Metric] = {}
    for k in RECALL_AT:
        found[f"image_retrieval_recall@{k}"] = ratio_of(f"texts_at_{k}", "num_texts")
        found[f"text_retrieval_recall@{k}"] = share_of(f"image_at_{k}")

    def both(columns: Columns, weights: Weights) -> float:
        return (
            found["image_retrieval_recall@1"](columns, weights)
            + found["text_retrieval_recall@1"](columns, weights)
        ) / 2

    return {**found, "mean_recall@1": both}


def association_metrics() -> dict[str, Metric]:
    """WinoGAViL's mean Jaccard index, over all cues and by the number of candidates."""
    found: dict[str, Metric] = {"avg_jaccard_score": share_of("jaccard")}
    return found | {f"jaccard_score_{name}": _jaccard_of(*ends) for name, ends in CANDIDATES.items()}


def selection_metrics() -> dict[str, Metric]:
    """The right caption scores above the wrong one; and, as CLIP_benchmark counts, or as high."""
    return {"text_acc_strict": share_of("is_above"), "text_acc": share_of("is_as_high")}


def multilabel_metrics() -> dict[str, Metric]:
    """Mean over classes of the average precision; a class without positives counts 0."""
    return {"mean_average_precision": mean_average_precision}


def accuracy(columns: Columns, weights: Weights) -> float:
    """Share of pictures whose prediction is their label."""
    return _divided(weights @ (columns["label"] == columns["prediction"]), weights.sum())


def mean_recall(columns: Columns, weights: Weights) -> float:
    """Mean over the classes that occur of the share of their pictures that are right (balanced accuracy)."""
    counts = np.bincount(columns["label"], weights)
    hits = np.bincount(columns["label"], weights * (columns["label"] == columns["prediction"]))
    is_here = counts > 0
    return _divided((hits[is_here] / counts[is_here]).sum(), is_here.sum())


def macro_f1(columns: Columns, weights: Weights) -> float:
    """Mean F1 over the classes that occur among the labels, as WILDS counts iWildCam."""
    label, prediction = columns["label"], columns["prediction"]
    size = int(max(label.max(), prediction.max())) + 1
    hits = np.bincount(label, weights * (label == prediction), size)
    counts, said = np.bincount(label, weights, size), np.bincount(prediction, weights, size)
    is_here = counts > 0
    return _divided((2 * hits[is_here] / (counts + said)[is_here]).sum(), is_here.sum())


def mean_average_precision(columns: Columns, weights: Weights) -> float:
    """Precision at each positive, no interpolation; `order` holds each class's pictures, best first."""
    total = 0.0
    for number in range(columns["order"].shape[1]):
        order = columns["order"][:, number]
        weight = weights[order]
        positive = weight * columns["targets"][order, number]
        precision = np.cumsum(positive) / np.maximum(np.cumsum(weight), 1e-12)
        total += float(precision @ positive) / max(float(positive.sum()), 1.0)
    return total / int(columns["order"].shape[1])


def share_of(column: str) -> Metric:
    """The mean of a column."""
    return lambda columns, weights: _divided(weights @ columns[column], weights.sum())


def ratio_of(column: str, count: str) -> Metric:
    """The sum of a column as a share of another's."""
    return lambda columns, weights: _divided(weights @ columns[column], weights @ columns[count])


def group_values(columns: Columns, weights: Weights, hits: str, group: str) -> NDArray[np.float64]:
    """The share of hits in each group, float64 [groups]; not a number where a group is empty."""
    counts = np.bincount(columns[group], weights)
    right = np.bincount(columns[group], weights * columns[hits])
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: NDArray[np.float64] = right / counts
    return shares


def worst_of(hits: str, group: str, *, without: tuple[int, ...] = ()) -> Metric:
    """The smallest share of hits among the groups that occur; empty ones are left out, as WILDS does."""

    def worst(columns: Columns, weights: Weights) -> float:
        values = group_values(columns, weights, hits, group)
        values[[number for number in without if number < len(values)]] = np.nan
        return float(np.nanmin(values)) if np.isfinite(values).any() else float("nan")

    return worst


def outcome_columns(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], in_top5: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """The columns of a classification task."""
    return {
        "label": labels,
        "prediction": predictions,
        "in_top5": in_top5.astype(np.int8),
        "hit": (labels == predictions).astype(np.int8),
    }


def _jaccard_of(low: int, high: int) -> Metric:
    def mean(columns: Columns, weights: Weights) -> float:
        is_in = (columns["candidates"] >= low) & (columns["candidates"] <= high)
        return _divided(weights @ (columns["jaccard"] * is_in), weights @ is_in)

    return mean


def _divided(value: SupportsFloat, by: SupportsFloat) -> float:
    return float(value) / float(by) if float(by) else float("nan")
