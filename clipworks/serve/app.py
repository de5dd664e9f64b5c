"""The application: every route in one list, and the process that serves it.

`create_app` is given engines and a gallery, `run` a fleet; building and loading engines is the command
line's work.
"""

import asyncio
import logging
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
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
from clipworks.search.store import VectorStore
from clipworks.serve.bodies import read_payload
from clipworks.serve.calls import Call, Gate, OpenGate
from clipworks.serve.classify import classify, similarity
from clipworks.serve.edge import Edge, log_failure, request_id
from clipworks.serve.embeddings import describe, embeddings, list_models
from clipworks.serve.fleet import Fleet, fleet_of_engines
from clipworks.serve.hits import gallery_picture, search
from clipworks.serve.pages import STATIC, Pages
from clipworks.serve.problems import RequestError, UnavailableError, problem, shown, status_and_code
from clipworks.serve.service import Service
from clipworks.serve.settings import ServeSettings

if TYPE_CHECKING:
    from clipworks.model.engine import Engine

EMBEDDINGS_FIELDS = ("input", "model", "encoding_format", "dimensions", "modality", "user")
CLASSIFY_FIELDS = ("input", "model", "labels", "templates")
SIMILARITY_FIELDS = ("images", "model", "texts")
SEARCH_FIELDS = ("image", "model", "text", "limit")
"""The fields that a route takes; files and raw picture bodies become the first one."""

DEADLINE_HEADER = "x-request-timeout-ms"
"""How long a client waits for the answer, whole milliseconds."""

Endpoint = Callable[[Request], Awaitable[Response]]
Answer = Callable[[Call], Awaitable[Response]]


def create_app(
    settings: ServeSettings,
    engines: "Mapping[str, Engine]",
    gallery: VectorStore | None = None,
    *,
    gate: Gate | None = None,
) -> Starlette:
    """The ASGI application.

    Args:
        settings: limits; host and port are used by `run` only.
        engines: model id -> engine, at least one; the first is what the page names first.
        gallery: pictures to search, embedded by one of the engines.
        gate: who is let in; None for everybody.

    Raises:
        ConfigError: no engine is given, or none of them made the gallery's vectors.
    """
    return create_service_app(Service(settings, fleet_of_engines(settings, engines), gallery), gate=gate)


def create_service_app(service: Service, *, gate: Gate | None = None) -> Starlette:
    """The ASGI application of a service whose models may still have to be loaded.

    Args:
        service: settings, models and gallery; its lanes run while the application does.
        gate: who is let in; None for everybody.
    """
    settings = service.settings
    pages = Pages(service)
    api = partial(_api, service, gate or OpenGate())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with service.running():
            yield

    return Starlette(
        routes=[
            Route("/v1/models", _plain(lambda request: list_models(service)), methods=["GET"]),
            Route("/v1/models/{id:path}", _plain(partial(_one_model, service)), methods=["GET"]),
            Route("/v1/embeddings", api(embeddings, EMBEDDINGS_FIELDS), methods=["POST"]),
            Route("/v1/classify", api(classify, CLASSIFY_FIELDS), methods=["POST"]),
            Route("/v1/similarity", api(similarity, SIMILARITY_FIELDS), methods=["POST"]),
            Route("/v1/search", api(search, SEARCH_FIELDS), methods=["POST"]),
            Route("/livez", _plain(lambda request: JSONResponse({"status": "alive"})), methods=["GET"]),
            Route("/readyz", partial(_ready, service), methods=["GET"]),
            Route("/health", partial(_health, service), methods=["GET"]),
            Route("/gallery/{id:path}", _plain(partial(_one_picture, service)), methods=["GET"]),
            Route("/", pages.show, methods=["GET"]),
            Route("/", pages.show_similar, methods=["POST"]),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(Edge, hosts=settings.host_names())],
        exception_handlers={ClipworksError: _problem, HTTPException: _problem},
        lifespan=lifespan,
    )


