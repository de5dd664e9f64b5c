"""The pages /account and /account/settings: what is left, password, browsers that are signed in, closing."""

from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from clipworks.errors import ClipworksError
from clipworks.serve import logins, sessions, tallies
from clipworks.serve.clock import now_ms, show_minute
from clipworks.serve.closing import close_account
from clipworks.serve.days import last_days
from clipworks.serve.keys import Key, list_keys
from clipworks.serve.passwords import Passwords, check_password
from clipworks.serve.problems import RequestError
from clipworks.serve.sessions import Session
from clipworks.serve.site.money import dollars
from clipworks.serve.site.usage_chart import chart_of
from clipworks.serve.usage import Credit, UsageRow, credit_of, usage_of

if TYPE_CHECKING:
    from clipworks.serve.service import Service
    from clipworks.serve.site.people import People

WINDOW_SECONDS = 900
MAX_TRIES = 10
"""Wrong passwords of one account within `WINDOW_SECONDS`, by who is signed in already."""


class AccountPage:
    """An account for who owns it.

    Args:
        people: the ground of these pages.
        service: the models that there are.
    """

    def __init__(self, people: "People", service: "Service") -> None:
        self._people = people
        self._service = service
        self._passwords = Passwords()

    async def overview(self, request: Request) -> Response:
        """GET /account: credit, the last 30 days, the keys, and how to send the first request."""
        session = self._people.who(request)
        first, last = last_days()
        work = partial(_overview, account_id=session.account_id, first=first, last=last)
        credit, rows, keys = await self._people.books.report(work)
        chart = chart_of(rows, first, last, by="model")
        content = {
            "granted": dollars(credit.granted_micro_usd),
            "spent": dollars(credit.spent_micro_usd),
            "chart": chart,
            "highest": dollars(chart.highest),
            "num_requests": sum(row.requests for row in rows),
            "num_keys": sum(key.is_working(now_ms()) and key.id != session.pages_key_id for key in keys),
            "has_pages_key": any(key.id == session.pages_key_id and key.is_working(now_ms()) for key in keys),
            "model": next(iter(self._service.models), ""),
        }
        return self._people.page(request, "account.html", content)

    async def renew_pages_key(self, request: Request) -> Response:
        """POST /account/pages-key: a new key for the account's own pages, where the last one has ended."""
        session = self._people.who(request)
        await self._people.form(request)
        await self._people.books.write(partial(logins.renew_pages_key, account_id=session.account_id))
        return _to("/account")

    async def settings(self, request: Request) -> Response:
        """GET /account/settings: the password, the sessions, the way out."""
        return await self._settings(request)

    async def change_password(self, request: Request) -> Response:
        """POST /account/password `current`, `new`: all other browsers are signed out."""
        session = self._people.who(request)
        try:
            form = await self._people.form(request)
            check_password(form.secret("new"), session.account_name)
            await self._check(session, form.secret("current"))
            digest = await self._passwords.digest(form.secret("new"))
        except ClipworksError as error:
            return await self._settings(request, error)
        seconds = (session.expires_at_ms - now_ms()) / 1000
        work = partial(_change, account_id=session.account_id, digest=digest, seconds=seconds)
        answer = _to("/account/settings?done=password")
        self._people.visitors.keep_session(request, answer, await self._people.books.write(work))
        return answer

    async def end_sessions(self, request: Request) -> Response:
        """POST /account/sign-out: this account's browsers are signed out, all of them or one."""
        session = self._people.who(request)
        form = await self._people.form(request)
        one = form.text("session")
        work = partial(_end, account_id=session.account_id, start=one)
        await self._people.books.write(work)
        if one and not session.digest.startswith(one):
            return _to("/account/settings?done=session")
        answer = _to("/sign-in?bye=1")
        self._people.visitors.drop_session(request, answer)
        return answer

    async def close(self, request: Request) -> Response:
        """POST /account/close `name`, `current`: the account and what is known of its owner are gone."""
        session = self._people.who(request)
        try:
            form = await self._people.form(request)
            if form.text("name") != session.account_name:
                raise RequestError("The name is not that of this account.", "Type it as it is shown.")
            await self._check(session, form.secret("current"))
            await self._people.books.write(partial(close_account, account_id=session.account_id))
        except ClipworksError as error:
            return await self._settings(request, error)
        answer = _to("/sign-in?bye=closed")
        self._people.visitors.drop_session(request, answer)
        return answer

    async def _settings(self, request: Request, error: ClipworksError | None = None) -> Response:
        session = self._people.who(request)
        found = await self._people.books.read(partial(sessions.sessions_of, account_id=session.account_id))
        content = {
            "name": session.account_name,
            "has_password": session.has_password,
            "done": request.query_params.get("done", ""),
            "sessions": sorted(
                (_session_row(one, is_this=one.digest == session.digest) for one in found),
                key=lambda row: not row["is_this"],
            ),
        }
        return self._people.page(request, "account_settings.html", content, error=error)

    async def _check(self, session: Session, password: str) -> None:
        """Whether the password that was typed again is right; who signs in elsewhere has none."""
        books, who = self._people.books, session.account_id
        login = await books.read(partial(logins.login_of, account_id=who))
        if login is not None and login.password is None:
            return
        tries = partial(tallies.count, kind="password", who=who, window_seconds=WINDOW_SECONDS)
        if await books.write(tries) > MAX_TRIES:
            raise tallies.too_many("There were too many wrong tries.", WINDOW_SECONDS)
        digest = login.password if login is not None else None
        if not await self._passwords.is_right(password[:1000], digest):
            raise RequestError("The current password is wrong.", "Try again.", code="wrong_password")
        await books.write(partial(tallies.clear, kind="password", who=who))


def _overview(
    connection: Connection, account_id: str, first: str, last: str
) -> tuple[Credit, list[UsageRow], list[Key]]:
    return (
        credit_of(connection, account_id),
        usage_of(connection, account_id, first_day=first, last_day=last),
        list_keys(connection, account_id),
    )


def _change(connection: Connection, account_id: str, digest: str, seconds: float) -> str:
    """Another password, and one new session in place of all."""
    logins.set_password(connection, account_id, digest)
    sessions.end_sessions(connection, account_id)
    return sessions.begin_session(connection, account_id, seconds=seconds)


def _end(connection: Connection, account_id: str, start: str) -> None:
    if not start:
        sessions.end_sessions(connection, account_id)
    for session in sessions.sessions_of(connection, account_id):
        if start and session.digest.startswith(start):
            sessions.end_session(connection, session.digest)


def _session_row(session: Session, *, is_this: bool) -> dict[str, Any]:
    return {
        "start": session.digest[:16],
        "since": show_minute(session.created_at_ms),
        "until": show_minute(session.expires_at_ms),
        "is_this": is_this,
    }


def _to(path: str) -> Response:
    return RedirectResponse(path, 303, {"cache-control": "no-store"})
