"""The application: every route in one list, and the process that serves it.

`create_app` is given engines and a gallery; building and loading them is the command line's work.
"""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from clipworks.errors import ClipworksError, ConfigError
from clipworks.net import Fetcher
from clipworks.search.store import VectorStore
from clipworks.serve.admin import Admin
from clipworks.serve.billing import Billing
from clipworks.serve.bodies import read_payload
from clipworks.serve.calls import Call, Gate, OpenGate
from clipworks.serve.classify import classify, similarity
from clipworks.serve.database import open_database
from clipworks.serve.edge import Edge, log_failure, request_id
from clipworks.serve.embeddings import describe, embeddings, list_models
from clipworks.serve.gate import Guard, caller_of
from clipworks.serve.hits import gallery_picture, search
from clipworks.serve.keyholders import KeyGate
from clipworks.serve.logs import start_logging
from clipworks.serve.openapi import document
from clipworks.serve.pages import STATIC, Pages
from clipworks.serve.prices import read_prices
from clipworks.serve.problems import RequestError, problem, status_and_code
from clipworks.serve.service import Service
from clipworks.serve.settings import ServeSettings
from clipworks.serve.traces import SpanSink, current_trace

if TYPE_CHECKING:
    from clipworks.model.engine import Engine

EMBEDDINGS_FIELDS = ("input", "model", "encoding_format", "dimensions", "modality", "user")
CLASSIFY_FIELDS = ("input", "model", "labels", "templates")
SIMILARITY_FIELDS = ("images", "model", "texts")
SEARCH_FIELDS = ("image", "model", "text", "limit")
"""The fields that a route takes; files and raw picture bodies become the first one."""

Endpoint = Callable[[Request], Awaitable[Response]]
Answer = Callable[[Call], Awaitable[Response]]


