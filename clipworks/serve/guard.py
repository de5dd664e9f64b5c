"""Who is let in, and what it costs: keys at the door, money set aside before the work.

`Guard` stands in front of every route, those included that nobody has thought of: what is not listed
here as open needs a key, or the session of somebody who is signed in, on a server that asks for keys.
"""

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipworks.errors import ClipworksError
from clipworks.serve.edge import Refusal
from clipworks.serve.problems import RequestError
from clipworks.serve.site.layout import Viewer, viewer_of
from clipworks.serve.traces import current_trace
from clipworks.serve.visitors import SAFE_METHODS, Visitors, form_token, session_of

if TYPE_CHECKING:
    from clipworks.serve.gate import Caller, Gate

OPEN_PATHS = ("/livez", "/readyz", "/health", "/v1/models", "/openapi.json")
"""Paths that need no key: they cost next to nothing and tell nothing of anybody."""

OPEN_FOLDERS = ("/static/", "/v1/models/")
"""The same for everything below."""

OPEN_PAGES = (
    *("/", "/models", "/models.json", "/compare", "/playground", "/docs", "/llms.txt"),
    *("/sign-in", "/sign-up", "/sign-in/oidc", "/sign-in/oidc/back"),
)
"""Pages that are open to read, and nothing else: what is sent to them needs a key or a session."""

OPEN_PAGE_FOLDERS = ("/models/", "/docs/")
"""The same for everything below."""

OPEN_FORMS = ("/", "/sign-in", "/sign-up", "/sign-out")
"""Pages that take a form of somebody who is not signed in; each checks the form's token itself."""

PEOPLE_FOLDERS = ("/account/", "/operator/")
"""Pages of who is signed in, and everything below; `/operator/` is for who runs the server."""

SCOPE_BY_FOLDER = {
    "/v1/admin/": "admin",
    "/metrics/": "admin",
    "/v1/usage/": "usage",
    "/v1/credits/": "usage",
    "/v1/key/": "usage",
}
"""A path, and everything below it -> the scope that it needs; all others need `inference`."""


class Guard:
    """ASGI middleware: asks the gate, then remembers the caller and adds its headers to the answer.

    Args:
        app: what is inside.
        gate: who is let in.
        answer: what is said to who is not.
        visitors: recognises who is signed in; None where nobody can.
    """

    def __init__(
        self, app: ASGIApp, *, gate: "Gate", answer: Refusal, visitors: Visitors | None = None
    ) -> None:
        self.app = app
        self._gate = gate
        self._refuse = answer
        self._visitors = visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or answer why not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            await self._recognise(request)
            send = _of_one_reader(request, send)
            answer = self._lead_to_sign_in(request)
            if answer is not None or is_open(request.method, scope["path"]) or _is_for_people(scope["path"]):
                await (answer or self.app)(scope, receive, send)
                return
            caller = await self._gate.admit(request, scope_of(scope["path"]))
        except ClipworksError as error:
            await (await self._refuse(request, error))(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        current_trace().caller = caller.name or current_trace().caller

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(caller.headers())
            await send(message)

        await self.app(scope, receive, send_marked)

    async def _recognise(self, request: Request) -> None:
        """Remember who is signed in. A page that is open to all is shown also where that cannot be known."""
        if self._visitors is None:
            return
        try:
            session = await self._visitors.recognise(request)
        except ClipworksError:
            if not is_open(request.method, request.scope["path"]) or request.method == "POST":
                raise
            return
        if session is not None:
            state = request.scope.setdefault("state", {})
            state["session"] = session
            state["viewer"] = Viewer(
                account=session.account_name,
                form_token=form_token(self._visitors.session_token(request)),
                is_operator=session.is_operator,
            )

    def _lead_to_sign_in(self, request: Request) -> Response | None:
        """The answer on a page of people to who may not see it; None for all others.

        Raises:
            RequestError: something was sent by a page of another site, or somebody else's page is asked for.
        """
        path = request.scope["path"]
        if self._visitors is None or not (_is_for_people(path) or path in OPEN_FORMS):
            return None
        is_asking = request.method in SAFE_METHODS
        if not is_asking:
            self._visitors.check_own(request)
        if not _is_for_people(path):
            return None
        session = session_of(request)
        if session is None:
            wanted = f"{request.url.path}?{request.url.query}".rstrip("?") if is_asking else "/account"
            return RedirectResponse(
                f"/sign-in?{urlencode({'next': wanted})}", 303, {"cache-control": "no-store"}
            )
        if f"{path}/".startswith("/operator/") and not session.is_operator:
            raise RequestError("There is no such address.", code="not_found")
        return None


def is_open(method: str, path: str) -> bool:
    """Whether a request needs neither key nor session."""
    if path in OPEN_PATHS or path.startswith(OPEN_FOLDERS):
        return True
    if method in SAFE_METHODS and (path in OPEN_PAGES or path.startswith(OPEN_PAGE_FOLDERS)):
        return True
    return method == "POST" and path in OPEN_FORMS


def _of_one_reader(request: Request, send: Send) -> Send:
    """The same; what is answered to somebody who is signed in is kept by no cache that is not told to."""
    if viewer_of(request) is None:
        return send

    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).setdefault("cache-control", "no-store")
        await send(message)

    return send_marked


def _is_for_people(path: str) -> bool:
    """Whether a page is shown to who is signed in only."""
    return f"{path}/".startswith(PEOPLE_FOLDERS)


def scope_of(path: str) -> str:
    """The scope that a key needs for a path."""
    for folder, scope in SCOPE_BY_FOLDER.items():
        if f"{path}/".startswith(folder):
            return scope
    return "inference"


def caller_of(request: Request) -> "Caller":
    """Who the guard let in."""
    caller: Caller = request.scope["state"]["caller"]
    return caller
