"""Who looks at the pages: cookies, the session that one names, and the proof that a form is of this site.

A form token is a keyed hash of what the cookie holds, so it is bound to the session (before one signs in, to
a cookie of the visit), cannot be guessed, and is stored nowhere. Beside it a request that changes something
must come from this site, as far as the browser says where it comes from.
"""

import hashlib
import hmac
import secrets
from functools import partial
from urllib.parse import urlsplit

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from clipworks.serve import tallies
from clipworks.serve.books import Books
from clipworks.serve.clock import now_ms
from clipworks.serve.keys import PREFIX
from clipworks.serve.problems import RequestError
from clipworks.serve.sessions import Session, find_session, forget_sessions
from clipworks.serve.settings import ServeSettings
from clipworks.serve.site.layout import viewer_of

SESSION_COOKIE = "clipworks_session"
VISIT_COOKIE = "clipworks_visit"
VISIT_SECONDS = 3600
TOKEN_HEADER = "x-form-token"
TOKEN_FIELD = "form_token"
_MAX_SECRET = 200
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
PAID_FORMS = ("/playground",)
"""Pages whose form is paid work and works without scripts, so that its token stands in the form: each of them
checks it once the form is read."""

_UNSEEN = ("/static/", "/livez", "/readyz", "/health", "/openapi.json", "/metrics")
"""Paths that are the same for everybody: no session is looked up."""


class Visitors:
    """Recognises who is signed in.

    Args:
        books: where sessions are.
        settings: whether the site is reached by https, and how long a session lasts.
    """

    def __init__(self, books: Books, settings: ServeSettings) -> None:
        self.body_seconds = settings.body_seconds
        """How long a form may take to arrive."""
        self._books = books
        self._settings = settings

    async def recognise(self, request: Request) -> Session | None:
        """The session of a request; None without a cookie, and for programs, which send a key.

        Raises:
            ClipworksError: the database does not answer.
        """
        token = self.session_token(request)
        if not token or "authorization" in request.headers or request.scope["path"].startswith(_UNSEEN):
            return None
        return await self._books.read(partial(find_session, token=token))

    def session_token(self, request: Request) -> str:
        """What the session's cookie holds; empty without one."""
        return request.cookies.get(self._name(request, SESSION_COOKIE), "")

    def visit_token(self, request: Request) -> str:
        """What the cookie of the visit holds, a new word where there is none."""
        known = request.cookies.get(self._name(request, VISIT_COOKIE), "")
        return known if 32 <= len(known) <= 64 else secrets.token_urlsafe(32)

    def keep_session(self, request: Request, response: Response, token: str) -> None:
        """Give the browser its session; the word of the visit before it is worth nothing any more."""
        self._set(request, response, SESSION_COOKIE, token, round(self._settings.session_hours * 3600))
        self._set(request, response, VISIT_COOKIE, "", 0)

    def keep_visit(self, request: Request, response: Response, token: str) -> None:
        """Give the browser the cookie of its visit."""
        self._set(request, response, VISIT_COOKIE, token, VISIT_SECONDS)

    def drop_session(self, request: Request, response: Response) -> None:
        """Take the session's cookie away."""
        self._set(request, response, SESSION_COOKIE, "", 0)

    def check_own(self, request: Request) -> None:
        """Whether a request comes from this site, or from no page at all, as far as the browser says.

        Raises:
            RequestError: it comes from another site.
        """
        if not self.is_own(request):
            raise RequestError("This was sent by a page of another site.", code="foreign_form")

    def is_own(self, request: Request) -> bool:
        """The same as a yes or no."""
        site = request.headers.get("sec-fetch-site")
        if site is not None:
            return site in ("same-origin", "none")
        origin = request.headers.get("origin")
        if origin is None:
            return True
        own = {request.headers.get("host", "").lower(), urlsplit(self._settings.public_url).netloc.lower()}
        return urlsplit(origin).netloc.lower() in own - {""}

    def is_secure(self, request: Request) -> bool:
        """Whether the browser speaks https, with this server or with a proxy in front of it."""
        return request.url.scheme == "https" or self._settings.public_url.startswith("https:")

    def _name(self, request: Request, name: str) -> str:
        # Browsers take a cookie of this name only from this very host, over https: no other one can plant it.
        return f"__Host-{name}" if self.is_secure(request) else name

    def _set(self, request: Request, response: Response, name: str, value: str, seconds: int) -> None:
        response.set_cookie(
            self._name(request, name),
            value,
            max_age=seconds,
            path="/",
            secure=self.is_secure(request),
            httponly=True,
            samesite="lax",
        )


def forget_old(connection: Connection) -> None:
    """Drop the sessions that have expired, and what was counted before yesterday."""
    forget_sessions(connection)
    tallies.forget(connection, before_ms=now_ms() - 2 * 86_400_000)


def form_token(token: str) -> str:
    """What a form must carry where the cookie holds `token`."""
    return hmac.new(token.encode(errors="surrogatepass"), b"form", hashlib.sha256).hexdigest()


def session_of(request: Request) -> Session | None:
    """The session that the guard found."""
    session: Session | None = request.scope.get("state", {}).get("session")
    return session


def check_form_of(request: Request, given: object) -> None:
    """Whether what changes something was sent by a page of this very session; anything where there is none.

    Args:
        given: the form token that came with it.

    Raises:
        RequestError: it was not, or its page is too old.
    """
    viewer = viewer_of(request)
    if viewer is not None:
        check_token(given, viewer.form_token)


def check_token(given: object, wanted: str) -> None:
    """Whether a form token is the one that it must be.

    Raises:
        RequestError: it is not.
    """
    if not isinstance(given, str) or not hmac.compare_digest(
        wanted.encode(), given.encode("utf-8", "replace")
    ):
        raise RequestError(
            "The form is too old, or was not of this site.",
            "Open the page again, and send it from there.",
            code="foreign_form",
        )


def secret_of(request: Request) -> str:
    """The key that a program sends.

    Raises:
        RequestError: it sends none.
    """
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise RequestError(
            "This server asks for a key.",
            f"Send the header 'Authorization: Bearer {PREFIX}...', or sign in at /sign-in.",
            code="invalid_api_key",
        )
    return secret.strip()[:_MAX_SECRET]
