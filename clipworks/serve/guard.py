"""Who is let in, and what it costs: keys at the door, money set aside before the work.

`Guard` stands in front of every route, those included that nobody has thought of: what is not listed
here as open needs a key, on a server that asks for keys.
"""

from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipworks.errors import ClipworksError
from clipworks.serve.edge import log_failure, request_id
from clipworks.serve.problems import problem, status_and_code
from clipworks.serve.traces import current_trace

if TYPE_CHECKING:
    from clipworks.serve.gate import Caller, Gate

OPEN_PATHS = ("/livez", "/readyz", "/health", "/v1/models", "/openapi.json")
"""Paths that need no key: they cost next to nothing and tell nothing of anybody."""

OPEN_FOLDERS = ("/static/", "/v1/models/")
"""The same for everything below."""

OPEN_PAGES = ("/models", "/models.json", "/compare", "/llms.txt")
"""Pages that are open to read, and nothing else: what is sent to them needs a key or a session."""

OPEN_PAGE_FOLDERS = ("/models/",)
"""The same for everything below."""

PEOPLE_FOLDERS = ("/account/", "/operator/")
"""Pages of who is signed in, and everything below, which ask for that themselves."""

SCOPE_BY_FOLDER = {
    "/v1/admin/": "admin",
    "/metrics/": "admin",
    "/v1/usage/": "usage",
    "/v1/credits/": "usage",
    "/v1/key/": "usage",
}
"""A path, and everything below it -> the scope that it needs; all others need `inference`."""


class Guard:
    """ASGI middleware: asks the gate, then remembers the caller and adds its headers to the answer."""

    def __init__(self, app: ASGIApp, *, gate: "Gate") -> None:
        self.app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or answer why not."""
        if (
            scope["type"] != "http"
            or is_open(scope["method"], scope["path"])
            or _is_for_people(scope["path"])
        ):
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            caller = await self._gate.admit(request, scope_of(scope["path"]))
        except ClipworksError as error:
            status, current_trace().code = status_and_code(error)
            if status >= 500:
                log_failure(error, request_id(request))
            await problem(error, request_id(request), scope["path"])(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        current_trace().caller = caller.name or current_trace().caller

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(caller.headers())
            await send(message)

        await self.app(scope, receive, send_marked)


def is_open(method: str, path: str) -> bool:
    """Whether a request needs no key."""
    if path in OPEN_PATHS or path.startswith(OPEN_FOLDERS):
        return True
    return method in ("GET", "HEAD") and (path in OPEN_PAGES or path.startswith(OPEN_PAGE_FOLDERS))


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
