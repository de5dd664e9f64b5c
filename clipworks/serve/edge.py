"""The outermost layer: a request id and security headers on every answer, and no failure without one.

It also writes the log line of a request: method, path, status, milliseconds and id, never a query
string, a text or a picture.
"""

import logging
import re
import time
import uuid

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipworks.serve.problems import problem

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
    """ASGI middleware around everything."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

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
            await self.app(scope, receive, send_marked)
        except ClientDisconnect:
            status = 499
        except Exception as error:  # noqa: BLE001 - the edge of the server: log, answer, live on
            logger.exception("request %s failed", identity)
            if status:
                raise
            await problem(error, identity)(scope, receive, send_marked)
        finally:
            milliseconds = (time.monotonic() - started) * 1000
            logger.info("%s %s %d %.0f ms %s", scope["method"], scope["path"], status, milliseconds, identity)


def request_id(request: Request) -> str:
    """The id of a request: the one given to it, the client's own where that is harmless, or a new one."""
    known = request.scope.get("state", {}).get("request_id")
    if isinstance(known, str):
        return known
    given = request.headers.get("x-request-id", "")
    return given if _SANE_ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"
