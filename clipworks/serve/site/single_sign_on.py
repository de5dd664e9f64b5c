"""Signing in at an issuer of OpenID Connect: there and back.

State, nonce and verifier are keyed hashes of the cookie of this visit, which is made anew for each try:
nothing is stored, and who comes back must be the browser that went.
"""

import hashlib
import hmac
import logging
import secrets
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from clipworks.errors import ClipworksError
from clipworks.serve import logins, signing_up
from clipworks.serve.logins import Proof
from clipworks.serve.oidc import OpenId, Person
from clipworks.serve.problems import RequestError
from clipworks.serve.site.forms import own_path
from clipworks.serve.site.layout import Layout

if TYPE_CHECKING:
    from clipworks.serve.key_gate import KeyGate
    from clipworks.serve.site.sign_in_page import SignInPage

_MAX_SAME = 50

logger = logging.getLogger(__name__)


class SingleSignOn:
    """The way to the issuer and the way back.

    Args:
        gate: where accounts are.
        layout: how this server is called.
        door: what follows when it is known who somebody is.
        issuer: tells it.
    """

    def __init__(self, gate: "KeyGate", layout: Layout, door: "SignInPage", issuer: OpenId) -> None:
        self._gate = gate
        self._layout = layout
        self._door = door
        self._issuer = issuer

    async def leave(self, request: Request) -> Response:
        """GET /sign-in/oidc with `next`: to the issuer."""
        visit, wanted = secrets.token_urlsafe(32), own_path(request.query_params.get("next", ""))
        try:
            place = await self._issuer.question(
                self._back(request),
                state=_state(visit, wanted),
                nonce=_word(visit, "nonce"),
                verifier=_word(visit, "verifier"),
            )
        except ClipworksError as error:
            return self._door.refuse(request, error)
        answer = RedirectResponse(place, 303, {"cache-control": "no-store"})
        self._gate.visitors.keep_visit(request, answer, visit)
        return answer

    async def come_back(self, request: Request) -> Response:
        """GET /sign-in/oidc/back with `code`, `state`: signed in, with a new account where there was none."""
        given, visit = request.query_params, self._gate.visitors.visit_token(request)
        state, code = given.get("state", ""), given.get("code", "")
        wanted = state.partition(".")[2]
        try:
            if not hmac.compare_digest(_state(visit, wanted).encode(), state.encode("utf-8", "replace")):
                raise RequestError(
                    "You came back another way than you left.", "Try again.", code="foreign_form"
                )
            if not code:
                raise RequestError("You were not signed in there.", "Try again.", code="not_recognised")
            person = await self._issuer.person(
                code, self._back(request), nonce=_word(visit, "nonce"), verifier=_word(visit, "verifier")
            )
            account_id = await self._account_of(request, person)
        except ClipworksError as error:
            return self._door.refuse(request, error)
        return await self._door.admit(request, account_id, wanted)

    async def _account_of(self, request: Request, person: Person) -> str:
        known = partial(logins.login_at, issuer=self._issuer.issuer, subject=person.subject)
        found = await self._gate.books.read(known)
        if found is not None:
            return found.account_id
        await self._door.may_join(request)
        work = partial(
            _join,
            person=person,
            issuer=self._issuer.issuer,
            credit_micro_usd=self._door.credit_micro_usd(),
        )
        try:
            account_id = await self._gate.books.write(work)
        except RequestError:  # who came back twice at once has an account now
            again = await self._gate.books.read(known)
            if again is None:
                raise
            return again.account_id
        logger.info("account %s was made by signing in elsewhere", account_id)
        return account_id

    def _back(self, request: Request) -> str:
        return f"{self._layout.address(request)}/sign-in/oidc/back"


def _join(connection: Connection, person: Person, issuer: str, credit_micro_usd: int) -> str:
    """A new account for somebody of an issuer, under a name that is free."""
    wanted = person.name if person.name.isprintable() else ""
    start = " ".join(wanted.split())[: logins.MAX_NAME - 4] or "somebody"
    names = (start if number == 1 else f"{start} {number}" for number in range(1, _MAX_SAME))
    for name in (*names, f"{start[:40]} {secrets.token_hex(8)}"):
        try:
            signing_up.check_is_free(connection, name)
            known = logins.check_sign_in_name(name)
        except RequestError:
            continue
        proof = Proof(issuer=issuer, subject=person.subject)
        return signing_up.sign_up(connection, known, proof, credit_micro_usd=credit_micro_usd).id
    raise RequestError(
        "No name for you is free here.", "Ask the owner of this server.", code="not_recognised"
    )


def _state(visit: str, wanted: str) -> str:
    """What comes back: where to go then, and a proof that this browser asked for it."""
    return f"{_word(visit, f'state {wanted}')}.{wanted}"


def _word(visit: str, purpose: str) -> str:
    return hmac.new(visit.encode(), f"oidc {purpose}".encode(), hashlib.sha256).hexdigest()
