"""Line plots as SVG drawings: what runs and probes leave beside their numbers. Plain standard library."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log2, log10
from typing import Literal

WIDTH, HEIGHT = 800, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 40, 55
COLOURS = (
    *("#1f6fb4", "#c8501e", "#2e8b57", "#8a4fb0", "#a0741c"),
    *("#4a4a4a", "#d6428f", "#1aa3a3", "#7d9a1a", "#101010"),
)
MOST_MARKED = 60
"""Points of a line up to which each has a dot."""

Scale = Literal["even", "points", "doublings", "decades"]
"""Of an axis: even, with round numbers; even, with the points themselves as labels; powers of two of values
above 0, likewise; powers of ten, where what is below 1 lies at the edge."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One curve; values that are not finite are left out."""

    label: str
    """What it is, for the legend."""
    xs: Sequence[float]
    """Where its points are, rising."""
    ys: Sequence[float]
    """As many values."""
    lows: Sequence[float] = ()
    """Lower ends of intervals, as many, or none."""
    highs: Sequence[float] = ()
    """Upper ends of intervals, as many, or none."""
    is_dashed: bool = False
    """Drawn as dashes: a value to compare with."""


def draw_lines(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str = "",
    x_scale: Scale = "even",
    y_scale: Scale = "even",
    level: float | None = None,
) -> str:
    """An <svg> element with the curves, their intervals and a legend.

    Args:
        lines: what is drawn.
        title: above the drawing.
        x_label: below it.
        y_label: beside it.
        x_scale: of the horizontal axis.
        y_scale: of the vertical axis.
        level: where a dashed line goes across.
    """
    points = [[p for p in zip(line.xs, line.ys, strict=True) if all(map(isfinite, p))] for line in lines]
    ends = [value for line in lines for value in (*line.lows, *line.highs) if isfinite(value)]
    across = _axis([x for one in points for x, _ in one], x_scale)
    up = _axis([*(y for one in points for _, y in one), *ends, *([] if level is None else [level])], y_scale)

    def place(x: float, y: float) -> tuple[float, float]:
        width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return LEFT + width * across.share(x), HEIGHT - BOTTOM - height * up.share(y)

    parts = [_level(place(0, y)[1], words) for y, words in up.ticks]
    parts += [_column(place(x, 0)[0], words) for x, words in across.ticks]
    if level is not None:
        at = place(0, level)[1]
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#c40" stroke-dasharray="6 4"/>')
    for number, line in enumerate(lines):
        parts.append(_curve(line, [place(x, y) for x, y in points[number]], number))
        for x, low, high in zip(line.xs, line.lows, line.highs, strict=False):
            (at, bottom), (_, top) = place(x, low), place(x, high)
            colour = COLOURS[number % len(COLOURS)]
            parts.append(f'<path d="M{at:.1f} {bottom:.1f}V{top:.1f}" stroke="{colour}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="sans-serif" font-size="13"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {box}><title>{escape(title)}</title>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>{"".join(parts)}'
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>'
        f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text x="16" y="{(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" '
        f'transform="rotate(-90 16 {(TOP + HEIGHT - BOTTOM) / 2})">{escape(y_label)}</text></svg>\n'
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Axis:
    """From values to shares of a side."""

    scale: Scale
    low: float
    """The value, or its logarithm, at the beginning."""
    high: float
    """At the end."""
    ticks: tuple[tuple[float, str], ...]
    """Values that are marked, and their words."""

    def share(self, value: float) -> float:
        """Where a value lies, 0..1."""
        if self.high == self.low:
            return 0.5
        return min(max((_scaled(value, self.scale) - self.low) / (self.high - self.low), 0.0), 1.0)


def _scaled(value: float, scale: Scale) -> float:
    if scale == "doublings":
        return log2(value) if value > 0 else 0.0
    return log10(max(value, 1)) if scale == "decades" else value


def _axis(values: Sequence[float], scale: Scale) -> _Axis:
    if scale == "decades":
        high = max(1, ceil(log10(max([10, *values]))))
        return _Axis(scale=scale, low=0, high=high, ticks=tuple((10.0**n, f"1e{n}") for n in range(high + 1)))
    if scale == "even":
        low, top, step = _bounds(values or [0.0, 1.0])
        digits = max(0, ceil(-log10(step) - 1e-9))
        marks = [low + number * step for number in range(round((top - low) / step) + 1)]
        return _Axis(
            scale=scale, low=low, high=top, ticks=tuple((mark, f"{mark:.{digits}f}") for mark in marks)
        )
    marks = sorted(set(values)) or [1.0]
    ticks = tuple((mark, f"{mark:g}") for mark in _thinned(marks))
    return _Axis(scale=scale, low=_scaled(marks[0], scale), high=_scaled(marks[-1], scale), ticks=ticks)


def _bounds(values: Sequence[float]) -> tuple[float, float, float]:
    """A range of round numbers around the values, and the distance of its lines."""
    low, high = min(values), max(values)
    wide = (high - low) or abs(high) or 1.0
    power = 10.0 ** floor(log10(wide / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if wide / (power * factor) <= 6)
    bottom, top = step * floor(low / step + 1e-9), step * ceil(high / step - 1e-9)
    return bottom, top if top > bottom else bottom + step, step


def _thinned(xs: Sequence[float], most: int = 12) -> Sequence[float]:
    return xs[:: ceil(len(xs) / most)]


def _level(at: float, words: str) -> str:
    line = f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#000" stroke-opacity=".12"/>'
    return f'{line}<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{words}</text>'


def _column(at: float, words: str) -> str:
    line = f'<path d="M{at:.1f} {HEIGHT - BOTTOM}V{TOP}" stroke="#000" stroke-opacity=".06"/>'
    return f'{line}<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{words}</text>'


def _curve(line: Line, places: Sequence[tuple[float, float]], number: int) -> str:
    colour = COLOURS[number % len(COLOURS)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dashes = ' stroke-dasharray="6 4"' if line.is_dashed else ""
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places)
    height = TOP + 14 + 20 * number
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
        f"{'' if line.is_dashed or len(places) > MOST_MARKED else dots}"
        f'<path d="M{WIDTH - RIGHT + 12} {height - 4}h20" stroke="{colour}" stroke-width="2"{dashes}/>'
        f'<text x="{WIDTH - RIGHT + 38}" y="{height}">{escape(line.label)}</text>'
    )
