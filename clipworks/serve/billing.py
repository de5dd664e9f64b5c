"""GET /v1/usage, /v1/credits and /v1/key: what the owner of a key may know; shapes near OpenRouter's."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from clipworks.serve.clock import show_time
from clipworks.serve.days import read_days
from clipworks.serve.guard import caller_of
from clipworks.serve.key_gate import KeyCaller, KeyGate
from clipworks.serve.keys import Key, now_ms, period_of
from clipworks.serve.prices import show_usd
from clipworks.serve.problems import RequestError, shown
from clipworks.serve.usage import UsageRow, credit_of, spent_by_key, usage_csv, usage_of

USAGE_PARAMETERS = ("from", "to", "key", "format")
_EPOCH = "1970-01-01"


class Billing:
    """The three routes; on a server without keys they answer that there are no accounts."""

    def __init__(self, gate: KeyGate | None) -> None:
        self._gate = gate

    async def usage(self, request: Request) -> Response:
        """What the account's keys asked, by day, model and key; as CSV with `format=csv`.

        Raises:
            RequestError: a parameter is unknown or cannot be read, or the server has no accounts.
        """
        gate, key = self._known(request)
        _check_parameters(request)
        first, last = read_days(request)
        only = key.id if "key" in request.query_params else None
        work = partial(usage_of, account_id=key.account_id, first_day=first, last_day=last, key_id=only)
        rows = await gate.books.report(work)
        if request.query_params.get("format") == "csv":
            text = await asyncio.to_thread(usage_csv, rows)
            return Response(text, media_type="text/csv; charset=utf-8")
        total = {name: sum(getattr(row, name) for row in rows) for name in ("requests", "images", "texts")}
        cost = sum(row.cost_micro_usd for row in rows)
        answer = {
            "object": "list",
            "from": first,
            "to": last,
            "data": [_as_json(row) for row in rows],
            "total": {**total, "cost_usd": show_usd(cost)},
        }
        return JSONResponse(answer)

    async def credits(self, request: Request) -> Response:
        """What the account was given, what it spent, what is left."""
        gate, key = self._known(request)
        credit = await gate.books.report(partial(credit_of, account_id=key.account_id))
        data = {
            "account": key.account_name,
            "total_credits": credit.granted_micro_usd / 1e6,
            "total_usage": credit.spent_micro_usd / 1e6,
            "balance_usd": show_usd(key.balance_micro_usd),
        }
        return JSONResponse({"data": data})

    async def key(self, request: Request) -> Response:
        """What the key may do, how much of its budget is left, and what it spent."""
        gate, key = self._known(request)
        return JSONResponse({"data": await gate.books.report(partial(key_details, key=key))})

    def _known(self, request: Request) -> tuple[KeyGate, Key]:
        caller = caller_of(request)
        if self._gate is None or not isinstance(caller, KeyCaller):
            raise no_accounts()
        return self._gate, caller.key


def no_accounts() -> RequestError:
    """The answer of a server that asks nobody for a key."""
    return RequestError(
        "This server asks for no key and has no accounts.",
        "Start it with --require-keys; docs/keys.md says how.",
        code="no_accounts",
    )


def key_details(connection: Connection, key: Key) -> dict[str, Any]:
    """A key for its owner or an administrator: OpenRouter's fields, then ours; never a secret."""
    now, terms = now_ms(), key.terms
    first_days = (
        *(_EPOCH, period_of("day", now), period_of("week", now)),
        f"{period_of('month', now)}-01",
    )
    total, daily, weekly, monthly = spent_by_key(connection, key.id, first_days=first_days)
    limit = terms.budget_micro_usd
    left = None if limit is None else max(limit - key.spent_now_micro_usd(now), 0)
    return {
        "label": key.label,
        "limit": None if limit is None else limit / 1e6,
        "limit_remaining": None if left is None else left / 1e6,
        "limit_reset": None if terms.budget_period == "total" else terms.budget_period,
        "usage": total / 1e6,
        "usage_daily": daily / 1e6,
        "usage_weekly": weekly / 1e6,
        "usage_monthly": monthly / 1e6,
        "is_free_tier": False,
        "is_provisioning_key": "admin" in terms.scopes,
        "id": key.id,
        "name": terms.name,
        "account": key.account_name,
        "scopes": list(terms.scopes),
        "models": list(terms.models) or None,
        "rate_limit": {
            "requests_per_minute": terms.requests_per_minute,
            "images_per_minute": terms.images_per_minute,
            "bytes_per_minute": terms.bytes_per_minute,
        },
        "created_at": show_time(key.created_at_ms),
        "expires_at": show_time(terms.expires_at_ms),
        "revoked_at": show_time(key.revoked_at_ms),
    }


def entry_details(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the ledger for an administrator."""
    kept = ("kind", "model", "requests", "images", "texts", "usd_per_1k_images", "usd_per_1k_texts")
    return {
        "id": row["id"],
        "at": show_time(row["created_at_ms"]),
        "amount_usd": show_usd(row["amount_micro_usd"]),
        "cost_usd": show_usd(row["cost_micro_usd"]) if row["requests"] else None,
        **{name: row[name] for name in (*kept, "key_id", "charge_id", "request_id", "note")},
    }


def _check_parameters(request: Request) -> None:
    for name in request.query_params:
        if name not in USAGE_PARAMETERS:
            raise RequestError(
                f"There is no parameter {shown(name)}; there are {', '.join(USAGE_PARAMETERS)}.", param=name
            )
        if len(request.query_params.getlist(name)) > 1:
            raise RequestError(f"{name} is given twice.", param=name)
    for name, choices in (("key", ("this",)), ("format", ("json", "csv"))):
        given = request.query_params.get(name)
        if given is not None and given not in choices:
            raise RequestError(f"{name} is {shown(given)}; it must be {' or '.join(choices)}.", param=name)


def _as_json(row: UsageRow) -> dict[str, Any]:
    return {
        "date": row.day,
        "model": row.model,
        "key": {"id": row.key_id, "name": row.key_name},
        "requests": row.requests,
        "images": row.images,
        "texts": row.texts,
        "cost_usd": show_usd(row.cost_micro_usd),
    }
