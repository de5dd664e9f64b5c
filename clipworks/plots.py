"""Line plots as SVG drawings: what runs and probes leave beside their numbers. Plain standard library."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, isfinite, log2, log10

WIDTH, HEIGHT = 800, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 40, 55
COLOURS = ("#1f6fb4", "#c8501e", "#2e8b57", "#8a4fb0", "#a0741c", "#4a4a4a")


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
    lines: Sequence[Line], *, title: str, x_label: str, y_label: str, is_log_x: bool = False
) -> str:
    """An <svg> element with the curves, their intervals and a legend.

    Args:
        lines: at least one with at least one finite point.
        title: above the drawing.
        x_label: below it.
        y_label: beside it.
        is_log_x: whether the horizontal axis is in powers of two; all xs are then above 0.
    """
    finite = [[*zip(line.xs, line.ys, strict=True)] for line in lines]
    points = [(x, y) for pairs in finite for x, y in pairs if isfinite(x) and isfinite(y)]
    ends = [value for line in lines for value in (*line.lows, *line.highs) if isfinite(value)]
    low_y, high_y, step_y = _bounds([*(y for _, y in points), *ends])
    all_xs = sorted({x for x, _ in points})
    first, last = (_across(x, is_log_x) for x in (all_xs[0], all_xs[-1]))

    def place(x: float, y: float) -> tuple[float, float]:
        share = (_across(x, is_log_x) - first) / (last - first) if last > first else 0.5
        up = (min(max(y, low_y), high_y) - low_y) / (high_y - low_y)
        return LEFT + (WIDTH - LEFT - RIGHT) * share, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * up

    parts = [_level(place(all_xs[0], y)[1], y, step_y) for y in _steps(low_y, high_y, step_y)]
    parts += [_column(place(x, low_y)[0], x) for x in _thinned(all_xs)]
    for number, line in enumerate(lines):
        parts.append(_curve(line, [place(x, y) for x, y in finite[number] if isfinite(y)], number))
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


def _across(x: float, is_log_x: bool) -> float:
    return log2(x) if is_log_x else x


def _bounds(ys: Sequence[float]) -> tuple[float, float, float]:
    """A range of round numbers around the values, and the distance of its lines."""
    low, high = min(ys), max(ys)
    wide = (high - low) or abs(high) or 1.0
    power = 10.0 ** floor(log10(wide / 4))
    step = next(power * factor for factor in (1, 2, 5, 10) if wide / (power * factor) <= 6)
    bottom, top = step * floor(low / step + 1e-9), step * ceil(high / step - 1e-9)
    return bottom, top if top > bottom else bottom + step, step


def _steps(low: float, high: float, step: float) -> list[float]:
    return [low + number * step for number in range(round((high - low) / step) + 1)]


def _thinned(xs: Sequence[float], most: int = 12) -> Sequence[float]:
    return xs[:: ceil(len(xs) / most)]


def _level(at: float, value: float, step: float) -> str:
    digits = max(0, ceil(-log10(step) - 1e-9))
    line = f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#000" stroke-opacity=".12"/>'
    return f'{line}<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{value:.{digits}f}</text>'


def _column(at: float, value: float) -> str:
    line = f'<path d="M{at:.1f} {HEIGHT - BOTTOM}V{TOP}" stroke="#000" stroke-opacity=".06"/>'
    return f'{line}<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:g}</text>'


def _curve(line: Line, places: Sequence[tuple[float, float]], number: int) -> str:
    colour = COLOURS[number % len(COLOURS)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dashes = ' stroke-dasharray="6 4"' if line.is_dashed else ""
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places)
    height = TOP + 14 + 20 * number
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
        f"{'' if line.is_dashed else dots}"
        f'<path d="M{WIDTH - RIGHT + 12} {height - 4}h20" stroke="{colour}" stroke-width="2"{dashes}/>'
        f'<text x="{WIDTH - RIGHT + 38}" y="{height}">{escape(line.label)}</text>'
    )
