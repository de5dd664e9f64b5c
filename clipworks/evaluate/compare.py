"""Two models on the same pictures, and a gate that fails on a drop that is more than chance."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipworks.errors import DataError
from clipworks.evaluate.groups import protocols
from clipworks.evaluate.metrics import (
    Metric,
    association_metrics,
    classification_metrics,
    multilabel_metrics,
    retrieval_metrics,
    selection_metrics,
)
from clipworks.evaluate.resample import holm, mcnemar, paired_difference
from clipworks.evaluate.results import read_units

_PLAIN = {"acc1": "hit", "acc5": "in_top5", "text_acc_strict": "is_above"}
"""Metrics that are shares of a column of zeros and ones: McNemar's exact test applies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A task, the first model less the second."""

    task: str
    metric: str
    first: float
    second: float
    difference: float
    interval_95: tuple[float, float]
    """Of the difference, by draws of the units that both saw."""
    p: float
    """Two-sided, of no difference: McNemar's exact test for plain shares, paired draws for others."""
    p_corrected: float
    """After Holm over the tasks that are compared."""
    n: int

    @property
    def is_significant(self) -> bool:
        """Whether the corrected p is below 0.05."""
        return self.p_corrected < 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """What a regression gate says."""

    failed: tuple[Difference, ...]
    """Tasks that fell by more than is allowed, and not by chance."""
    missing: tuple[str, ...]
    """Tasks of the baseline that were not evaluated."""
    max_drop: float
    alpha: float

    @property
    def is_passed(self) -> bool:
        """Whether nothing fell and nothing is missing."""
        return not self.failed and not self.missing


Results = Sequence[tuple[Path, Mapping[str, Any]]]


def metric_of(result: Mapping[str, Any]) -> Metric | None:
    """The function behind a result's main metric; None where it has none."""
    kind = result["kind"]
    if kind == "classification":
        found = dict(classification_metrics(len(result["per_class"])))
        if result["grouping"]:
            found |= protocols()[result["grouping"]].metrics
        return found.get(result["metric"])
    tables = {
        "retrieval": retrieval_metrics,
        "association": association_metrics,
        "selection": selection_metrics,
        "multilabel": multilabel_metrics,
    }
    return tables[kind]().get(result["metric"]) if kind in tables else None


def compare(first: Results, second: Results) -> list[Difference]:
    """Differences on every task that both have, with p values corrected over them.

    Raises:
        DataError: one of them has two results of a task, a task was evaluated on other pictures, or there is
            none that both have.
    """
    _check_once(first)
    _check_once(second)
    others = {result["task"]: (path, result) for path, result in second}
    rows = [
        _difference(path, result, *others[result["task"]])
        for path, result in first
        if result["task"] in others
    ]
    found = [row for row in rows if row is not None]
    if not found:
        raise DataError("The two have no task in common.", "Evaluate both on one suite.")
    corrected = holm([row["p"] for row in found])
    return [Difference(**row, p_corrected=p) for row, p in zip(found, corrected, strict=True)]


def gate(new: Results, baseline: Results, *, max_drop: float, alpha: float) -> Gate:
    """Fail where a task fell by more than `max_drop` and the fall is no chance at level `alpha`.

    Args:
        new: results that shall pass.
        baseline: results that they must not fall behind.
        max_drop: what a metric may fall by, 0..1.
        alpha: level of the test, after correction over tasks.

    Raises:
        DataError: as in `compare`.
    """
    evaluated = {result["task"] for _, result in new}
    missing = tuple(sorted(result["task"] for _, result in baseline if result["task"] not in evaluated))
    failed = [row for row in compare(new, baseline) if row.difference < -max_drop and row.p_corrected < alpha]
    return Gate(failed=tuple(failed), missing=missing, max_drop=max_drop, alpha=alpha)


def is_comparable(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two results of a task are of the same pictures by the same metric."""
    return (one["data"]["sha256"], one["metric"]) == (other["data"]["sha256"], other["metric"])


def as_json(row: Difference) -> dict[str, Any]:
    """JSON values."""
    return {**asdict(row), "is_significant": row.is_significant}


def _check_once(results: Results) -> None:
    places: dict[str, Path] = {}
    for path, result in results:
        if result["task"] in places:
            raise DataError(
                f"{places[result['task']]} and {path} are both results of {result['task']}.",
                "Name the folder of one model.",
            )
        places[result["task"]] = path


def _difference(
    path: Path, result: Mapping[str, Any], other_path: Path, other: Mapping[str, Any]
) -> dict[str, Any] | None:
    metric = metric_of(result)
    if metric is None or result["value"] is None or other["value"] is None:
        return None
    if not is_comparable(result, other):
        raise DataError(
            f"{result['task']} was evaluated on other data or by another metric in {other_path.parent}.",
            "Evaluate both on the same files.",
        )
    units, others = read_units(path), read_units(other_path)
    found = paired_difference(units, others, metric, seed=result["task"])
    column = _PLAIN.get(result["metric"])
    p = found["p"]
    if column is not None:
        p = mcnemar(units[column].astype(bool), others[column].astype(bool))
    low, high = found["interval_95"] or (np.nan, np.nan)
    return {
        "task": result["task"],
        "metric": result["metric"],
        "first": result["value"],
        "second": other["value"],
        "difference": found["difference"],
        "interval_95": (low, high),
        "p": p,
        "n": result["n"],
    }
