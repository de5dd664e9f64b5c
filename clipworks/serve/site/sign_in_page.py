"""The pages /sign-in, /sign-up and /sign-out.

Whoever signs in gets a new session, whatever the browser held before. Names that nobody has are answered as
wrong passwords are, in the same words and the same time; how often one may try is counted per name and per
address, in the database.
"""

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from clipworks.errors import ClipworksError
from clipworks.serve import logins, sessions, signing_up, tallies
from clipworks.serve.logins import Login, Proof
from clipworks.serve.passwords import Passwords, check_password
from clipworks.serve.prices import parse_usd
from clipworks.serve.problems import RequestError, status_and_code
from clipworks.serve.sessions import digest_of
from clipworks.serve.site.forms import Form, own_path, read_form
from clipworks.serve.site.layout import Layout, say_when
from clipworks.serve.traces import current_trace
from clipworks.serve.visitors import form_token, session_of

if TYPE_CHECKING:
    from clipworks.serve.key_gate import KeyGate

WINDOW_SECONDS = 900
MAX_TRIES = {"sign-in address": 60, "sign-in": 10, "sign-in name": 100}
"""Tries within `WINDOW_SECONDS`: from one address, of one name from one address, of one name."""

DAY_SECONDS = 86_400
MAX_SIGN_UP_TRIES = 30
"""Tries to sign up from one address within `WINDOW_SECONDS`: how many names can be found taken."""

logger = logging.getLogger(__name__)


