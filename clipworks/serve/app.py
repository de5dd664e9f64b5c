"""The application: every route in one list.

`create_app` is given engines and a gallery, `create_service_app` a service whose models may still have to
be loaded; building and loading engines is the command line's work.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from clipworks.errors import ClipworksError
from clipworks.model.measured import read_measured
from clipworks.net import Fetcher
from clipworks.search.library import Library
from clipworks.serve.admin import Admin
from clipworks.serve.billing import Billing
from clipworks.serve.classify import classify, similarity
from clipworks.serve.database import open_database
from clipworks.serve.dialects import cohere, huggingface, knn, rerank, tei, vllm, voyage
from clipworks.serve.edge import Edge
from clipworks.serve.embeddings import FIELDS as EMBEDDINGS_FIELDS
from clipworks.serve.embeddings import describe, embeddings, list_models
from clipworks.serve.endpoints import plain, work_endpoint
from clipworks.serve.fleet import Fleet, fleet_of_engines
from clipworks.serve.gate import Gate, OpenGate
from clipworks.serve.guard import Guard
from clipworks.serve.heatmap import heatmap
from clipworks.serve.hits import gallery_picture, search
from clipworks.serve.key_gate import KeyGate
from clipworks.serve.logs import start_logging
from clipworks.serve.oidc import OpenId
from clipworks.serve.openapi import document
from clipworks.serve.prices import Prices, read_prices
from clipworks.serve.questions import FIELDS as SEARCH_FIELDS
from clipworks.serve.schemas import Schema
from clipworks.serve.server import serve_app
from clipworks.serve.service import Service
from clipworks.serve.settings import ServeSettings
from clipworks.serve.shelf import Shelf
from clipworks.serve.site.account_page import AccountPage
from clipworks.serve.site.catalogue import Catalogue
from clipworks.serve.site.catalogue_page import CataloguePage
from clipworks.serve.site.compare_page import ComparePage
from clipworks.serve.site.docs_pages import DocsPages
from clipworks.serve.site.keys_page import KeysPage
from clipworks.serve.site.layout import STATIC, Layout
from clipworks.serve.site.model_page import ModelPage
from clipworks.serve.site.operator_models import OperatorModels
from clipworks.serve.site.operator_page import OperatorPage
from clipworks.serve.site.paid_search import PaidSearch
from clipworks.serve.site.people import People
from clipworks.serve.site.playground_page import PlaygroundPage
from clipworks.serve.site.problem_page import ProblemPage
from clipworks.serve.site.search_page import SearchPage
from clipworks.serve.site.sign_in_page import SignInPage
from clipworks.serve.site.single_sign_on import SingleSignOn
from clipworks.serve.site.usage_page import UsagePage
from clipworks.serve.site.wishes_page import WishesPage
from clipworks.serve.state import state_routes
from clipworks.serve.traces import SpanSink

if TYPE_CHECKING:
    from clipworks.model.engine import Engine

CLASSIFY_FIELDS = ("input", "model", "labels", "templates")
SIMILARITY_FIELDS = ("images", "model", "texts")
HEATMAP_FIELDS = ("image", "model", "text", "texts", "templates")
"""The fields that a route takes; files and raw picture bodies become the first one."""


def create_app(
    settings: ServeSettings,
    engines: "Mapping[str, Engine]",
    gallery: Library | None = None,
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
    service = Service(settings, fleet_of_engines(settings, engines, web), gallery)
    return create_service_app(service, gate=gate, spans=spans)


def create_service_app(
    service: Service, *, gate: Gate | None = None, spans: SpanSink | None = None
) -> Starlette:
    """The ASGI application of a service whose models may still have to be loaded.

    Args:
        service: settings, models and gallery; its lanes run while the application does.
        gate: who is let in; None for what the settings ask for: who has a key, or everybody.
        spans: hears of every request that is over; None for nobody.

    Raises:
        ConfigError: keys are asked for, and the database or the prices cannot be used.
    """
    settings = service.settings
    prices = read_prices(Path(settings.prices) if settings.prices else None)
    gate = gate or _gate(settings, prices)
    keyed = gate if isinstance(gate, KeyGate) else None
    shelf = Shelf(service, keyed.prices if keyed else prices, keyed.books if keyed else None)
    measured = read_measured(Path(settings.results)) if settings.results else ()
    catalogue = Catalogue(service, keyed.prices if keyed else prices, measured)
    layout, described = Layout(settings), document(settings)
    problems = ProblemPage(layout)
    problems.routes = [
        *_work_routes(service),
        *_dialect_routes(service),
        *_account_routes(Billing(keyed), Admin(keyed)),
        *state_routes(service, gate, described),
        Route("/gallery/{id:path}", partial(_one_picture, service), methods=["GET"]),
        *_pages(service, keyed, layout, catalogue, shelf, described),
    ]
    app = Starlette(
        routes=problems.routes,
        middleware=[
            Middleware(
                Edge,
                hosts=settings.host_names(),
                metrics=service.metrics,
                answer=problems.answer,
                spans=spans,
            ),
            Middleware(
                Guard,
                gate=gate,
                answer=problems.answer,
                visitors=keyed.visitors if keyed is not None else None,
            ),
        ],
        exception_handlers={ClipworksError: problems.answer, HTTPException: problems.answer},
        lifespan=partial(_life, service, gate, shelf, spans),
    )
    app.state.service = service
    return app


def run(
    settings: ServeSettings,
    fleet: Fleet,
    gallery: Library | None = None,
    *,
    on_ready: Callable[[str], None] | None = None,
    spans: SpanSink | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; requests in work are finished first.

    SIGTERM leaves time for whoever sends requests here to notice: `/readyz` says 503 at once, and for
    `drain_seconds` the server still takes what comes. Then the process ends with 0.
    The port is open while models are still loaded: `/livez` answers, `/readyz` says what is missing.

    Args:
        settings: where to listen and how much to take on.
        fleet: the models.
        gallery: pictures to search, embedded by one of the models.
        on_ready: called once with the address, such as "http://127.0.0.1:8000", when all models that
            are loaded at start answer.
        spans: hears of every request that is over; None for nobody.

    Raises:
        ConfigError: the port is taken, or the gallery is of none of the models.
        ClipworksError: a model cannot be loaded at start.
        KeyboardInterrupt: the server was stopped with Ctrl-C, after it has finished.
    """
    start_logging(settings.log_format)
    service = Service(settings, fleet, gallery)
    app = create_service_app(service, spans=spans)
    serve_app(app, service, on_ready)