def run(
    settings: ServeSettings,
    fleet: Fleet,
    gallery: VectorStore | None = None,
    *,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; requests in work are finished first.

    The port is open while models are still loaded: `/livez` answers, `/readyz` says what is missing.

    Args:
        settings: where to listen and how much to take on.
        fleet: the models.
        gallery: pictures to search, embedded by one of the models.
        on_ready: called once with the address, such as "http://127.0.0.1:8000", when all models that
            are loaded at start answer.

    Raises:
        ConfigError: the port is taken, or the gallery is of none of the models.
        ClipworksError: a model cannot be loaded at start.
        KeyboardInterrupt: the server was stopped with Ctrl-C, after it has finished.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    service = Service(settings, fleet, gallery)
    app = create_service_app(service)
    with _listen(settings.host, settings.port) as listener:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=max(1, round(settings.shutdown_seconds)),
        )
        server = _Server(config, service, partial(on_ready, _address(listener)) if on_ready else None)
        server.run(sockets=[listener])
        if server.failure is not None:
            raise server.failure


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it answers, and stops when a model cannot be loaded at start."""

    def __init__(self, config: uvicorn.Config, service: Service, on_ready: Callable[[], None] | None) -> None:
        super().__init__(config)
        self.failure: BaseException | None = None
        self._service = service
        self._on_ready = on_ready

    async def main_loop(self) -> None:
        """Run as uvicorn does; meanwhile wait for the models, then call `on_ready`."""
        loading = asyncio.create_task(self._service.loaded())
        loading.add_done_callback(self._when_loaded)
        try:
            await super().main_loop()
        finally:
            loading.cancel()

    def _when_loaded(self, loading: asyncio.Task[None]) -> None:
        if loading.cancelled():
            return
        self.failure = loading.exception()
        if self.failure is not None:
            self.should_exit = True
        elif self._on_ready is not None:
            self._on_ready()


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


def _api(service: Service, gate: Gate, answer: Answer, fields: tuple[str, ...]) -> Endpoint:
    """An endpoint that reads a payload; its work is given up when the client goes away."""

    async def endpoint(request: Request) -> Response:
        caller = await gate.admit(request, "inference")
        async with service.admission(), service.counted(request) as request:
            payload = await read_payload(request, service.settings, fields=fields)
            call = Call(service, payload, caller, request_id=request_id(request))
            seconds = _seconds_for(request, service.settings)
            work = asyncio.ensure_future(answer(call))
            gone = asyncio.ensure_future(_disconnected(request))
            try:
                await asyncio.wait((work, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                if gone.done() and not work.done():
                    return Response(status_code=499)  # nobody reads it
                response = await _in_time(work, seconds)
                await call.settle()
                return response
            finally:
                for task in (work, gone):
                    task.cancel()
                await asyncio.wait((work, gone))
                if not work.cancelled():
                    work.exception()  # nobody else asks for it where the client has gone
                await call.release()

    return endpoint


async def _in_time(work: "asyncio.Future[Response]", seconds: float) -> Response:
    """The answer, which is given up when it is not there: what waits in queues is dropped."""
    if not work.done():
        work.cancel()
        await asyncio.wait([work])
    if work.cancelled():
        raise UnavailableError(
            f"The request was not answered within {seconds:g} seconds.", code="deadline_exceeded"
        )
    return work.result()


def _seconds_for(request: Request, settings: ServeSettings) -> float:
    """How long the work on a request may take."""
    given = request.headers.get(DEADLINE_HEADER)
    if given is None:
        return settings.request_seconds
    if not (given.isascii() and given.isdigit() and 0 < int(given[:10]) and len(given) <= 10):
        raise RequestError(
            f"The header {DEADLINE_HEADER} is {shown(given)}; it must be a whole number of milliseconds."
        )
    return min(int(given) / 1000, settings.request_seconds)


def _plain(answer: Callable[[Request], Response]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return answer(request)

    return endpoint


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _problem(request: Request, error: Exception) -> Response:
    if status_and_code(error)[0] >= 500 and not isinstance(error, UnavailableError):
        log_failure(error, request_id(request))
    return problem(error, request_id(request))


def _one_model(service: Service, request: Request) -> Response:
    return JSONResponse(describe(service, service.listed(request.path_params["id"])))


def _one_picture(service: Service, request: Request) -> Response:
    return gallery_picture(service, request.path_params["id"])


async def _ready(service: Service, request: Request) -> Response:
    words = {}
    for name, model in service.models.items():
        if model.state == "live":
            words[name] = "ready" if await model.is_ready() else "not ready"
        else:
            words[name] = model.state
    is_ready = set(words.values()) <= {"ready", "idle", "coming_soon", "unloading"}
    return JSONResponse(
        {"status": "ready" if is_ready else "not ready", "models": words}, 200 if is_ready else 503
    )


async def _health(service: Service, request: Request) -> Response:
    response = await _ready(service, request)
    status = "ok" if response.status_code == 200 else "not ready"
    return JSONResponse({"unix": time.time(), "status": status}, response.status_code)