class SignInPage:
    """Signing up, in and out.

    Args:
        gate: where accounts are.
        layout: the frame.
    """

    def __init__(self, gate: "KeyGate", layout: Layout) -> None:
        self._gate = gate
        self._visitors = gate.visitors
        self._settings = gate.settings
        self._layout = layout
        self._passwords = Passwords()
        self.can_sign_up = self._settings.signups_per_day > 0

    async def sign_in(self, request: Request) -> Response:
        """GET: the form. POST `name`, `password`: sign in, and lead to `next`."""
        if request.method != "POST":
            return self._show(request, "sign_in.html", {"name": ""})
        given: dict[str, Any] = {"name": ""}
        try:
            form = await read_form(request, self._visitors, is_signed_in=False)
            given = _given(form)
            account_id = await self._recognised(request, given["name"], form.secret("password"))
        except ClipworksError as error:
            return self._refuse(request, "sign_in.html", given, error)
        return await self._begin(request, account_id, form.text("next"))

    async def sign_up(self, request: Request) -> Response:
        """GET: the form. POST `name`, `password`: make an account with its free credit, and sign in."""
        if request.method != "POST":
            return self._show(request, "sign_up.html", {"name": ""}, 200 if self.can_sign_up else 404)
        given: dict[str, Any] = {"name": ""}
        try:
            form = await read_form(request, self._visitors, is_signed_in=False)
            given = _given(form)
            account_id = await self._join(request, form)
        except ClipworksError as error:
            return self._refuse(request, "sign_up.html", given, error)
        return await self._begin(request, account_id, form.text("next"))

    async def sign_out(self, request: Request) -> Response:
        """POST: end this session."""
        session = session_of(request)
        answer = RedirectResponse("/sign-in?bye=1", 303, {"cache-control": "no-store"})
        if session is not None:
            await read_form(request, self._visitors)
            await self._gate.books.write(partial(sessions.end_session, digest=session.digest))
        self._visitors.drop_session(request, answer)
        return answer

    async def admit(self, request: Request, account_id: str, wanted: str) -> Response:
        """Sign somebody in who has proved who it is; the way to the page that was wanted."""
        return await self._begin(request, account_id, wanted)

    def refuse(self, request: Request, error: ClipworksError) -> Response:
        """The sign-in page, with what went wrong elsewhere.

        Raises:
            ClipworksError: `error`, where it is the server's.
        """
        return self._refuse(request, "sign_in.html", {"name": ""}, error)

    async def may_join(self, request: Request) -> None:
        """Count one more account of this address today.

        Raises:
            RequestError: signing up is switched off, or the address has made as many as it may.
        """
        if not self.can_sign_up:
            raise RequestError("Nobody can sign up here.", "Ask the owner of this server.", code="not_found")
        work = partial(tallies.count, kind="sign-up", who=_address(request), window_seconds=DAY_SECONDS)
        if await self._gate.books.write(work) > self._settings.signups_per_day:
            raise tallies.too_many("From your network address enough accounts were made today.", DAY_SECONDS)

    def credit_micro_usd(self) -> int:
        """What a new account begins with, millionths of a US dollar."""
        return parse_usd(str(self._settings.signup_credit_usd), "signup_credit_usd")

    async def _recognised(self, request: Request, name: str, password: str) -> str:
        """The account that a name and a password belong to."""
        address, folded = _address(request), logins.fold(name)
        pair = f"{folded}\n{address}"
        tries = {"sign-in address": address, "sign-in": pair, "sign-in name": folded}
        if await self._gate.books.write(partial(_count_tries, tries=tries)):
            raise tallies.too_many("There were too many tries.", WINDOW_SECONDS)
        login = await self._gate.books.read(partial(logins.find_login, name=name))
        digest = login.password if login is not None else None
        if not await self._passwords.is_right(password[:1000], digest) or login is None:
            raise RequestError("The name or the password is wrong.", "Try again.", code="wrong_password")
        await self._gate.books.write(partial(tallies.clear, kind="sign-in", who=pair))
        if digest is not None and self._passwords.is_outdated(digest):
            await self._renew(login, password)
        return login.account_id

    async def _renew(self, login: Login, password: str) -> None:
        digest = await self._passwords.digest(password)
        await self._gate.books.write(partial(logins.set_password, account_id=login.account_id, digest=digest))

    async def _join(self, request: Request, form: Form) -> str:
        tries = partial(
            tallies.count, kind="sign-up tries", who=_address(request), window_seconds=WINDOW_SECONDS
        )
        if await self._gate.books.write(tries) > MAX_SIGN_UP_TRIES:
            raise tallies.too_many("You have tried too often.", WINDOW_SECONDS)
        name = logins.check_sign_in_name(form.text("name"))
        password = form.secret("password")
        check_password(password, name)
        await self._gate.books.read(partial(signing_up.check_is_free, name=name))
        digest = await self._passwords.digest(password)
        await self.may_join(request)
        work = partial(
            signing_up.sign_up,
            name=name,
            proof=Proof(password=digest),
            credit_micro_usd=self.credit_micro_usd(),
        )
        account = await self._gate.books.write(work)
        logger.info("account %s was made by signing up", account.id)
        return account.id

    async def _begin(self, request: Request, account_id: str, wanted: str) -> Response:
        """A new session; the one that the browser had before, if any, ends."""
        before = self._visitors.session_token(request)
        work = partial(
            _replace_session,
            account_id=account_id,
            before=before,
            seconds=self._settings.session_hours * 3600,
        )
        token = await self._gate.books.write(work)
        answer = RedirectResponse(own_path(wanted), 303, {"cache-control": "no-store"})
        self._visitors.keep_session(request, answer, token)
        return answer

    def _show(self, request: Request, template: str, content: dict[str, Any], status: int = 200) -> Response:
        token = self._visitors.visit_token(request)
        frame = {
            "visit_form_token": form_token(token),
            "next": own_path(request.query_params.get("next", "")),
            "bye": request.query_params.get("bye", ""),
            "problem": "",
            "can_sign_up": self.can_sign_up,
            "credit_usd": f"{self._settings.signup_credit_usd:.2f}",
            "oidc_name": self._settings.oidc_name if self._settings.oidc_issuer else "",
        }
        answer = self._layout.page(request, template, {**frame, **content}, status)
        self._visitors.keep_visit(request, answer, token)
        return answer

    def _refuse(
        self, request: Request, template: str, content: dict[str, Any], error: ClipworksError
    ) -> Response:
        status, current_trace().code = status_and_code(error)
        if status >= 500:
            raise error
        answer = self._show(request, template, {**content, "problem": str(error)}, status)
        say_when(answer, error)
        return answer


def _given(form: Form) -> dict[str, Any]:
    """What stays in the form where it is shown again."""
    return {"name": form.text("name"), "next": own_path(form.text("next"))}


def _count_tries(connection: Connection, tries: dict[str, str]) -> bool:
    """Count a try to sign in; whether there were too many.

    What comes after a limit that is reached is not counted: one address, whose names cost it nothing, could
    fill the table with them.
    """
    return any(
        tallies.count(connection, kind, tries[kind], window_seconds=WINDOW_SECONDS) > most
        for kind, most in MAX_TRIES.items()
    )


def _replace_session(connection: Connection, account_id: str, before: str, seconds: float) -> str:
    if before:
        sessions.end_session(connection, digest_of(before))
    return sessions.begin_session(connection, account_id, seconds=seconds)


def _address(request: Request) -> str:
    return tallies.network_of(request.client.host if request.client is not None else "")
