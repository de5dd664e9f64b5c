"""The pages /account/usage, its CSV, and /account/prices: what was asked, what it cost, and what it would."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from clipworks.errors import ClipworksError
from clipworks.serve.days import read_days
from clipworks.serve.problems import RequestError, shown
from clipworks.serve.site.money import dollars
from clipworks.serve.site.usage_chart import chart_of
from clipworks.serve.usage import UsageRow, usage_csv, usage_of

if TYPE_CHECKING:
    from clipworks.serve.service import Service
    from clipworks.serve.site.people import People

MAX_ITEMS = 10**12
MAX_ROWS_SHOWN = 200
GROUPS = ("day", "model", "key")


class UsagePage:
    """Use and prices for who owns an account.

    Args:
        people: the ground of these pages.
        service: the models that there are.
    """

    def __init__(self, people: "People", service: "Service") -> None:
        self._people = people
        self._service = service

    async def usage(self, request: Request) -> Response:
        """GET /account/usage with `from`, `to`: charts by model and key, sums by day, model and key."""
        error: ClipworksError | None = None
        try:
            first, last, rows = await self._rows(request)
        except RequestError as wrong:
            first, last, rows, error = "", "", [], wrong
        charts = {by: chart_of(rows, first, last, by=by) for by in ("model", "key")} if first else {}
        content = {
            "first": first,
            "last": last,
            "charts": charts,
            "highest": dollars(charts["model"].highest) if charts else "",
            "sums": {group: _sums(rows, group) for group in GROUPS},
            "total": _sum_row("", rows),
            "num_rows": len(rows),
        }
        return self._people.page(request, "account_usage.html", content, error=error)

    async def csv(self, request: Request) -> Response:
        """GET /account/usage.csv: the same as a file."""
        first, last, rows = await self._rows(request)
        text = await asyncio.to_thread(usage_csv, rows)
        headers = {"content-disposition": f'attachment; filename="usage-{first}-{last}.csv"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

    async def prices(self, request: Request) -> Response:
        """GET /account/prices with `images`, `texts`: what so many cost with each model."""
        images, texts, error = 1000, 0, None
        try:
            images, texts = _count(request, "images", 1000), _count(request, "texts", 0)
        except RequestError as wrong:
            error = wrong
        rows = []
        for name in self._service.models:
            price = self._people.gate.prices.of(name)
            cost = price.cost_micro_usd(images=images, texts=texts)
            session = self._people.who(request)
            often = session.balance_micro_usd // cost if cost else None
            rows.append(
                {
                    "model": name,
                    "per_1k_images": price.usd_per_1k_images,
                    "per_1k_texts": price.usd_per_1k_texts,
                    "cost_micro_usd": cost,
                    "cost": dollars(cost),
                    "often": "any number" if often is None else f"{often:,}",
                }
            )
        rows.sort(key=lambda row: (row["cost_micro_usd"], row["model"]))
        content = {"images": images, "texts": texts, "rows": rows}
        return self._people.page(request, "account_prices.html", content, error=error)

    async def _rows(self, request: Request) -> tuple[str, str, list[UsageRow]]:
        session = self._people.who(request)
        first, last = read_days(request)
        work = partial(usage_of, account_id=session.account_id, first_day=first, last_day=last)
        return first, last, await self._people.books.report(work)


def _sums(rows: list[UsageRow], group: str) -> list[dict[str, Any]]:
    """Rows summed by one thing, days newest first, others dearest first."""
    parts: dict[tuple[str, str], list[UsageRow]] = {}
    for row in rows:
        name = {"day": row.day, "model": row.model, "key": row.key_name}[group]
        parts.setdefault((row.key_id if group == "key" else "", name), []).append(row)
    found = [_sum_row(name, part) for (_, name), part in parts.items()]
    if group == "day":
        return sorted(found, key=lambda row: row["name"], reverse=True)[:MAX_ROWS_SHOWN]
    return sorted(found, key=lambda row: (-row["cost_micro_usd"], row["name"]))[:MAX_ROWS_SHOWN]


def _sum_row(name: str, rows: list[UsageRow]) -> dict[str, Any]:
    cost = sum(row.cost_micro_usd for row in rows)
    return {
        "name": name,
        "requests": sum(row.requests for row in rows),
        "images": sum(row.images for row in rows),
        "texts": sum(row.texts for row in rows),
        "cost_micro_usd": cost,
        "cost": dollars(cost),
    }


def _count(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "").strip().replace(",", "") or str(default)
    if not (text.isascii() and text.isdecimal() and int(text[:15]) <= MAX_ITEMS and len(text) < 15):
        raise RequestError(
            f"{name} is {shown(text)}; it must be a whole number up to {MAX_ITEMS:,}.", param=name
        )
    return int(text)
