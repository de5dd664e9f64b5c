"""GET /compare: any models side by side, and all of them as quality against cost."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from clipworks.serve.problems import nearest, shown
from clipworks.serve.site import charts
from clipworks.serve.site.comparison_rows import qualities_of, sections
from clipworks.serve.site.entry import Entry, names_of
from clipworks.serve.site.layout import Layout

if TYPE_CHECKING:
    from clipworks.serve.service import Service
    from clipworks.serve.shelf import Shelf
    from clipworks.serve.site.catalogue import Catalogue

MAX_MODELS = 8

QUALITIES: Mapping[str, tuple[str, str]] = {
    "imagenet": ("ImageNet 1k", "ImageNet, zero-shot top-1"),
    "average": ("average of 38", "average of 38 tasks"),
    "retrieval": ("MSCOCO", "MSCOCO, mean R@1 of both directions"),
    "objects": ("ObjectNet", "ObjectNet, zero-shot top-1"),
}
"""Name in the address -> the task, and its words."""

COSTS: Mapping[str, tuple[str, str]] = {
    "price": ("$", "estimated price of 1,000 pictures, US dollars"),
    "work": ("", "work for one picture, GFLOP"),
}
"""Name in the address -> what stands before its numbers, and its words."""


class ComparePage:
    """The page and its drawing.

    Args:
        service: the models of this server.
        layout: the frame.
        catalogue: every model that is known.
        shelf: who wants what.
    """

    def __init__(self, service: "Service", layout: Layout, catalogue: "Catalogue", shelf: "Shelf") -> None:
        self._service = service
        self._layout = layout
        self._catalogue = catalogue
        self._shelf = shelf

    async def show(self, request: Request) -> Response:
        """The models of the fields `m`, or all where none is named; what means nothing is said."""
        entries = await asyncio.to_thread(self._catalogue.entries, await self._shelf.votes())
        given, faults = request.query_params, list[str]()
        chosen = self._chosen(given.getlist("m"), entries, faults)
        quality = _one_of(given.get("quality", ""), QUALITIES, "quality", faults)
        cost = _one_of(given.get("cost", ""), COSTS, "cost", faults)
        shown_entries = chosen or entries[:MAX_MODELS]
        dots = _dots(entries, quality, cost)
        content = {
            "entries": entries,
            "chosen": shown_entries,
            "is_chosen": {entry.id for entry in chosen},
            "faults": faults,
            "sections": sections(shown_entries, self._service.metrics.minutes),
            "qualities": {name: words for name, (_, words) in QUALITIES.items()},
            "costs": {name: words for name, (_, words) in COSTS.items()},
            "quality": quality,
            "cost": cost,
            "cost_sign": COSTS[cost][0],
            "dots": sorted(dots, key=lambda dot: (dot.x, -dot.y)),
            "chart": charts.scatter(dots, COSTS[cost][0]) if dots else None,
            "without": [entry for entry in entries if entry.id not in {dot.id for dot in dots}],
        }
        return self._layout.page(request, "compare.html", content, 400 if faults else 200)

    def _chosen(self, names: Sequence[str], entries: Sequence[Entry], faults: list[str]) -> list[Entry]:
        by_name = {name: entry for entry in reversed(entries) for name in names_of(entry)}
        by_name |= {entry.id: entry for entry in entries}
        found = dict[str, Entry]()
        for name in names:
            entry = by_name.get(name) or by_name.get(name.lower())
            if entry is not None:
                found[entry.id] = entry
            elif name.strip():
                near = nearest(name, [entry.id for entry in entries])
                faults.append(f"There is no model {shown(name)}. {near}")
        if len(found) > MAX_MODELS:
            faults.append(f"Only the first {MAX_MODELS} models are shown.")
        return list(found.values())[:MAX_MODELS]


def _one_of(value: str, known: Mapping[str, tuple[str, str]], what: str, faults: list[str]) -> str:
    if value and value not in known:
        faults.append(f"There is no {what} {shown(value)}. {nearest(value, list(known))}")
    return value if value in known else next(iter(known))


def _dots(entries: Sequence[Entry], quality: str, cost: str) -> list[charts.Dot]:
    dots = []
    for entry in entries:
        known = qualities_of(entry).get(QUALITIES[quality][0])
        spent = (
            float(entry.usd_per_1k_images) if cost == "price" else entry.specs.get("gflops", {}).get("image")
        )
        if known is not None and spent is not None:
            dots.append(
                charts.Dot(
                    id=entry.id,
                    label=entry.title,
                    x=spent,
                    y=known[0],
                    interval=known[1],
                    is_usable=entry.is_usable,
                )
            )
    return dots
