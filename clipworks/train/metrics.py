"""What is told of a run: a step, as a line of `metrics.jsonl`, and where those lines are."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipworks.errors import DataError

METRICS = "metrics.jsonl"
EVALUATIONS = "evaluations.jsonl"


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
        """One line of JSON."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; none if it is not there, and a last line that was cut is left out.

    Raises:
        DataError: another line is no JSON object.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)
        except ValueError as error:
            if not line.endswith("\n"):
                break
            raise DataError(f"Line {number} of {path} is no JSON.") from error
        if not isinstance(value, dict):
            raise DataError(f"Line {number} of {path} is no JSON object.")
        found.append(value)
    return found
