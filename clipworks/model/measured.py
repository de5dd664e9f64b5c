"""Numbers that were measured here: the JSON files of `clipworks evaluate`, as pages show them.

Only the JSON of a task is read, never its outcomes: whoever shows numbers need not hold the pictures' fates.
A file of another form, or a damaged one, is passed over; a page of a model is no place to fail.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipworks.errors import ConfigError

FORMAT = "clipworks result 1"
MAX_BYTES = 4 << 20
MAX_FILES = 5000

METRICS = {
    "acc1": "top-1",
    "mean_per_class_recall": "mean per-class recall",
    "mean_recall@1": "mean R@1",
    "jaccard_score_10-12": "Jaccard 10-12",
    "F1-macro_all": "macro-F1",
    "acc_worst_region": "worst region",
    "acc_top5_wg": "worst group top-5",
    "acc_wg": "worst group",
}
"""Name of a metric in results -> its name in the tables of published scores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupShare:
    """What one group of pictures came to."""

    column: str
    """What makes the groups, such as `region`."""
    group: str
    """Which of them."""
    value: float
    """0..1."""
    interval: tuple[float, float] | None
    """95 %, 0..1."""
    count: int
    """Pictures in the group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredScore:
    """The main number of one task."""

    model: str
    """What the run called the model."""
    fingerprint: str
    """Of the checkpoint that was measured, 64 hex characters."""
    task: str
    """The task's name in the tables of published scores."""
    metric: str
    """What was counted, in the words of these tables."""
    value: float | None
    """0..1; None for a task without a main number."""
    interval: tuple[float, float] | None
    """95 %, 0..1."""
    count: int
    """Units that were measured: pictures, cues or pairs."""
    precision: str
    """Arithmetic of the towers."""
    groups: tuple[GroupShare, ...]
    """What groups of the pictures came to, where the task has groups."""
    file: str
    """Name of the file that it stands in."""


def read_measured(folder: Path) -> tuple[MeasuredScore, ...]:
    """Every number in the results of `clipworks evaluate` below a folder, by path.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"The folder of results {folder} is not there.", "Name one that `clipworks evaluate` wrote."
        )
    paths = sorted(folder.rglob("*.json"))[:MAX_FILES]
    return tuple(score for path in paths if (score := _read(path)) is not None)


def _read(path: Path) -> MeasuredScore | None:
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            return None
        return _score(content, path.name)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _score(content: Mapping[str, Any], file: str) -> MeasuredScore:
    metric = str(content["metric"])
    return MeasuredScore(
        model=str(content["model"]),
        fingerprint=str(content["fingerprint"]),
        task=str(content["name"]),
        metric=METRICS.get(metric, metric),
        value=None if content["value"] is None else float(content["value"]),
        interval=_interval(content.get("interval_95")),
        count=int(content["n"]),
        precision=str(content.get("precision", "")),
        groups=(*_groups(content.get("groups")), *_audit(content)),
        file=file,
    )


def _groups(tables: Any) -> Iterator[GroupShare]:
    """The rows of `groups`: classification with metadata."""
    for column, rows in tables.items() if isinstance(tables, dict) else ():
        for row in rows:
            if row["value"] is not None:
                yield GroupShare(
                    column=str(column),
                    group=str(row["group"]),
                    value=float(row["value"]),
                    interval=_interval(row.get("interval_95")),
                    count=int(row["n"]),
                )


def _audit(content: Mapping[str, Any]) -> Iterator[GroupShare]:
    """The cells of an audit of faces: metrics such as `acc_gender_race:3` and `toxicity_crime_race:0`."""
    if content.get("grouping") != "faces":
        return
    for name, cell in content["metrics"].items():
        column, colon, group = name.rpartition(":")
        if colon and cell.get("value") is not None:
            yield GroupShare(
                column=column,
                group=group,
                value=float(cell["value"]),
                interval=_interval(cell.get("interval_95")),
                count=int(cell["n"]),
            )


def _interval(ends: Any) -> tuple[float, float] | None:
    return (float(ends[0]), float(ends[1])) if isinstance(ends, list) and len(ends) == 2 else None