def _work_routes(service: Service) -> list[Route]:
    api = partial(work_endpoint, service)
    return [
        Route("/v1/models", plain(lambda request: list_models(service)), methods=["GET"]),
        Route("/v1/models/{id:path}", plain(partial(_one_model, service)), methods=["GET"]),
        Route("/v1/embeddings", api(embeddings, EMBEDDINGS_FIELDS), methods=["POST"]),
        Route("/v1/classify", api(classify, CLASSIFY_FIELDS), methods=["POST"]),
        Route("/v1/similarity", api(similarity, SIMILARITY_FIELDS), methods=["POST"]),
        Route("/v1/heatmap", api(heatmap, HEATMAP_FIELDS), methods=["POST"]),
        Route("/v1/search", api(search, SEARCH_FIELDS), methods=["POST"]),
    ]


def _dialect_routes(service: Service) -> list[Route]:
    """The addresses of other families of clients."""
    api = partial(work_endpoint, service)
    return [
        Route("/embeddings", api(embeddings, EMBEDDINGS_FIELDS), methods=["POST"]),
        Route("/pooling", api(vllm.pooling, EMBEDDINGS_FIELDS), methods=["POST"]),
        Route("/classify", api(vllm.classify, vllm.CLASSIFY_FIELDS), methods=["POST"]),
        Route("/score", api(rerank.score, rerank.SCORE_FIELDS), methods=["POST"]),
        Route("/v1/score", api(rerank.score, rerank.SCORE_FIELDS), methods=["POST"]),
        Route("/rerank", api(rerank.rerank, rerank.FIELDS), methods=["POST"]),
        Route("/v1/rerank", api(rerank.rerank, rerank.FIELDS), methods=["POST"]),
        Route("/v2/rerank", api(rerank.rerank, rerank.FIELDS), methods=["POST"]),
        Route("/v1/embed", api(cohere.embed_v1, cohere.FIELDS), methods=["POST"]),
        Route("/v2/embed", api(cohere.embed_v2, cohere.FIELDS), methods=["POST"]),
        Route("/v1/multimodalembeddings", api(voyage.multimodal, voyage.FIELDS), methods=["POST"]),
        Route("/embed", api(tei.embed, tei.EMBED_FIELDS), methods=["POST"]),
        Route("/similarity", api(tei.similarity, tei.SIMILARITY_FIELDS), methods=["POST"]),
        Route("/info", partial(_info, service), methods=["GET"]),
        Route(
            "/models/{model:path}",
            api(huggingface.any_task, huggingface.FIELDS),
            methods=["POST"],
        ),
        Route(
            "/hf/{model:path}/{task}",
            api(huggingface.named_task, huggingface.FIELDS),
            methods=["POST"],
        ),
        Route("/knn-service", api(knn.knn_service, knn.KNN_FIELDS), methods=["POST"]),
        Route("/metadata", api(knn.metadata, knn.METADATA_FIELDS), methods=["POST"]),
        Route("/indices-list", plain(lambda request: knn.indices_list(service)), methods=["GET"]),
    ]


