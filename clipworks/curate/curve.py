"""Curves on two logarithmic axes, as an SVG drawing."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, log10

WIDTH, HEIGHT = 800, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 20, 45


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One curve."""

    label: str
    """What it is, for the legend."""
    xs: Sequence[float]
    """Ascending, 1 or more."""
    ys: Sequence[float]
    """As many; what is below 1 is drawn at the lower edge."""
    colour: str
    """As CSS writes it."""


def draw_curves(lines: Sequence[Line], *, title: str, level: float) -> str:
    """An <svg> element with the curves, and a dashed line across at `level`."""
    decades_x = _decades([x for line in lines for x in line.xs])
    decades_y = _decades([*(y for line in lines for y in line.ys), level])

    def place(x: float, y: float) -> str:
        across = LEFT + (WIDTH - LEFT - RIGHT) * log10(max(x, 1)) / decades_x
        up = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * log10(max(y, 1)) / decades_y
        return f"{across:.1f},{up:.1f}"

    parts = [_tick(place(10**n, 1), f"1e{n}", is_across=True) for n in range(decades_x + 1)]
    parts += [_tick(place(1, 10**n), f"1e{n}", is_across=False) for n in range(decades_y + 1)]
    ends = f"{place(1, level)} {place(10**decades_x, level)}"
    parts.append(f'<polyline points="{ends}" fill="none" stroke="#c40" stroke-dasharray="6 4"/>')
    for number, line in enumerate(lines):
        points = " ".join(place(x, y) for x, y in zip(line.xs, line.ys, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{line.colour}" stroke-width="2"/>')
        at = f'x="{WIDTH - RIGHT - 90}" y="{TOP + 20 + 20 * number}"'
        parts.append(f'<text {at} fill="{line.colour}">{escape(line.label)}</text>')
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="sans-serif" font-size="14"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {box}><title>{escape(title)}</title>{"".join(parts)}'
        f'<text x="{LEFT}" y="{HEIGHT - 6}" fill="currentColor">{escape(title)}</text></svg>'
    )


def _decades(values: Sequence[float]) -> int:
    return max(1, ceil(log10(max([10, *values]))))


def _tick(place: str, label: str, *, is_across: bool) -> str:
    x, y = place.split(",")
    if is_across:
        line, at = f"M{x} {y}V{TOP}", f'x="{x}" y="{float(y) + 18:.1f}" text-anchor="middle"'
    else:
        line, at = (
            f"M{x} {y}H{WIDTH - RIGHT}",
            f'x="{float(x) - 8:.1f}" y="{float(y) + 5:.1f}" text-anchor="end"',
        )
    grid = f'<path d="{line}" stroke="currentColor" stroke-opacity=".15"/>'
    return f'{grid}<text {at} fill="currentColor">{label}</text>'
