"""What models score: the published numbers of the catalogue's models, and those of the built-in one.

Published numbers lie in `published_scores.csv`, copied by `scripts/published_scores.py` with the table
that each comes from; they were not measured again here. Those of a built-in model lie in its `scores.json`,
written by `benchmarks/pictogram.py`.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from clipworks.files import read_json

COLUMNS = ("model", "suite", "task", "metric", "value", "source")
PUBLISHED = Path(__file__).with_name("published_scores.csv")
MAIN_SUITE = "38 tasks"
"""The suite whose plain mean is the usual single number: DataComp's 38 tasks."""

_BUILTIN = Path(__file__).parent / "builtin"


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One number of one model."""

    suite: str
    """The set of tasks it belongs to: `38 tasks`, `retrieval`, `languages` or the model's own."""
    task: str
    """The data set, or `average of ...`."""
    metric: str
    """What was counted; the same task may be scored in several ways."""
    value: float
    """0..1."""
    source: str
    """The table and commit, or the benchmark and commit, that the number comes from."""
    interval: tuple[float, float] | None = None
    """95 % interval, 0..1, where it is known."""
    count: int | None = None
    """Test items, where it is known."""

    @property
    def is_of_38(self) -> bool:
        """Whether it is of the published 38 tasks."""
        return self.suite == MAIN_SUITE

    @property
    def is_average(self) -> bool:
        """Whether this is a mean over other tasks, not a task."""
        return self.task.startswith("average of ")


def scores_of(model_id: str) -> tuple[Score, ...]:
    """Every known score of a model of the catalogue, in the order of the tables; empty if none is known."""
    measured = _BUILTIN / model_id / "scores.json"
    if measured.is_file():
        return tuple(_measured(read_json(measured)))
    return _published().get(model_id, ())


def headline(model_id: str) -> tuple[float | None, float | None]:
    """Zero-shot top-1 on ImageNet-1k and the average of 38 tasks, 0..1, or None where not known."""
    main = {score.task: score.value for score in scores_of(model_id) if score.suite == MAIN_SUITE}
    return main.get("ImageNet 1k"), main.get("average of 38")


@cache
def _published() -> Mapping[str, tuple[Score, ...]]:
    scores: dict[str, list[Score]] = {}
    with PUBLISHED.open(encoding="ascii", newline="") as file:
        for row in csv.DictReader(file):
            score = Score(
                suite=row["suite"],
                task=row["task"],
                metric=row["metric"],
                value=float(row["value"]),
                source=row["source"],
            )
            scores.setdefault(row["model"], []).append(score)
    return {model: tuple(found) for model, found in scores.items()}


def _measured(content: Mapping[str, Any]) -> Iterator[Score]:
    """The shares in a result of a benchmark: every `{"unit": "%", "value": ...}` below a task's name."""
    source = f"benchmarks/{content['benchmark']}.py@{content['commit']}"
    for task, result in content["results"].items():
        for metric, share in result.items() if isinstance(result, dict) else ():
            if isinstance(share, dict) and share.get("unit") == "%":
                low, high = (round(end / 100, 6) for end in share["interval_95"])
                yield Score(
                    suite=content["benchmark"],
                    task=task.replace("_", " "),
                    metric=metric.replace("_", " "),
                    value=round(share["value"] / 100, 6),
                    source=source,
                    interval=(low, high),
                    count=result["n"],
                )