def _pages(
    service: Service,
    gate: KeyGate | None,
    layout: Layout,
    catalogue: Catalogue,
    shelf: Shelf,
    described: Schema,
) -> list[Route | Mount]:
    """The routes of all pages.

    Args:
        service: models and gallery.
        gate: accounts; None on a server without.
        layout: the frame.
        catalogue: what is known of models.
        shelf: what the operator and the accounts say of them.
        described: the OpenAPI document.
    """
    search_page = SearchPage(service, layout)
    paid = PaidSearch(service, gate, search_page, layout) if gate is not None else search_page
    playground = PlaygroundPage(service, layout, search_page.sample_pictures)
    docs = DocsPages(layout, described)
    return [
        Route("/", paid.show, methods=["GET"]),
        Route("/", paid.show_similar, methods=["POST"]),
        Route("/playground", playground.show, methods=["GET"]),
        Route("/playground", playground.answer, methods=["POST"]),
        Route("/docs", docs.first, methods=["GET"]),
        Route("/docs/api", docs.api, methods=["GET"]),
        Route("/docs/{page}", docs.page, methods=["GET"]),
        *_model_pages(service, layout, catalogue, shelf),
        *(_people_pages(service, gate, layout, catalogue, shelf) if gate is not None else ()),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]


def _model_pages(service: Service, layout: Layout, catalogue: Catalogue, shelf: Shelf) -> list[Route]:
    """The catalogue, and what accounts and the operator say of its models."""
    models_page = CataloguePage(service, layout, catalogue, shelf)
    return [
        Route("/models", models_page.show, methods=["GET"]),
        Route("/models.json", models_page.machine_list, methods=["GET"]),
        Route("/llms.txt", models_page.llms, methods=["GET"]),
        Route("/models/{model:path}", ModelPage(service, layout, catalogue, shelf).show, methods=["GET"]),
        Route("/compare", ComparePage(service, layout, catalogue, shelf).show, methods=["GET"]),
    ]


