"""The outermost layer: a request id and security headers on every answer, and no failure without one.

It also writes the log line of a request: method, path, status, milliseconds and id, never a query
string, a text or a picture.
"""

import logging
import re
import time
import uuid
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipworks.serve.problems import RequestError, problem, shown

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")

logger = logging.getLogger(__name__)


class Edge:
    """ASGI middleware around everything.

    Args:
        app: what is inside.
        hosts: names under which the server may be addressed; None for any. A page of another site
            that has its own name lead to this machine (DNS rebinding) is refused by it.
    """

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str] | None = None) -> None:
        self.app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens inside."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.monotonic()
        identity = request_id(Request(scope))
        scope.setdefault("state", {})["request_id"] = identity
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = identity
                headers["openai-processing-ms"] = str(round((time.monotonic() - started) * 1000))
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            refusal = self._refuse_host(Request(scope))
            if refusal is not None:
                await problem(refusal, identity)(scope, receive, send_marked)
                return
            await self.app(scope, receive, send_marked)
        except ClientDisconnect:
            status = 499
        except Exception as error:  # noqa: BLE001 - the edge of the server: log, answer, live on
            logger.exception("request %s failed", identity)
            if status:
                raise
            shape = scope["state"].get("error_shape", "openai")
            await problem(error, identity, shape)(scope, receive, send_marked)
        finally:
            milliseconds = (time.monotonic() - started) * 1000
            path = quote(scope["path"])  # a decoded path could write lines of its own
            logger.info("%s %s %d %.0f ms %s", scope["method"], path, status, milliseconds, identity)

    def _refuse_host(self, request: Request) -> RequestError | None:
        given = request.headers.get("host")
        if self._hosts is None or given is None or _host_name(given) in self._hosts:
            return None
        return RequestError(
            f"This server is not called {shown(given)}.",
            "Address it as 127.0.0.1 or localhost, or start it with --insecure.",
            code="host_not_allowed",
        )


def log_failure(error: Exception, identity: str) -> None:
    """Write the cause of an answer with status 500 or more, under the id that the answer names."""
    logger.error("request %s failed", identity, exc_info=error)


def request_id(request: Request) -> str:
    """The id of a request: the one given to it, the client's own where that is harmless, or a new one."""
    known = request.scope.get("state", {}).get("request_id")
    if isinstance(known, str):
        return known
    given = request.headers.get("x-request-id", "")
    return given if _SANE_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"


def _host_name(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
