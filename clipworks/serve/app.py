"""The application: every route in one list, and the process that serves it.

`create_app` is given engines and a gallery; building and loading them is the command line's work.
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
from clipworks.serve.dialects import cohere, huggingface, knn, rerank, tei, vllm, voyage
from clipworks.serve.edge import Edge, log_failure, request_id
from clipworks.serve.embeddings import FIELDS as EMBEDDINGS_FIELDS
from clipworks.serve.embeddings import describe, embeddings, list_models
from clipworks.serve.hits import gallery_picture, search
from clipworks.serve.pages import STATIC, Pages
from clipworks.serve.problems import ErrorShape, problem, status_and_code
from clipworks.serve.service import Service
from clipworks.serve.settings import ServeSettings

if TYPE_CHECKING:
    from clipworks.model.engine import Engine

CLASSIFY_FIELDS = ("input", "model", "labels", "templates")
SIMILARITY_FIELDS = ("images", "model", "texts")
SEARCH_FIELDS = ("image", "model", "text", "limit")
"""The fields that a route takes; files and raw picture bodies become the first one."""

Endpoint = Callable[[Request], Awaitable[Response]]
Answer = Callable[[Call], Awaitable[Response]]
Api = Callable[[Answer, tuple[str, ...], ErrorShape], Endpoint]
"""An answer, the fields it takes and the shape of its errors -> an endpoint."""


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
    service = Service(settings, engines, gallery)
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
            Route("/v1/embeddings", api(embeddings, EMBEDDINGS_FIELDS, "detail"), methods=["POST"]),
            Route("/v1/classify", api(classify, CLASSIFY_FIELDS, "openai"), methods=["POST"]),
            Route("/v1/similarity", api(similarity, SIMILARITY_FIELDS, "openai"), methods=["POST"]),
            Route("/v1/search", api(search, SEARCH_FIELDS, "openai"), methods=["POST"]),
            *_dialect_routes(service, api),
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
    engines: "Mapping[str, Engine]",
    gallery: VectorStore | None = None,
    *,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; requests in work are finished first.

    Args:
        settings: where to listen and how much to take on.
        engines: model id -> engine.
        gallery: pictures to search, embedded by one of the engines.
        on_ready: called once with the address, such as "http://127.0.0.1:8000", when it answers.

    Raises:
        ConfigError: the port is taken, or what `create_app` refuses.
        KeyboardInterrupt: the server was stopped with Ctrl-C, after it has finished.
    """
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    app = create_app(settings, engines, gallery)
    with _listen(settings.host, settings.port) as listener:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=max(1, round(settings.shutdown_seconds)),
        )
        server = _Server(config, partial(on_ready, _address(listener)) if on_ready else None)
        server.run(sockets=[listener])


def _dialect_routes(service: Service, api: Api) -> list[Route]:
    """The addresses of other families of clients."""
    return [
        Route("/models", _plain(lambda request: list_models(service, hidden="owned_by")), methods=["GET"]),
        Route("/embeddings", api(embeddings, EMBEDDINGS_FIELDS, "detail"), methods=["POST"]),
        Route("/pooling", api(vllm.pooling, EMBEDDINGS_FIELDS, "openai"), methods=["POST"]),
        Route("/classify", api(vllm.classify, vllm.CLASSIFY_FIELDS, "openai"), methods=["POST"]),
        Route("/score", api(rerank.score, rerank.SCORE_FIELDS, "openai"), methods=["POST"]),
        Route("/v1/score", api(rerank.score, rerank.SCORE_FIELDS, "openai"), methods=["POST"]),
        Route("/rerank", api(rerank.rerank, rerank.FIELDS, "detail"), methods=["POST"]),
        Route("/v1/rerank", api(rerank.rerank, rerank.FIELDS, "detail"), methods=["POST"]),
        Route("/v2/rerank", api(rerank.rerank, rerank.FIELDS, "message"), methods=["POST"]),
        Route("/v1/embed", api(cohere.embed_v1, cohere.FIELDS, "message"), methods=["POST"]),
        Route("/v2/embed", api(cohere.embed_v2, cohere.FIELDS, "message"), methods=["POST"]),
        Route("/v1/multimodalembeddings", api(voyage.multimodal, voyage.FIELDS, "detail"), methods=["POST"]),
        Route("/embed", api(tei.embed, tei.EMBED_FIELDS, "tei"), methods=["POST"]),
        Route("/similarity", api(tei.similarity, tei.SIMILARITY_FIELDS, "tei"), methods=["POST"]),
        Route("/info", _plain(partial(_info, service)), methods=["GET"]),
        Route(
            "/models/{model:path}",
            api(huggingface.any_task, huggingface.FIELDS, "huggingface"),
            methods=["POST"],
        ),
        Route(
            "/hf/{model:path}/{task}",
            api(huggingface.named_task, huggingface.FIELDS, "huggingface"),
            methods=["POST"],
        ),
        Route("/knn-service", api(knn.knn_service, knn.KNN_FIELDS, "message"), methods=["POST"]),
        Route("/metadata", api(knn.metadata, knn.METADATA_FIELDS, "message"), methods=["POST"]),
        Route("/indices-list", _plain(lambda request: knn.indices_list(service)), methods=["GET"]),
    ]


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it answers."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then call `on_ready`."""
        await super().startup(sockets)
        if self.started and self._on_ready is not None:
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


def _api(
    service: Service, gate: Gate, answer: Answer, fields: tuple[str, ...], shape: ErrorShape
) -> Endpoint:
    """An endpoint that reads a payload; its work is given up when the client goes away."""

    async def endpoint(request: Request) -> Response:
        request.state.error_shape = shape
        caller = await gate.admit(request, "inference")
        async with service.admission():
            payload = await read_payload(request, service.settings, fields=fields)
            payload |= request.path_params
            call = Call(service, payload, caller, request_id=request_id(request))
            work = asyncio.ensure_future(answer(call))
            gone = asyncio.ensure_future(_disconnected(request))
            try:
                await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
                if not work.done():
                    return Response(status_code=499)  # nobody reads it
                response = work.result()
                await call.settle()
                return response
            finally:
                work.cancel()
                gone.cancel()
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
    if status_and_code(error)[0] >= 500:
        log_failure(error, request_id(request))
    return problem(error, request_id(request), getattr(request.state, "error_shape", "openai"))


def _one_model(service: Service, request: Request) -> Response:
    return JSONResponse(describe(service, service.named(request.path_params["id"])))


def _info(service: Service, request: Request) -> Response:
    return tei.info(service, dict(request.query_params))


def _one_picture(service: Service, request: Request) -> Response:
    return gallery_picture(service, request.path_params["id"])


async def _ready(service: Service, request: Request) -> Response:
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
