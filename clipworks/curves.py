"""Curves as SVG drawings: on two logarithmic axes, or on even ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log10

WIDTH, HEIGHT = 800, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 20, 45


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One curve."""

    label: str
    """What it is, for the legend."""
    xs: Sequence[float]
    """Ascending; on logarithmic axes 1 or more."""
    ys: Sequence[float]
    """As many; on logarithmic axes, what is below 1 is drawn at the lower edge."""
    colour: str
    """As CSS writes it."""
    width: float = 2.0
    """Of the stroke, pixels."""


def draw_curves(lines: Sequence[Line], *, title: str, level: float) -> str:
    """An <svg> element with curves on logarithmic axes, and a dashed line across at `level`."""
    decades_x = _decades([x for line in lines for x in line.xs])
    decades_y = _decades([*(y for line in lines for y in line.ys), level])

    def place(x: float, y: float) -> tuple[float, float]:
        return _spot(log10(max(x, 1)) / decades_x, log10(max(y, 1)) / decades_y)

    parts = [_tick(place(10**n, 1), f"1e{n}", is_across=True) for n in range(decades_x + 1)]
    parts += [_tick(place(1, 10**n), f"1e{n}", is_across=False) for n in range(decades_y + 1)]
    parts.append(_dashed(place(1, level), place(10**decades_x, level)))
    return _svg([*parts, *_polylines(lines, place)], title)


def draw_lines(lines: Sequence[Line], *, title: str, level: float | None = None) -> str:
    """An <svg> element with curves on even axes, and a dashed line across at `level`.

    Values that are not finite are left out.
    """
    kept = [_finite(line) for line in lines]
    ticks_x = _ticks([x for line in kept for x in line.xs])
    ticks_y = _ticks([y for line in kept for y in line.ys] + ([] if level is None else [level]))

    def place(x: float, y: float) -> tuple[float, float]:
        return _spot(_share(x, ticks_x), _share(y, ticks_y))

    parts = [_tick(place(x, ticks_y[0]), f"{x:.6g}", is_across=True) for x in ticks_x]
    parts += [_tick(place(ticks_x[0], y), f"{y:.6g}", is_across=False) for y in ticks_y]
    if level is not None:
        parts.append(_dashed(place(ticks_x[0], level), place(ticks_x[-1], level)))
    return _svg([*parts, *_polylines(kept, place)], title)


def _polylines(lines: Sequence[Line], place: Callable[[float, float], tuple[float, float]]) -> list[str]:
    parts = []
    for number, line in enumerate(lines):
        points = " ".join(_words(place(x, y)) for x, y in zip(line.xs, line.ys, strict=True))
        stroke = f'stroke="{line.colour}" stroke-width="{line.width:g}"'
        parts.append(f'<polyline points="{points}" fill="none" {stroke}/>')
        at = f'x="{WIDTH - RIGHT - 90}" y="{TOP + 20 + 20 * number}"'
        parts.append(f'<text {at} fill="{line.colour}">{escape(line.label)}</text>')
    return parts


def _svg(parts: Sequence[str], title: str) -> str:
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="sans-serif" font-size="14"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {box}><title>{escape(title)}</title>{"".join(parts)}'
        f'<text x="{LEFT}" y="{HEIGHT - 6}" fill="currentColor">{escape(title)}</text></svg>'
    )


def _spot(across: float, up: float) -> tuple[float, float]:
    """Shares of the axes -> pixels."""
    return (
        LEFT + (WIDTH - LEFT - RIGHT) * across,
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * up,
    )


def _words(place: tuple[float, float]) -> str:
    return f"{place[0]:.1f},{place[1]:.1f}"


def _dashed(begin: tuple[float, float], end: tuple[float, float]) -> str:
    points = f"{_words(begin)} {_words(end)}"
    return f'<polyline points="{points}" fill="none" stroke="#c40" stroke-dasharray="6 4"/>'


def _decades(values: Sequence[float]) -> int:
    return max(1, ceil(log10(max([10, *values]))))


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers, 3 to 7 of them, from below the least value to above the greatest."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    span = high - low or abs(high) or 1.0
    step = 10.0 ** floor(log10(span))
    step = next(s for s in (step / 5, step / 2, step, step * 2) if span / s <= 5)
    return [step * n for n in range(floor(low / step), ceil(high / step + 1e-9) + 1)]


def _share(value: float, ticks: Sequence[float]) -> float:
    return (value - ticks[0]) / (ticks[-1] - ticks[0])


def _finite(line: Line) -> Line:
    points = [(x, y) for x, y in zip(line.xs, line.ys, strict=True) if isfinite(x) and isfinite(y)]
    return Line(
        label=line.label,
        xs=[x for x, _ in points],
        ys=[y for _, y in points],
        colour=line.colour,
        width=line.width,
    )


def _tick(place: tuple[float, float], label: str, *, is_across: bool) -> str:
    x, y = f"{place[0]:.1f}", f"{place[1]:.1f}"
    if is_across:
        line, at = f"M{x} {y}V{TOP}", f'x="{x}" y="{place[1] + 18:.1f}" text-anchor="middle"'
    else:
        line, at = (
            f"M{x} {y}H{WIDTH - RIGHT}",
            f'x="{place[0] - 8:.1f}" y="{place[1] + 5:.1f}" text-anchor="end"',
        )
    grid = f'<path d="{line}" stroke="currentColor" stroke-opacity=".15"/>'
    return f'{grid}<text {at} fill="currentColor">{label}</text>'
