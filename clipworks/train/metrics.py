"""What is told of a run: a step, as a line of `metrics.jsonl`, and where those lines are."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from clipworks.errors import DataError

METRICS = "metrics.jsonl"
EVALUATIONS = "evaluations.jsonl"

OTHER_RUN = "Begin again with {}: in another --out, or here when this folder is deleted."
"""What is left where a run cannot go on as it was begun."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What one optimizer step reports; a line of `metrics.jsonl`."""

    step: int
    """Number of the step, from 0."""
    loss: float
    """Loss of the batch, nats."""
    accuracy: float = 0.0
    """Share of pictures whose best text in the batch is their own."""
    learning_rate: float
    """Rate of AdamW."""
    gradient_norm: float
    """Length of the gradient before clipping."""
    logit_scale: float
    """The factor on the cosines after the step."""
    seconds: float
    """Wall time of the step, waiting for data included, saving not."""
    wait_seconds: float = 0.0
    """Part of it spent on waiting for data."""
    pairs_per_second: float = 0.0
    """Pairs of the whole batch by the wall time."""
    mfu: float | None = None
    """Share of the processor's peak that the model's arithmetic makes up; None where no peak is known."""
    memory_bytes: int = 0
    """Most memory in use so far, on the device that computes."""
    skipped: int = 0
    """Samples that could not be used and gave way to others."""
    spread: float = 1.0
    """1 - |mean feature|^2 of the batch, the less spread of pictures and texts; 0 where all are the same."""

    def to_json(self) -> str:
        """One line of JSON; null for what is not finite, as the gradient of a step that fp16 left out is."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({name: v if v is None or math.isfinite(v) else None for name, v in values.items()})


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; none if it is not there, and a last line that was cut is left out.

    Raises:
        DataError: another line is no JSON object.
    """
    return list(iterate_lines(path))


def iterate_lines(path: Path) -> Iterator[dict[str, Any]]:
    """`read_lines`, one object at a time."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                value = json.loads(line)
            except ValueError as error:
                if not line.endswith("\n"):
                    return
                raise DataError(f"Line {number} of {path} is no JSON.") from error
            if not isinstance(value, dict):
                raise DataError(f"Line {number} of {path} is no JSON object.")
            yield value


def read_means(path: Path, most: int) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` as `most` rows or fewer, in which neighbours stand as their mean.

    `steps` in a row says how many it is of. Memory is that of the rows, however long the run was.

    Raises:
        DataError: as in `read_lines`.
    """
    count = 0
    if path.exists():
        with path.open("rb") as file:
            count = sum(1 for _ in file)
    lines = iterate_lines(path)
    size = max(1, -(-count // most))
    return [_mean_of(group) for group in iter(lambda: list(islice(lines, size)), [])]


def _mean_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    if len(rows) == 1:
        return {**rows[0], "steps": 1}
    means: dict[str, Any] = {"steps": len(rows)}
    for name in rows[0]:
        values = [row[name] for row in rows if isinstance(row.get(name), int | float)]
        means[name] = sum(values) / len(values) if values else None
    return means
