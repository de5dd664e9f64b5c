"""What the runs of the ablation found: benchmarks/results/ablation.json, docs/ablation.md's table, its plot.

An interval is of the mean over seeds, by Student's t; the difference to `none` is taken seed by seed, which
see the same weights at the beginning.
"""

import math
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, write_result
from clipworks.files import atomic_write, read_json
from clipworks.plots import Line, draw_lines

MEASURES = {
    "emoji3d_zero_shot": ("top1", "emoji3d, 44 classes"),
    "emoji3d_name": ("recall_at_10", "emoji3d, name R@10 of 822"),
    "openclipart_title": ("recall_at_10", "clip art, title R@10 of 500"),
    "photographs_seen_zero_shot": ("top1", "photographs, 64 classes"),
    "fashion_mnist_zero_shot": ("top1", "Fashion-MNIST, 10 classes"),
}
"""Each suite's number that counts, and its name for people."""

CHANCE = {
    "emoji3d_zero_shot": 100 / 44,
    "emoji3d_name": 1000 / 822,
    "openclipart_title": 1000 / 500,
    "photographs_seen_zero_shot": 100 / 64,
    "fashion_mnist_zero_shot": 10.0,
}

BASELINE = "none"
DOCUMENT = ROOT / "docs" / "ablation.md"
MARKS = ("<!-- table, written by recipes/ablation.py -->", "<!-- / -->")

_T_95 = (math.nan, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t, two sides, 95 %, by degrees of freedom."""

Runs = dict[str, dict[int, dict[str, float]]]
"""Entry -> seed -> suite -> value in per cent, with `mean` of all suites."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean and half of its 95 % interval; the half is NaN of one value."""

    mean: float
    half: float

    def words(self) -> str:
        """For the table."""
        return f"{self.mean:.1f}" if math.isnan(self.half) else f"{self.mean:.1f} ± {self.half:.1f}"

    def to_json(self) -> dict[str, Any]:
        """For the results."""
        ends = (
            None
            if math.isnan(self.half)
            else [round(self.mean - self.half, 2), round(self.mean + self.half, 2)]
        )
        return {"unit": "%", "mean": round(self.mean, 2), "interval_95": ends}


def write_report(work: Path) -> None:
    """Write down what the runs of a work folder have found; table and plot only where the page is."""
    found = [read_json(path) for path in sorted(work.glob("runs/*/scores.json"))]
    if len({one["samples_seen"] for one in found}) != 1:
        sys.exit(f"{work}/runs holds no runs, or runs of different lengths; delete those that do not belong.")
    runs = read_runs(found)
    results = summarise(runs, found)
    write_result("ablation", results)
    if DOCUMENT.exists():
        _replace_table(DOCUMENT, table(runs, found))
        with atomic_write(DOCUMENT.with_suffix(".svg")) as file:
            file.write(plot(runs, found).encode())


def read_runs(found: Sequence[dict[str, Any]]) -> Runs:
    """The numbers that count, and their mean over the suites."""
    runs: Runs = defaultdict(dict)
    for one in found:
        values = {suite: one["scores"][suite][measure]["value"] for suite, (measure, _) in MEASURES.items()}
        runs[one["entry"]][one["seed"]] = values | {"mean": statistics.fmean(values.values())}
    return runs


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and interval of some values."""
    if len(values) < 2:
        return Estimate(mean=statistics.fmean(values), half=math.nan)
    half = _T_95[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    return Estimate(mean=statistics.fmean(values), half=half)


def difference(runs: Runs, entry: str, suite: str) -> Estimate | None:
    """How much more an entry reaches than no curation, over the seeds that both have; None without one."""
    shared = sorted(runs[entry].keys() & runs.get(BASELINE, {}).keys())
    values = [runs[entry][seed][suite] - runs[BASELINE][seed][suite] for seed in shared]
    return estimate(values) if values else None


def summarise(runs: Runs, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Everything as JSON."""
    entries = {}
    for entry in order(runs):
        one = next(row for row in found if row["entry"] == entry)
        gain = difference(runs, entry, "mean")
        entries[entry] = {
            "pictures": one["pictures"],
            "texts": one["texts"],
            "seeds": sorted(runs[entry]),
            **{suite: _of(runs, entry, suite).to_json() for suite in (*MEASURES, "mean")},
            "more_than_none": gain.to_json() if gain is not None and entry != BASELINE else None,
        }
    return {
        "samples_seen": found[0]["samples_seen"],
        "chance": {suite: round(value, 2) for suite, value in CHANCE.items()},
        "entries": entries,
    }


def order(runs: Runs) -> list[str]:
    """Entries, the best mean first."""
    return sorted(runs, key=lambda entry: -_of(runs, entry, "mean").mean)


def table(runs: Runs, found: Sequence[dict[str, Any]]) -> str:
    """A row for each entry."""
    head = [
        "entry",
        "pictures",
        "captions",
        *(words for _, words in MEASURES.values()),
        "mean",
        "more than none",
    ]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for entry in order(runs):
        one = next(row for row in found if row["entry"] == entry)
        gain = difference(runs, entry, "mean")
        cells = [entry, f"{one['pictures']:,}", f"{one['texts']:,}"]
        cells += [_of(runs, entry, suite).words() for suite in (*MEASURES, "mean")]
        cells.append("" if gain is None or entry == BASELINE else gain.words())
        lines.append(f"| {' | '.join(cells)} |")
    chance = [f"{value:.1f}" for value in CHANCE.values()]
    lines.append(f"| chance | | | {' | '.join(chance)} | {statistics.fmean(CHANCE.values()):.1f} | |")
    return "\n".join(lines)


def plot(runs: Runs, found: Sequence[dict[str, Any]]) -> str:
    """The mean of the suites by how many pictures an entry leaves."""
    sizes = {row["entry"]: row["pictures"] for row in found}
    lines = []
    for entry in order(runs):
        one = _of(runs, entry, "mean")
        half = 0.0 if math.isnan(one.half) else one.half
        lines.append(
            Line(
                label=entry, xs=[sizes[entry]], ys=[one.mean], lows=[one.mean - half], highs=[one.mean + half]
            )
        )
    return draw_lines(
        lines,
        title="Mean of five suites, equal compute",
        x_label="pictures that are left",
        y_label="%",
        level=_of(runs, BASELINE, "mean").mean if BASELINE in runs else None,
    )


def _of(runs: Runs, entry: str, suite: str) -> Estimate:
    return estimate([values[suite] for values in runs[entry].values()])


def _replace_table(page: Path, text: str) -> None:
    old = page.read_text(encoding="utf-8")
    new = re.sub(f"{MARKS[0]}.*?{MARKS[1]}", f"{MARKS[0]}\n{text}\n{MARKS[1]}", old, flags=re.DOTALL)
    with atomic_write(page) as file:
        file.write(new.encode())
