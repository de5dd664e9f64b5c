"""The pages /operator of who runs the server: accounts, their money, the ledger, the server's health.

What an operator does to money is a row of the ledger like any other, with a note that says why and who.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from clipworks.errors import ClipworksError
from clipworks.serve import accounts, keys, ledger, logins, tallies
from clipworks.serve.accounts import Account
from clipworks.serve.audit import LedgerFilter, check, entries
from clipworks.serve.clock import now_ms, show_minute
from clipworks.serve.days import read_day
from clipworks.serve.keys import Key
from clipworks.serve.logins import Login
from clipworks.serve.problems import RequestError
from clipworks.serve.site.money import dollars
from clipworks.serve.terms import micro_usd
from clipworks.serve.usage import Credit, credit_of

if TYPE_CHECKING:
    from clipworks.serve.service import Service
    from clipworks.serve.site.people import People

ACCOUNTS_SHOWN = 100
ROWS_SHOWN = 100
DAY_SECONDS = 86_400
KINDS = ("grant", "adjust", "reserve", "settle", "release")
_FILTERS = ("key_id", "kind", "model", "request_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """What the page of one account shows."""

    account: Account
    credit: Credit
    login: Login | None
    keys: list[Key]
    rows: list[dict[str, Any]]


class OperatorPage:
    """The pages of the operator; the guard lets nobody else come here.

    Args:
        people: the ground of these pages.
        service: the models that there are.
    """

    def __init__(self, people: "People", service: "Service") -> None:
        self._people = people
        self._service = service
        self._started_at = time.monotonic()

    async def accounts(self, request: Request) -> Response:
        """GET /operator with `q`, `page`: accounts, the newest first."""
        words = request.query_params.get("q", "").strip()[:200]
        number = request.query_params.get("page", "1")
        page = max(1, int(number)) if number.isascii() and number.isdecimal() and len(number) < 8 else 1
        work = partial(_accounts, words=keys.check_text(words, "q"), offset=(page - 1) * ACCOUNTS_SHOWN)
        found, known, (num_accounts, owed) = await self._people.books.report(work)
        content = {
            "words": words,
            "page": page,
            "rows": [_account_row(one, known.get(one.id)) for one in found[:ACCOUNTS_SHOWN]],
            "has_more": len(found) > ACCOUNTS_SHOWN,
            "num_accounts": num_accounts,
            "owed": dollars(owed),
        }
        return self._people.page(request, "operator.html", content)

    async def account(self, request: Request) -> Response:
        """GET /operator/accounts/{id}: one account, its keys and its last rows."""
        return await self._account(request)

    async def grant(self, request: Request) -> Response:
        """POST `amount_usd`, `note`, `once`: give credit."""
        return await self._move(request, ledger.grant)

    async def adjust(self, request: Request) -> Response:
        """POST `amount_usd`, which may be negative, `note`, `once`: put a balance right."""
        return await self._move(request, ledger.adjust)

    async def revoke(self, request: Request) -> Response:
        """POST /operator/accounts/{id}/keys/{key}/revoke: end a key of an account."""
        await self._people.form(request)
        work = partial(_revoke, account=request.path_params["id"], key=request.path_params["key"])
        await self._people.books.write(work)
        return _to(f"/operator/accounts/{request.path_params['id']}")

    async def ledger(self, request: Request) -> Response:
        """GET /operator/ledger: rows of all accounts, the newest first, those that are asked for."""
        given, error = request.query_params, None
        rows: list[dict[str, Any]] = []
        names: dict[str, str] = {}
        try:
            work = partial(_ledger, wanted=_read_filter(request), account=given.get("account", "").strip())
            rows, names = await self._people.books.report(work)
        except RequestError as wrong:
            error = wrong
        shown = [_ledger_row(row, names) for row in rows[:ROWS_SHOWN]]
        asked = {name: given.get(name, "") for name in ("account", "from", "to", *_FILTERS)}
        content = {
            "rows": shown,
            "asked": asked,
            "kinds": KINDS,
            "models": list(self._service.models),
            "next_id": shown[-1]["id"] if len(rows) > ROWS_SHOWN else 0,
        }
        return self._people.page(request, "operator_ledger.html", content, error=error)

    async def health(self, request: Request) -> Response:
        """GET /operator/health: models, database, requests in work, errors; with `audit`, the books."""
        metrics = self._service.metrics
        models = [
            {"name": name, "state": model.state, "error": "" if model.error is None else str(model.error)}
            for name, model in self._service.models.items()
        ]
        is_answering = await self._people.books.is_answering()
        is_audited = "audit" in request.query_params
        differences = await self._people.books.report(check) if is_audited else []
        routes: dict[str, dict[str, int]] = {}
        for (route, status), number in metrics.answers().items():
            row = routes.setdefault(route, {"2": 0, "3": 0, "4": 0, "5": 0})
            row[status[0]] = row.get(status[0], 0) + number
        total = sum(sum(row.values()) for row in routes.values())
        failed = sum(row["5"] for row in routes.values())
        ranked = sorted(routes.items(), key=lambda item: (-sum(item[1].values()), item[0]))
        content = {
            "models": models,
            "database": self._people.gate.books.address,
            "is_answering": is_answering,
            "in_flight": metrics.num_in_flight(),
            "num_requests": total,
            "num_failed": failed,
            "error_rate": f"{100 * failed / total:.2f} %" if total else "no requests yet",
            "hours": f"{(time.monotonic() - self._started_at) / 3600:.1f}",
            "routes": [{"route": route, **{f"s{k}": v for k, v in row.items()}} for route, row in ranked],
            "is_audited": is_audited,
            "differences": [(one.account_id, one.words) for one in differences],
        }
        return self._people.page(request, "operator_health.html", content)

    async def _move(self, request: Request, move: Callable[..., int]) -> Response:
        session = self._people.who(request)
        try:
            form = await self._people.form(request)
            amount, note = micro_usd(form.text("amount_usd"), "amount_usd"), form.text("note")
            if not note:
                raise RequestError("Say why: the note is missing.", code="missing_field", param="note")
            signed = f"{note[:340]} (by {session.account_id})"
            work = partial(
                _moved,
                account=request.path_params["id"],
                move=partial(move, amount_micro_usd=amount, note=signed),
                once=form.text("once"),
            )
            await self._people.books.write(work)
        except ClipworksError as error:
            return await self._account(request, error)
        return _to(f"/operator/accounts/{request.path_params['id']}?done=money")

    async def _account(self, request: Request, error: ClipworksError | None = None) -> Response:
        found = await self._people.books.report(partial(_one, account=request.path_params["id"]))
        account, now = found.account, now_ms()
        content = {
            "account": _account_row(account, found.login),
            "granted": dollars(found.credit.granted_micro_usd),
            "spent": dollars(found.credit.spent_micro_usd),
            "keys": [
                {
                    "id": key.id,
                    "name": key.terms.name,
                    "label": key.label,
                    "scopes": ", ".join(key.terms.scopes),
                    "is_working": key.is_working(now),
                    "since": show_minute(key.created_at_ms),
                }
                for key in found.keys
            ],
            "rows": [_ledger_row(row, {account.id: account.name}) for row in found.rows],
            "once": f"{now_ms()}_{secrets.token_hex(16)}",
            "done": request.query_params.get("done", "") if error is None else "",
        }
        return self._people.page(request, "operator_account.html", content, error=error)


def _accounts(
    connection: Connection, words: str, offset: int
) -> tuple[list[Account], dict[str, Login], tuple[int, int]]:
    found = accounts.find_accounts(connection, words, limit=ACCOUNTS_SHOWN + 1, offset=offset)
    known = logins.logins_of(connection, [one.id for one in found])
    return found, known, accounts.total_of(connection)


def _one(connection: Connection, account: str) -> _Found:
    found = accounts.account_named(connection, account)
    return _Found(
        account=found,
        credit=credit_of(connection, found.id),
        login=logins.login_of(connection, found.id),
        keys=keys.list_keys(connection, found.id),
        rows=entries(connection, LedgerFilter(account_id=found.id), limit=50),
    )


def _moved(connection: Connection, account: str, move: Callable[..., int], once: str) -> None:
    """Move money once for each form, however often it is sent."""
    begun = once.partition("_")[0]
    at_ms = int(begun) if begun.isascii() and begun.isdecimal() and len(begun) < 15 else 0
    if abs(now_ms() - at_ms) > DAY_SECONDS * 1000:
        raise RequestError("The form is too old.", "Open the page again.", param="once")
    # Counted on the day on which it was shown: else a form would be new again after midnight.
    if tallies.count(connection, "form", once, window_seconds=DAY_SECONDS, at_ms=at_ms) > 1:
        raise RequestError("This form was sent before.", "Look at the account's rows.", param="once")
    move(connection, accounts.account_named(connection, account).id)


def _revoke(connection: Connection, account: str, key: str) -> None:
    found = keys.key_with_id(connection, keys.check_text(key, "key"))
    if found is None or found.account_id != accounts.account_named(connection, account).id:
        raise RequestError("The account has no such key.", code="key_not_found")
    keys.revoke_key(connection, found)


def _ledger(
    connection: Connection, wanted: dict[str, Any], account: str
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    owner = accounts.account_named(connection, account).id if account else ""
    rows = entries(connection, LedgerFilter(account_id=owner, **wanted), limit=ROWS_SHOWN + 1)
    return rows, accounts.names_of(connection, {row["account_id"] for row in rows})


def _read_filter(request: Request) -> dict[str, Any]:
    """Fields of a `LedgerFilter` from the page's address.

    Raises:
        RequestError: one cannot be used.
    """
    given = request.query_params
    wanted: dict[str, Any] = {
        name: keys.check_text(given.get(name, "").strip()[:200], name) for name in _FILTERS
    }
    if wanted["kind"] and wanted["kind"] not in KINDS:
        raise RequestError(f"kind must be one of {', '.join(KINDS)}.", param="kind")
    for name, field in (("from", "first_day"), ("to", "last_day")):
        wanted[field] = read_day(request, name).isoformat() if given.get(name) else ""
    before = given.get("before", "")
    wanted["before_id"] = int(before) if before.isascii() and before.isdecimal() and len(before) < 18 else 0
    return wanted


def _account_row(account: Account, login: Login | None) -> dict[str, Any]:
    way = "nobody signs in"
    if login is not None:
        way = "password" if login.password else "single sign-on"
    return {
        "id": account.id,
        "name": account.name,
        "balance": dollars(account.balance_micro_usd),
        "since": show_minute(account.created_at_ms)[:10],
        "way": way,
        "is_operator": login is not None and login.is_operator,
    }


def _ledger_row(row: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "at": show_minute(row["created_at_ms"]),
        "account_id": row["account_id"],
        "account": names.get(row["account_id"], row["account_id"]),
        "kind": row["kind"],
        "amount": dollars(row["amount_micro_usd"]),
        "model": row["model"] or "",
        "images": row["images"],
        "texts": row["texts"],
        "request_id": row["request_id"] or "",
        "note": row["note"] or "",
    }


def _to(path: str) -> Response:
    return RedirectResponse(path, 303, {"cache-control": "no-store"})
