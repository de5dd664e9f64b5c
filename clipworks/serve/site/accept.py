"""Which form of a page a client wants, by its header Accept."""

from collections.abc import Sequence

from starlette.requests import Request


def wanted_kind(request: Request, kinds: Sequence[str]) -> str:
    """The media type that a client likes best; of several the first one, also where it says nothing.

    A type that the header names goes before one that it only allows with a `*`, at the same weight.
    """
    named = _named(request.headers.get("accept", ""))
    return max(kinds, key=lambda kind: (*_liking(kind, named), -kinds.index(kind)))


def _named(header: str) -> dict[str, float]:
    named: dict[str, float] = {}
    for part in header.lower().split(","):
        kind, *parameters = (word.strip() for word in part.split(";"))
        weights = [word.removeprefix("q=") for word in parameters if word.startswith("q=")]
        try:
            named[kind] = float(weights[0]) if weights else 1.0
        except ValueError:
            named[kind] = 0.0
    return named


def _liking(kind: str, named: dict[str, float]) -> tuple[float, bool]:
    """Its weight, and whether it is named in full and wanted."""
    if kind in named:
        return named[kind], named[kind] > 0
    wide = f"{kind.partition('/')[0]}/*"
    return named.get(wide, named.get("*/*", 0.0)), False
