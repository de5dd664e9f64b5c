"""What a plan will cost: core-seconds and bytes written, from rates that were measured.

Every step is taken to see all rows, so that a plan costs at most this much. The rates are of one core of
the machine in benchmarks/results/curation.json; scores cost what the built-in model's do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from clipworks.curate.plan import Input, Step


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Of one step."""

    core_seconds: float
    num_bytes: int
    """Written."""
    source: str
    """Where the rate was measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """Of one kind of step."""

    rows_per_second: float
    """Of one core; 0: next to no time."""
    bytes_per_row: float
    """Written for each row that comes in."""
    source: str
    """Where it was measured."""


_HERE = "200,000 to 2 million rows of metadata, docs/curate.md"
_CRAWL = "the mini-crawl's pictures, docs/curate.md"
_MATCHED = "benchmarks/curation_match.py"

RATES: dict[str, Rate] = {
    "uid": Rate(rows_per_second=140_000, bytes_per_row=24, source=_HERE),
    "columns": Rate(rows_per_second=240_000, bytes_per_row=2, source=_HERE),
    "filter": Rate(rows_per_second=500_000, bytes_per_row=24, source=_HERE),
    "english": Rate(rows_per_second=55_000, bytes_per_row=24, source=_CRAWL),
    "scores": Rate(rows_per_second=350, bytes_per_row=9, source=_CRAWL),
    "model": Rate(rows_per_second=70, bytes_per_row=1100, source=_CRAWL),
    "contamination": Rate(rows_per_second=29_000, bytes_per_row=1, source=_CRAWL),
    "same": Rate(rows_per_second=130_000, bytes_per_row=64, source=_HERE),
    "near": Rate(rows_per_second=15_000, bytes_per_row=64, source=_CRAWL),
    "cosine": Rate(rows_per_second=15_000, bytes_per_row=1000, source=_CRAWL),
    "captions": Rate(rows_per_second=130_000, bytes_per_row=45, source=_HERE),
    "match": Rate(rows_per_second=430_000, bytes_per_row=5, source=_MATCHED),
    "balance": Rate(rows_per_second=300_000, bytes_per_row=2, source=_HERE),
    "rows": Rate(rows_per_second=800_000, bytes_per_row=16, source=_HERE),
    "list": Rate(rows_per_second=4_500, bytes_per_row=40, source=_CRAWL),
    "pack": Rate(rows_per_second=1_300, bytes_per_row=0, source=_CRAWL),
}
"""Kind of step -> its rate; `english` and `model` are those of filters that ask for the language, and of
scores of a model."""


def cost_of(place: Input, plan: Sequence[Step]) -> list[Cost]:
    """The cost of each step of a plan."""
    size = sum(path.stat().st_size for path in place.tars.glob("*.tar")) if place.tars else 0
    tables = sum(table.stat().st_size for table in place.pool.tables)
    costs = []
    for step in plan:
        rate = RATES[_kind_of(step)]
        num_bytes = int(rate.bytes_per_row * place.rows)
        num_bytes += {"rows": tables, "pack": size + tables}.get(step.kind, 0)
        seconds = place.rows / rate.rows_per_second
        costs.append(Cost(core_seconds=round(seconds, 1), num_bytes=num_bytes, source=rate.source))
    return costs


def _kind_of(step: Step) -> str:
    if step.kind in ("filter", "captions") and "english" in step.what:
        return "english"
    return "model" if step.kind == "scores" and step.what else step.kind
