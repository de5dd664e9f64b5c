"""What a plan will cost: core-seconds and bytes written, from rates that were measured.

Every step is taken to see all rows, so that a plan costs at most this much. The rates are of one core of
the machine in benchmarks/results/curation.json; scores cost what the built-in model's do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from clipworks.curate.plan import Input, Step
from clipworks.curate.recipes import CurateConfig


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


_HERE = "docs/curate.md, Limits"
_MATCH = "benchmarks/results/curation.json, match"

RATES: dict[str, Rate] = {}


def cost_of(place: Input, plan: Sequence[Step], config: CurateConfig) -> list[Cost]:
    """The cost of each step of a plan."""
    size = sum(path.stat().st_size for path in place.tars.glob("*.tar")) if place.tars else 0
    tables = sum(table.stat().st_size for table in place.pool.tables)
    costs = []
    for step in plan:
        rate = RATES[_kind_of(step, config)]
        num_bytes = int(rate.bytes_per_row * place.rows)
        num_bytes += {"rows": tables, "pack": size + tables}.get(step.kind, 0)
        seconds = place.rows / rate.rows_per_second
        costs.append(Cost(core_seconds=round(seconds, 1), num_bytes=num_bytes, source=rate.source))
    return costs
