"""The outermost layer: a request id and security headers on every answer, and no failure without one.

It also keeps the request's trace and makes of it the log line, the metrics and, where asked for, the
span. The line has method, path, status, milliseconds and id, never a query string, a text or a picture.
"""

import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clipworks.serve.logs import FIELDS
from clipworks.serve.metrics import Metrics
from clipworks.serve.problems import RequestError, shown
from clipworks.serve.traces import FINGERPRINT_HEADER, TRACE, Ended, SpanSink, Trace

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with none at all, browsers hide where a form of this site comes from
    "cross-origin-resource-policy": "same-origin",
}

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")

logger = logging.getLogger(__name__)

Refusal = Callable[[Request, Exception], Awaitable[Response]]
"""Makes the answer to a request that failed."""


class Edge:
    """ASGI middleware around everything.

    Args:
        app: what is inside.
        hosts: names under which the server may be addressed; None for any. A page of another site
            that has its own name lead to this machine (DNS rebinding) is refused by it.
        metrics: the figures of the application.
        answer: what is said to a request that failed; it writes the log of our own faults.
        spans: hears of every request that is over; None for nobody.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: frozenset[str] | None = None,
        metrics: Metrics,
        answer: Refusal,
        spans: SpanSink | None = None,
    ) -> None:
        self.app = app
        self._hosts = hosts
        self._metrics = metrics
        self._refuse = answer
        self._spans = spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens inside."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        trace = Trace(request_id(request), request.client.host if request.client else "")
        scope.setdefault("state", {})["request_id"] = trace.request_id
        token = TRACE.set(trace)
        self._metrics.in_flight.inc()
        try:
            await self._answer(request, trace, _counted(receive, trace), _marked(send, trace))
        finally:
            TRACE.reset(token)
            self._metrics.in_flight.dec()
            self._note(request, trace)

    async def _answer(self, request: Request, trace: Trace, receive: Receive, send: Send) -> None:
        scope = request.scope
        try:
            refusal = self._refuse_host(request)
            if refusal is not None:
                await (await self._refuse(request, refusal))(scope, receive, send)
                return
            await self.app(scope, receive, send)
        except ClientDisconnect:
            trace.status = 499
        except Exception as error:  # noqa: BLE001 - the edge of the server: log, answer, live on
            if trace.status:
                log_failure(error, trace.request_id)
                raise
            await (await self._refuse(request, error))(scope, receive, send)

    def _note(self, request: Request, trace: Trace) -> None:
        scope = request.scope
        trace.route = _template(scope)
        ended = Ended(
            method=scope["method"],
            status=trace.status,
            started_ns=trace.started_ns,
            seconds=time.monotonic() - trace.started_at,
            traceparent=request.headers.get("traceparent", ""),
        )
        self._metrics.answered(trace, ended.method, ended.status, ended.seconds)
        if self._spans is not None:
            self._spans.ended(trace, ended)
        path = quote(scope["path"])  # a decoded path could write lines of its own
        milliseconds = ended.seconds * 1000
        figures = {
            "request_id": trace.request_id,
            "method": ended.method,
            "path": path,
            "status": ended.status,
            "milliseconds": round(milliseconds, 1),
            "model": trace.model,
            "code": trace.code,
            "images": trace.num_images,
            "texts": trace.num_texts,
            "bytes_in": trace.num_bytes_in,
            **{f"{stage}_milliseconds": round(s * 1000, 1) for stage, s in trace.seconds.items()},
        }
        words = (ended.method, path, ended.status, milliseconds, trace.request_id)
        logger.info("%s %s %d %.0f ms %s", *words, extra={FIELDS: figures})

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


def _counted(receive: Receive, trace: Trace) -> Receive:
    async def receive_counted() -> Message:
        message = await receive()
        trace.num_bytes_in += len(message.get("body", b""))
        return message

    return receive_counted


def _marked(send: Send, trace: Trace) -> Send:
    """The same, with the headers that every answer has."""

    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            trace.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = trace.request_id
            headers["openai-processing-ms"] = str(round((time.monotonic() - trace.started_at) * 1000))
            for stage in ("queue", "inference"):
                if stage in trace.seconds:
                    headers[f"x-{stage}-time"] = str(round(trace.seconds[stage] * 1000))
            if trace.fingerprint and message["status"] == 200:
                headers[FINGERPRINT_HEADER] = trace.fingerprint
            if trace.providers:
                headers["x-provider"] = ", ".join(trace.providers)
            for name, value in SECURITY_HEADERS.items():
                headers[name] = value
        await send(message)

    return send_marked


def _template(scope: Scope) -> str:
    """The route that matched, as it is written in `app.py`, without converters; a label of metrics."""
    path = getattr(scope.get("route"), "path", None)
    return re.sub(r":\w+}", "}", path) if isinstance(path, str) else "unmatched"


def _host_name(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
