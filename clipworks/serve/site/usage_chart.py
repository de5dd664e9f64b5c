"""Charts as numbers: where the bars of an inline SVG stand. The template draws them; no script is needed.

The drawing is stretched to the width of the page, so nothing in it is text: names and amounts stand beside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from clipworks.serve.usage import UsageRow

WIDTH = 1000.0
HEIGHT = 100.0
MAX_SERIES = 6
OTHERS = "others"
_GAP = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One rectangle; the unit is that of the drawing, `WIDTH` by `HEIGHT`, from the top left."""

    x: float
    y: float
    width: float
    height: float
    series: int
    """Which colour: the place of its series."""
    label: str
    """What it shows, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Amounts by day, the series of a day on top of each other."""

    bars: tuple[Bar, ...]
    series: tuple[str, ...]
    """Their names, the largest first."""
    highest: int
    """What the top of the drawing stands for; 0 where there is nothing."""
    days: tuple[str, ...]
    """All days, also those without a bar."""


def daily_chart(days: Sequence[str], amounts: Mapping[tuple[str, str], int]) -> Chart:
    """Amounts by day and series as bars.

    Args:
        days: every day that is shown, in order.
        amounts: (day, series) -> amount, 0 and up.
    """
    totals: dict[str, int] = {}
    for (_, name), amount in amounts.items():
        totals[name] = totals.get(name, 0) + amount
    ranked = sorted(totals, key=lambda name: (-totals[name], name))
    named = tuple(ranked) if len(ranked) <= MAX_SERIES else (*ranked[: MAX_SERIES - 1], OTHERS)
    by_day: dict[str, list[int]] = {day: [0] * len(named) for day in days}
    for (day, name), amount in amounts.items():
        if day in by_day:
            by_day[day][named.index(name) if name in named else len(named) - 1] += amount
    highest = max((sum(column) for column in by_day.values()), default=0)
    bars = []
    step = WIDTH / max(len(days), 1)
    for place, day in enumerate(days):
        top = HEIGHT
        for series, amount in enumerate(by_day[day]):
            if not amount:
                continue
            height = HEIGHT * amount / highest
            top -= height
            bars.append(
                Bar(
                    x=round(step * (place + _GAP / 2), 2),
                    y=round(top, 2),
                    width=round(step * (1 - _GAP), 2),
                    height=round(height, 2),
                    series=series,
                    label=f"{day} {named[series]}",
                )
            )
    return Chart(bars=tuple(bars), series=named, highest=highest, days=tuple(days))


def chart_of(rows: list[UsageRow], first: str, last: str, *, by: str) -> Chart:
    """The cost of each day, millionths of a US dollar, by model or by key."""
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    days = [(start + timedelta(days=n)).isoformat() for n in range((end - start).days + 1)]
    amounts: dict[tuple[str, str], int] = {}
    for row in rows:
        place = (row.day, row.model if by == "model" else row.key_name)
        amounts[place] = amounts.get(place, 0) + max(row.cost_micro_usd, 0)
    return daily_chart(days, amounts)