def _people_pages(
    service: Service, gate: KeyGate, layout: Layout, catalogue: Catalogue, shelf: Shelf
) -> list[Route]:
    """Signing in, and the pages of who is signed in."""
    people = People(gate, layout)
    door, account = SignInPage(gate, layout), AccountPage(people, service)
    keys, usage = KeysPage(people, service), UsagePage(people, service)
    operator = OperatorPage(people, service)
    wishes, models = WishesPage(people, catalogue, shelf), OperatorModels(people, catalogue, shelf)
    elsewhere: list[Route] = []
    if service.settings.oidc_issuer:
        sso = SingleSignOn(gate, layout, door, OpenId(service.settings))
        elsewhere = [
            Route("/sign-in/oidc", sso.leave, methods=["GET"]),
            Route("/sign-in/oidc/back", sso.come_back, methods=["GET"]),
        ]
    return [
        *elsewhere,
        Route("/sign-in", door.sign_in, methods=["GET", "POST"]),
        Route("/sign-up", door.sign_up, methods=["GET", "POST"]),
        Route("/sign-out", door.sign_out, methods=["POST"]),
        Route("/account", account.overview, methods=["GET"]),
        Route("/account/pages-key", account.renew_pages_key, methods=["POST"]),
        Route("/account/keys", keys.show, methods=["GET"]),
        Route("/account/keys", keys.create, methods=["POST"]),
        Route("/account/keys/{id}/rotate", keys.rotate, methods=["POST"]),
        Route("/account/keys/{id}/revoke", keys.revoke, methods=["POST"]),
        Route("/account/usage", usage.usage, methods=["GET"]),
        Route("/account/usage.csv", usage.csv, methods=["GET"]),
        Route("/account/prices", usage.prices, methods=["GET"]),
        Route("/account/settings", account.settings, methods=["GET"]),
        Route("/account/password", account.change_password, methods=["POST"]),
        Route("/account/sign-out", account.end_sessions, methods=["POST"]),
        Route("/account/close", account.close, methods=["POST"]),
        Route("/account/wishes", wishes.show, methods=["GET"]),
        Route("/account/wishes", wishes.vote, methods=["POST"]),
        Route("/operator", operator.accounts, methods=["GET"]),
        Route("/operator/accounts/{id}", operator.account, methods=["GET"]),
        Route("/operator/accounts/{id}/grant", operator.grant, methods=["POST"]),
        Route("/operator/accounts/{id}/adjust", operator.adjust, methods=["POST"]),
        Route("/operator/accounts/{id}/keys/{key}/revoke", operator.revoke, methods=["POST"]),
        Route("/operator/ledger", operator.ledger, methods=["GET"]),
        Route("/operator/health", operator.health, methods=["GET"]),
        Route("/operator/models", models.show, methods=["GET"]),
        Route("/operator/models", models.change, methods=["POST"]),
    ]


def _account_routes(billing: Billing, admin: Admin) -> list[Route]:
    return [
        Route("/v1/usage", billing.usage, methods=["GET"]),
        Route("/v1/credits", billing.credits, methods=["GET"]),
        Route("/v1/key", billing.key, methods=["GET"]),
        Route("/v1/admin/accounts", admin.accounts, methods=["GET", "POST"]),
        Route("/v1/admin/accounts/{id:path}/grants", admin.grant, methods=["POST"]),
        Route("/v1/admin/accounts/{id:path}/adjustments", admin.adjust, methods=["POST"]),
        Route("/v1/admin/accounts/{id:path}", admin.account, methods=["GET"]),  # a name may hold a slash
        Route("/v1/admin/keys", admin.keys, methods=["GET", "POST"]),
        Route("/v1/admin/keys/{id:path}/rotate", admin.rotate, methods=["POST"]),
        Route("/v1/admin/keys/{id:path}", admin.key, methods=["GET", "DELETE"]),
    ]


def _gate(settings: ServeSettings, prices: Prices) -> Gate:
    if not settings.require_keys:
        return OpenGate()
    return KeyGate(open_database(settings.database), prices, settings)


@asynccontextmanager
async def _life(
    service: Service, gate: Gate, shelf: Shelf, spans: SpanSink | None, _: Starlette
) -> AsyncIterator[None]:
    """The gate and the service run; beside them the metrics' own port and the spans, where there are some."""
    async with gate.running(), shelf.running(), service.running():
        with ExitStack() as others:
            watching = asyncio.ensure_future(service.metrics.minutes.watch(service.fleet.answering))
            others.callback(watching.cancel)
            if service.settings.metrics_port:
                others.enter_context(service.metrics.served_on(service.settings.metrics_port))
            if spans is not None:
                others.callback(spans.close)
            yield


def _one_model(service: Service, request: Request) -> Response:
    return JSONResponse(describe(service, service.listed(request.path_params["id"])))


async def _info(service: Service, request: Request) -> Response:
    return await tei.info(service, dict(request.query_params))


async def _one_picture(service: Service, request: Request) -> Response:
    side = request.query_params.get("side", "")
    is_number = side.isascii() and side.isdecimal() and len(side) < 6
    return await gallery_picture(service, request.path_params["id"], int(side) if is_number else None)
