"""Where things stand in a drawing: worked out here, drawn by `model_parts.html` as SVG without scripts."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Literal

from clipworks.serve.minutes import Stretch
from clipworks.serve.site.wording import show_seconds

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 24, 16, 44

Tone = Literal["good", "poor", "bad", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A mark on an axis."""

    at: float
    """Where, in units of the drawing."""
    words: str
    """What it says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """One point of a scatter."""

    id: str
    """Whose it is."""
    label: str
    """What stands beside it."""
    x: float
    """Units of the drawing."""
    y: float
    """Likewise."""
    top: float
    """Upper end of its interval; `y` where there is none."""
    bottom: float
    """Lower end of it."""
    label_y: float
    """Where its label stands, away from others."""
    is_left: bool
    """Whether the label stands on its left."""
    is_usable: bool
    """Whether the model can be used now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dot:
    """One model before it is placed."""

    id: str
    """Whose it is."""
    label: str
    """What stands beside it."""
    x: float
    """What it costs."""
    y: float
    """How good it is, 0..1."""
    interval: tuple[float, float] | None
    """95 %, 0..1."""
    is_usable: bool
    """Whether the model can be used now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scatter:
    """Quality against cost."""

    marks: Sequence[Mark]
    """The points."""
    across: Sequence[Tick]
    """Of the horizontal axis."""
    up: Sequence[Tick]
    """Of the vertical axis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeChart:
    """How long requests took."""

    median: str
    """Path of the line: the `d` of SVG."""
    p95: str
    """Likewise."""
    dots: Sequence[tuple[float, float]]
    """Points of the median that have no neighbour, so that a line would not show them."""
    up: Sequence[Tick]
    """Of the vertical axis."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A part of the time in the strip of uptime."""

    x: float
    """Where it begins."""
    width: float
    """How wide it is."""
    tone: Tone
    """How it went."""
    words: str
    """The same in words."""


def scatter(dots: Sequence[Dot], x_unit: str) -> Scatter:
    """Place models; both axes span what there is, and a little more.

    Args:
        x_unit: what is put before the numbers of the horizontal axis, such as `$`.
    """
    ends = [end for dot in dots for end in (dot.interval or (dot.y,))]
    xs, ys = _axis([dot.x for dot in dots]), _axis(ends)

    def across(value: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (value - xs[0]) / (xs[1] - xs[0]), 1)

    def up(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - ys[0]) / (ys[1] - ys[0]), 1)

    marks, taken = [], list[tuple[float, float]]()
    for dot in sorted(dots, key=lambda one: -one.y):
        x, y = across(dot.x), up(dot.y)
        label_y = y
        while any(abs(label_y - other) < 15 and abs(x - beside) < 220 for beside, other in taken):
            label_y += 5
        taken.append((x, label_y))
        low, high = dot.interval or (dot.y, dot.y)
        marks.append(
            Mark(
                id=dot.id,
                label=dot.label,
                x=x,
                y=y,
                top=up(high),
                bottom=up(low),
                label_y=round(label_y, 1),
                is_left=x > (LEFT + WIDTH - RIGHT) / 2,
                is_usable=dot.is_usable,
            )
        )
    return Scatter(
        marks=marks,
        across=[Tick(at=across(value), words=x_unit + words) for value, words in _with_words(_ticks(xs))],
        up=[Tick(at=up(value), words=f"{100 * value:g} %") for value in _ticks(ys)],
    )


def times(stretches: Sequence[Stretch]) -> TimeChart | None:
    """The lines of median and 95th percentile; None where no request was answered."""
    known = [one.p95_seconds for one in stretches if one.p95_seconds is not None]
    if not known:
        return None
    most = _round_up(1.1 * max(known))
    step = (WIDTH - LEFT - RIGHT) / max(1, len(stretches))

    def place(number: int, seconds: float) -> tuple[float, float]:
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * seconds / most
        return round(LEFT + (number + 0.5) * step, 1), round(y, 1)

    medians = [
        None if one.median_seconds is None else place(i, one.median_seconds)
        for i, one in enumerate(stretches)
    ]
    slowest = [
        None if one.p95_seconds is None else place(i, one.p95_seconds) for i, one in enumerate(stretches)
    ]
    shares = (0.0, 0.5, 1.0)
    return TimeChart(
        median=_path(medians),
        p95=_path(slowest),
        dots=[point for point in medians if point is not None],
        up=[Tick(at=place(0, share * most)[1], words=show_seconds(share * most)) for share in shares],
    )


def uptime(stretches: Sequence[Stretch], width: float = WIDTH) -> list[Bar]:
    """One bar per stretch."""
    step = width / max(1, len(stretches))
    return [
        Bar(x=round(i * step, 2), width=round(max(step - 2, step / 2), 2), tone=_tone(one), words=_said(one))
        for i, one in enumerate(stretches)
    ]


def _tone(one: Stretch) -> Tone:
    if one.share_up is None:
        return "unknown"
    answered = 1 - one.num_failures / one.num_requests if one.num_requests else 1.0
    share = min(one.share_up, answered)
    return "good" if share >= 0.999 else "poor" if share >= 0.9 else "bad"


def _said(one: Stretch) -> str:
    if one.share_up is None:
        return "nobody looked"
    words = f"up {100 * one.share_up:.3g} % of the time, {one.num_requests:,} requests"
    return f"{words}, {one.num_failures:,} failed" if one.num_failures else words


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    parts, is_broken = [], True
    for point in points:
        if point is not None:
            parts.append(f"{'M' if is_broken else 'L'}{point[0]:g} {point[1]:g}")
        is_broken = point is None
    return "".join(parts)


def _axis(values: Sequence[float]) -> tuple[float, float, float]:
    """A round span around values, and the distance of its ticks."""
    low, high = min(values), max(values)
    step = _step(max(high - low, 0.1 * abs(high), 1e-9))
    return max(0.0, floor(low / step - 0.25) * step), ceil(high / step + 0.25) * step, step


def _ticks(axis: tuple[float, float, float]) -> list[float]:
    low, high, step = axis
    return [round(low + i * step, 10) for i in range(round((high - low) / step) + 1)]


def _step(width: float) -> float:
    """A round distance of which about five fit into a width."""
    rough = width / 5
    power = 10 ** floor(log10(rough))
    return float(next(m for m in (1, 2, 5, 10) if m * power >= rough * 0.999) * power)


def _round_up(value: float) -> float:
    power = 10 ** floor(log10(value))
    return float(next(m for m in (1, 2, 5, 10) if m * power >= value) * power)


def _with_words(values: Sequence[float]) -> list[tuple[float, str]]:
    """Numbers of one axis, all with as many decimals as the one that needs most."""
    decimals = max(len(f"{value:.10f}".rstrip("0").partition(".")[2]) for value in values)
    return [(value, f"{value:.{decimals}f}") for value in values]