def create_app(
    settings: ServeSettings,
    engines: "Mapping[str, Engine]",
    gallery: VectorStore | None = None,
    *,
    gate: Gate | None = None,
    web: Fetcher | None = None,
    spans: SpanSink | None = None,
) -> Starlette:
    """The ASGI application.

    Args:
        settings: limits; host and port are used by `run` only.
        engines: model id -> engine, at least one; the first is what the page names first.
        gallery: pictures to search, embedded by one of the engines.
        gate: who is let in; None for what `settings` ask for: who has a key, or everybody.
        web: fetches pictures that are given by address; one by the settings if None.
        spans: hears of every request that is over; None for nobody.

    Raises:
        ConfigError: no engine is given, none of them made the gallery's vectors, or keys are asked for
            and the database or the prices cannot be used.
    """
    service = Service(settings, engines, gallery, web)
    pages = Pages(service)
    api = partial(_api, service)
    gate = gate or _gate(settings)
    keyed = gate if isinstance(gate, KeyGate) else None
    described = document(settings)

    app = Starlette(
        routes=[
            Route("/v1/models", _plain(lambda request: list_models(service)), methods=["GET"]),
            Route("/v1/models/{id:path}", _plain(partial(_one_model, service)), methods=["GET"]),
            Route("/v1/embeddings", api(embeddings, EMBEDDINGS_FIELDS), methods=["POST"]),
            Route("/v1/classify", api(classify, CLASSIFY_FIELDS), methods=["POST"]),
            Route("/v1/similarity", api(similarity, SIMILARITY_FIELDS), methods=["POST"]),
            Route("/v1/search", api(search, SEARCH_FIELDS), methods=["POST"]),
            *_account_routes(Billing(keyed), Admin(keyed)),
            Route("/livez", _plain(lambda request: JSONResponse({"status": "alive"})), methods=["GET"]),
            Route("/readyz", partial(_ready, service), methods=["GET"]),
            Route("/health", partial(_health, service), methods=["GET"]),
            Route("/metrics", partial(_metrics, service), methods=["GET"]),
            Route("/openapi.json", _plain(lambda request: JSONResponse(described)), methods=["GET"]),
            Route("/gallery/{id:path}", _plain(partial(_one_picture, service)), methods=["GET"]),
            Route("/", _unpaid(settings, pages.show), methods=["GET"]),
            Route("/", _unpaid(settings, pages.show_similar), methods=["POST"]),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[
            Middleware(Edge, hosts=settings.host_names(), metrics=service.metrics, spans=spans),
            Middleware(Guard, gate=gate),
        ],
        exception_handlers={ClipworksError: _problem, HTTPException: _problem},
        lifespan=partial(_life, service, gate, spans),
    )
    app.state.service = service
    return app


def run(
    settings: ServeSettings,
    engines: "Mapping[str, Engine]",
    gallery: VectorStore | None = None,
    *,
    on_ready: Callable[[str], None] | None = None,
    spans: SpanSink | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; requests in work are finished first.

    SIGTERM leaves time for whoever sends requests here to notice: `/readyz` says 503 at once, and for
    `drain_seconds` the server still takes what comes. Then the process ends with 0.

    Args:
        settings: where to listen and how much to take on.
        engines: model id -> engine.
        gallery: pictures to search, embedded by one of the engines.
        on_ready: called once with the address, such as "http://127.0.0.1:8000", when it answers.
        spans: hears of every request that is over; None for nobody.

    Raises:
        ConfigError: the port is taken, or what `create_app` refuses.
        KeyboardInterrupt: the server was stopped with Ctrl-C, after it has finished.
    """
    start_logging(settings.log_format)
    app = create_app(settings, engines, gallery, spans=spans)
    with _listen(settings.host, settings.port) as listener:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=max(1, round(settings.shutdown_seconds)),
        )
        server = _Server(
            config, app.state.service, partial(on_ready, _address(listener)) if on_ready else None
        )
        server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it answers and stops taking requests only after a while."""

    def __init__(self, config: uvicorn.Config, service: Service, on_ready: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._service = service
        self._on_ready = on_ready
        self._stop_at = float("inf")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then call `on_ready`."""
        await super().startup(sockets)
        if self.started and self._on_ready is not None:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first SIGTERM begins the drain; any signal after it ends the drain at once."""
        if sig == signal.SIGTERM and not self._service.is_stopping:
            self._service.is_stopping = True
            self._stop_at = time.monotonic() + self._service.settings.drain_seconds
        elif sig == signal.SIGTERM:
            self.should_exit = True
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """uvicorn's look around, ten times a second."""
        return await super().on_tick(counter) or time.monotonic() >= self._stop_at


@asynccontextmanager
async def _life(service: Service, gate: Gate, spans: SpanSink | None, _: Starlette) -> AsyncIterator[None]:
    """The gate and the service run; beside them the metrics' own port and the spans, where there are some."""
    async with gate.running(), service.running():
        with ExitStack() as others:
            if service.settings.metrics_port:
                others.enter_context(service.metrics.served_on(service.settings.metrics_port))
            if spans is not None:
                others.callback(spans.close)
            yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"Cannot listen on {host} port {port}: {error.strerror or error}.", "Choose another with --port."
        ) from error
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _account_routes(billing: Billing, admin: Admin) -> list[Route]:
    return [
        Route("/v1/usage", billing.usage, methods=["GET"]),
        Route("/v1/credits", billing.credits, methods=["GET"]),
        Route("/v1/key", billing.key, methods=["GET"]),
        Route("/v1/admin/accounts", admin.accounts, methods=["GET", "POST"]),
        Route("/v1/admin/accounts/{id}", admin.account, methods=["GET"]),
        Route("/v1/admin/accounts/{id}/grants", admin.grant, methods=["POST"]),
        Route("/v1/admin/accounts/{id}/adjustments", admin.adjust, methods=["POST"]),
        Route("/v1/admin/keys", admin.keys, methods=["GET", "POST"]),
        Route("/v1/admin/keys/{id}", admin.key, methods=["GET", "DELETE"]),
        Route("/v1/admin/keys/{id}/rotate", admin.rotate, methods=["POST"]),
    ]


def _gate(settings: ServeSettings) -> Gate:
    if not settings.require_keys:
        return OpenGate()
    prices = read_prices(Path(settings.prices) if settings.prices else None)
    return KeyGate(open_database(settings.database), prices, settings)


def _unpaid(settings: ServeSettings, endpoint: Endpoint) -> Endpoint:
    """The page: it works for nothing, so a server on which work is paid for does not have it."""

    async def refuse(request: Request) -> Response:
        raise RequestError(
            "This server asks for a key and has no page to search on.",
            "Ask /v1/search with a key; docs/keys.md says how.",
            code="not_found",
        )

    return refuse if settings.require_keys else endpoint


def _api(service: Service, answer: Answer, fields: tuple[str, ...]) -> Endpoint:
    """An endpoint that reads a payload; its work is given up when the client goes away."""

    async def endpoint(request: Request) -> Response:
        async with service.admission():
            payload = await read_payload(request, service.settings, fields=fields)
            call = Call(service, payload, caller_of(request), request_id=request_id(request))
            work = asyncio.ensure_future(answer(call))
            gone = asyncio.ensure_future(_disconnected(request))
            is_answered = False
            try:
                await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    work.cancel()
                    await asyncio.gather(work, return_exceptions=True)
                    return Response(status_code=499)  # nobody reads it
                response = work.result()
                await call.settle()
                is_answered = True
                return response
            finally:
                work.cancel()
                gone.cancel()
                if not is_answered:
                    await call.release()

    return endpoint


def _plain(answer: Callable[[Request], Response]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return answer(request)

    return endpoint


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _problem(request: Request, error: Exception) -> Response:
    status, current_trace().code = status_and_code(error)
    if status >= 500:
        log_failure(error, request_id(request))
    return problem(error, request_id(request))


def _one_model(service: Service, request: Request) -> Response:
    return JSONResponse(describe(service, service.named(request.path_params["id"])))


def _one_picture(service: Service, request: Request) -> Response:
    return gallery_picture(service, request.path_params["id"])


async def _metrics(service: Service, request: Request) -> Response:
    if service.settings.metrics_port:
        raise RequestError("The metrics have a port of their own.", code="not_found")
    text, kind = await asyncio.to_thread(service.metrics.render)
    return Response(text, media_type=kind)


async def _ready(service: Service, request: Request) -> Response:
    if service.is_stopping:
        return JSONResponse({"status": "stopping", "models": {}}, 503)
    names = list(service.models)
    states = await asyncio.gather(*(service.models[name].is_ready() for name in names))
    words = {name: "ready" if is_ready else "not ready" for name, is_ready in zip(names, states, strict=True)}
    return JSONResponse(
        {"status": "ready" if all(states) else "not ready", "models": words}, 200 if all(states) else 503
    )


async def _health(service: Service, request: Request) -> Response:
    response = await _ready(service, request)
    status = "ok" if response.status_code == 200 else "not ready"
    return JSONResponse({"unix": time.time(), "status": status}, response.status_code)
