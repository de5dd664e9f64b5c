"""The page /account/keys: make, rotate and revoke keys of one's own; a secret is shown once and not kept."""

from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from clipworks.errors import ClipworksError
from clipworks.serve import keys, tallies
from clipworks.serve.clock import now_ms, show_minute
from clipworks.serve.keys import Key, KeyTerms
from clipworks.serve.problems import RequestError
from clipworks.serve.sessions import Session
from clipworks.serve.site.forms import Form
from clipworks.serve.site.money import dollars
from clipworks.serve.terms import read_terms

if TYPE_CHECKING:
    from clipworks.serve.service import Service
    from clipworks.serve.site.people import People

MAX_KEYS = 100
"""Working keys of one account that are made on the page."""

DAY_SECONDS = 86_400
MAX_NEW_KEYS = 500
"""Keys, and secrets of rotated ones, that are made on the page in a day."""

SCOPES = ("inference", "usage")
"""What a key that is made on the page may do; `admin` is for the operator's command line."""

GRACE_HOURS = (24, 1, 0)
"""How long the old secret of a rotated key may go on working, as the page offers it."""


class KeysPage:
    """The keys of an account for who owns it.

    Args:
        people: the ground of these pages.
        service: the models that there are.
    """

    def __init__(self, people: "People", service: "Service") -> None:
        self._people = people
        self._service = service

    async def show(self, request: Request) -> Response:
        """GET: the list, and the form for a new one."""
        return await self._show(request)

    async def create(self, request: Request) -> Response:
        """POST: a new key; this answer shows its secret, and no other ever does."""
        session = self._people.who(request)
        form = Form(fields={})
        try:
            form = await self._people.form(request)
            work = partial(_create, account_id=session.account_id, terms=self._terms(form))
            key, secret = await self._people.books.write(work)
        except ClipworksError as error:
            return await self._show(request, error=error, form=form)
        return await self._show(request, secret=secret, shown=key)

    async def rotate(self, request: Request) -> Response:
        """POST `grace_hours`: a new secret; the old one works that long."""
        session = self._people.who(request)
        try:
            form = await self._people.form(request)
            if request.path_params["id"] == session.pages_key_id:
                raise RequestError("The key of the pages has no secret: your session opens it.", param="key")
            hours = form.number("grace_hours")
            work = partial(
                _rotate,
                account_id=session.account_id,
                identity=request.path_params["id"],
                seconds=3600.0 * (24 if hours is None else min(hours, 90 * 24)),
            )
            key, secret = await self._people.books.write(work)
        except ClipworksError as error:
            return await self._show(request, error=error)
        return await self._show(request, secret=secret, shown=key)

    async def revoke(self, request: Request) -> Response:
        """POST: end a key, at once and for ever."""
        session = self._people.who(request)
        try:
            await self._people.form(request)
            work = partial(_revoke, account_id=session.account_id, identity=request.path_params["id"])
            await self._people.books.write(work)
        except ClipworksError as error:
            return await self._show(request, error=error)
        return RedirectResponse("/account/keys", 303, {"cache-control": "no-store"})

    async def _show(
        self,
        request: Request,
        *,
        error: ClipworksError | None = None,
        form: Form | None = None,
        secret: str = "",
        shown: Key | None = None,
    ) -> Response:
        session = self._people.who(request)
        found = await self._people.books.read(partial(keys.list_keys, account_id=session.account_id))
        content = {
            "keys": [_row(key, session) for key in sorted(found, key=_order)],
            "secret": secret,
            "shown": shown.terms.name if shown is not None else "",
            "models": list(self._service.models),
            "model": next(iter(self._service.models), ""),
            "scopes": SCOPES,
            "periods": keys.PERIODS,
            "grace_hours": GRACE_HOURS,
            "form": form or Form(fields={}),
        }
        return self._people.page(request, "account_keys.html", content, error=error)

    def _terms(self, form: Form) -> KeyTerms:
        """What a new key may do.

        Raises:
            RequestError: a field cannot be used, or asks for more than a page gives.
        """
        for scope in form.texts("scopes"):
            if scope not in SCOPES:
                raise RequestError(f"A key made here may have {' and '.join(SCOPES)}.", param="scopes")
        models = [self._service.listed(model).name for model in form.texts("models")]
        given: dict[str, Any] = {
            "name": form.text("name"),
            "scopes": list(form.texts("scopes")),
            "models": models,
            "budget_usd": form.text("budget_usd") or None,
            "budget_period": form.text("budget_period"),
            "expires_in_days": form.number("expires_in_days"),
        }
        limits = ("requests_per_minute", "images_per_minute", "bytes_per_minute")
        return read_terms({**given, **{name: form.number(name) for name in limits}})


