"""Numbers and names as pages show them: the filters of the templates."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def filters() -> Mapping[str, Callable[..., Any]]:
    """Name in templates -> what it does."""
    return {"plain": plain, "seconds": show_seconds, "share": share, "shares": shares}


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


def plain(text: str) -> str:
    """A text in which Markdown finds no marks of its own, in one line."""
    line = re.sub(r"\s+", " ", text)
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", line)
