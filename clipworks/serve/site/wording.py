"""Numbers and names as pages show them: the filters of the templates."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def filters() -> Mapping[str, Callable[..., Any]]:
    """Name in templates -> what it does."""
    return {"fact": fact, "plain": plain, "seconds": show_seconds, "share": share, "shares": shares}


def show_seconds(seconds: float | None) -> str:
    """A time as people read it."""
    if seconds is None:
        return "no requests yet"
    if seconds == 0:
        return "0"
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def share(value: float | None) -> str:
    """A share of 0..1 in per cent; nothing where there is none."""
    return "" if value is None else f"{100 * value:.1f} %"


def shares(interval: Sequence[float] | None) -> str:
    """An interval in per cent; nothing where there is none."""
    return "" if interval is None else f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def fact(value: Any) -> str:
    """A value of a model's specs: a text, a number, several of them, or several with names."""
    if isinstance(value, Mapping):
        return " · ".join(f"{name.replace('_', ' ')} {fact(one)}" for name, one in value.items())
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:,.5g}"


def plain(text: str) -> str:
    """A text in which Markdown finds no marks of its own, in one line."""
    line = re.sub(r"\s+", " ", text)
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", line)