def _create(connection: Connection, account_id: str, terms: KeyTerms) -> tuple[Key, str]:
    _count_new(connection, account_id)  # first: PostgreSQL then makes keys of an account one after another
    keys.check_is_free(connection, account_id, terms.name)
    working = [key for key in keys.list_keys(connection, account_id) if key.is_working(now_ms())]
    if len(working) >= MAX_KEYS:
        raise RequestError(f"An account has at most {MAX_KEYS} keys that work.", "Revoke some.")
    return keys.create_key(connection, account_id, terms)


def _count_new(connection: Connection, account_id: str) -> None:
    """Count a new secret: those that have ended stay in the tables, which no loop must fill."""
    if tallies.count(connection, "new key", account_id, window_seconds=DAY_SECONDS) > MAX_NEW_KEYS:
        raise tallies.too_many("Enough keys were made today.", DAY_SECONDS)


def _rotate(connection: Connection, account_id: str, identity: str, seconds: float) -> tuple[Key, str]:
    _count_new(connection, account_id)
    return keys.rotate_key(connection, _own(connection, account_id, identity), grace_seconds=seconds)


def _revoke(connection: Connection, account_id: str, identity: str) -> None:
    keys.revoke_key(connection, _own(connection, account_id, identity))


def _own(connection: Connection, account_id: str, identity: str) -> Key:
    """A key of this account; that of another one is as unknown as none."""
    key = keys.key_with_id(connection, keys.check_text(identity, "key"))
    if key is None or key.account_id != account_id:
        raise RequestError("This account has no such key.", code="key_not_found")
    return key


def _order(key: Key) -> tuple[bool, int]:
    """Those that work first, the newest first."""
    return not key.is_working(now_ms()), -key.created_at_ms


def _row(key: Key, session: Session) -> dict[str, Any]:
    terms, now = key.terms, now_ms()
    limits = {
        "requests": terms.requests_per_minute,
        "pictures": terms.images_per_minute,
        "bytes": terms.bytes_per_minute,
    }
    budget = ""
    if terms.budget_micro_usd is not None:
        spent = dollars(key.spent_now_micro_usd(now))
        period = "in all" if terms.budget_period == "total" else f"a {terms.budget_period}"
        budget = f"{spent} of {dollars(terms.budget_micro_usd)} {period}"
    return {
        "id": key.id,
        "name": terms.name,
        "label": key.label,
        "is_pages": key.id == session.pages_key_id,
        "is_working": key.is_working(now),
        "state": _state(key, now),
        "scopes": ", ".join(terms.scopes),
        "models": ", ".join(terms.models) or "all models",
        "budget": budget,
        "limits": ", ".join(f"{n:,} {what} a minute" for what, n in limits.items() if n is not None),
        "since": show_minute(key.created_at_ms),
    }


def _state(key: Key, now: int) -> str:
    if key.revoked_at_ms is not None:
        return f"revoked {show_minute(key.revoked_at_ms)}"
    if key.terms.expires_at_ms is None:
        return "works"
    return f"{'until' if key.terms.expires_at_ms > now else 'expired'} {show_minute(key.terms.expires_at_ms)}"
