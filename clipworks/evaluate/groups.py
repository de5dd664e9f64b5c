"""Groups of pictures: what WILDS and DataComp make of the metadata beside the labels.

Names of metrics are DataComp's. Where its evaluator and WILDS differ there are both: FMoW's worst region with
the four pictures of region "Other", as published numbers have it, and without them, as WILDS defines it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import DataError
from clipworks.evaluate.metrics import (
    Columns,
    Metric,
    accuracy,
    macro_f1,
    mean_recall,
    share_of,
    worst_of,
)
from clipworks.evaluate.tasks import Grouping
from clipworks.model.tallies import wilson

FMOW_OTHER = 5
"""Number of FMoW's region "Other", which has four pictures in the test split."""
FEW = 30
"""Pictures of a group below which its share says little."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """What the columns of a data set mean and which of them make groups."""

    columns: tuple[str, ...]
    """Names of the numbers beside a picture, in their order."""
    groups: tuple[str, ...]
    """Columns by which shares are told."""
    metrics: Mapping[str, Metric]
    """What is added to the metrics of classification."""
    hits: str = "hit"
    """What is counted in groups: `hit` or `in_top5`."""


def protocols() -> dict[str, Protocol]:
    """The literal table."""
    times = ("year", "month", "day", "hour", "minute", "second")
    return {
        "iwildcam": Protocol(
            columns=("location", "sequence", *times, "y"),
            groups=(),
            metrics={"acc_avg": accuracy, "recall-macro_all": mean_recall, "F1-macro_all": macro_f1},
        ),
        "camelyon17": Protocol(
            columns=("hospital", "slide", "y"),
            groups=("slide",),
            metrics={"acc_avg": accuracy, "acc_wg": worst_of("hit", "slide")},
        ),
        "fmow": Protocol(
            columns=("region", "year", "y"),
            groups=("region", "year"),
            metrics={
                "acc_avg": accuracy,
                "acc_worst_year": worst_of("hit", "year"),
                "acc_worst_region": worst_of("hit", "region"),
                "acc_worst_region_excl_other": worst_of("hit", "region", without=(FMOW_OTHER,)),
            },
        ),
        "dollar_street": Protocol(
            columns=("income_ds", "income_meta", "region"),
            groups=("income_ds",),
            hits="in_top5",
            metrics={"acc_top5_avg": share_of("in_top5"), "acc_top5_wg": worst_of("in_top5", "income_ds")},
        ),
        "geode": Protocol(
            columns=("region", "country"),
            groups=("region",),
            metrics={"acc_avg": accuracy, "acc_wg": worst_of("hit", "region")},
        ),
        "faces": Protocol(columns=("age", "gender", "race", "race_binary"), groups=(), metrics={}),
    }


def group_columns(
    grouping: Grouping, columns: NDArray[np.int64], labels: NDArray[np.int64]
) -> dict[str, Any]:
    """The columns that make groups, by name.

    Args:
        grouping: whose they are.
        columns: int64 [N, M].
        labels: int64 [N]; where metadata repeat the label as `y`, both must agree picture by picture.

    Raises:
        DataError: there are no metadata, fewer columns than there must be, or other labels.
    """
    protocol = protocols()[grouping]
    if columns.shape[1] < len(protocol.columns):
        raise DataError(
            f"The metadata (.npy) have {columns.shape[1]} numbers a picture; {grouping} has "
            f"{', '.join(protocol.columns)}.",
            "Copy the data again.",
        )
    found = {name: columns[:, place] for place, name in enumerate(protocol.columns)}
    if "y" in found and not np.array_equal(found["y"], labels):
        row = int(np.flatnonzero(found["y"] != labels)[0])
        raise DataError(
            f"Picture number {row} has the label {labels[row]} and the metadata say {found['y'][row]}.",
            "Copy the data again.",
        )
    bad = next((name for name in protocol.groups if (found[name] < 0).any()), None)
    if bad is not None:
        raise DataError(f"The metadata have a {bad} below 0.", "Copy the data again.")
    return {name: found[name] for name in protocol.groups}


def group_rows(units: Columns, groups: Columns, hits: str) -> dict[str, list[dict[str, Any]]]:
    """Share, interval and n of every group that occurs, by the column that makes it."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, column in groups.items():
        rows[name] = []
        for number in np.unique(column).tolist():
            own = units[hits][column == number]
            row = {"group": number, "n": len(own), "value": float(own.mean())}
            rows[name].append(
                {**row, "interval_95": wilson(int(own.sum()), len(own)), "is_few": len(own) < FEW}
            )
    return rows
