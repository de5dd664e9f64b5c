"""Whether the server is well, and what it does: routes for balancers, monitors and programs."""

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clipworks.serve.endpoints import plain
from clipworks.serve.problems import RequestError
from clipworks.serve.schemas import Schema

if TYPE_CHECKING:
    from clipworks.serve.gate import Gate
    from clipworks.serve.service import Service


def state_routes(service: "Service", gate: "Gate", described: Schema) -> list[Route]:
    """The routes of the state; `described` is the OpenAPI document."""
    return [
        Route("/livez", plain(lambda request: JSONResponse({"status": "alive"})), methods=["GET"]),
        Route("/readyz", partial(_ready, service, gate), methods=["GET"]),
        Route("/health", partial(_health, service, gate), methods=["GET"]),
        Route("/metrics", partial(_metrics, service), methods=["GET"]),
        Route("/openapi.json", plain(lambda request: JSONResponse(described)), methods=["GET"]),
    ]


async def _metrics(service: "Service", request: Request) -> Response:
    if service.settings.metrics_port:
        raise RequestError("The metrics have a port of their own.", code="not_found")
    text, kind = await asyncio.to_thread(service.metrics.render)
    return Response(text, media_type=kind)


async def _ready(service: "Service", gate: "Gate", request: Request) -> Response:
    if service.is_stopping:
        return JSONResponse({"status": "stopping", "models": {}}, 503)
    has_accounts, words = await gate.is_ready(), dict[str, str]()
    is_ready = has_accounts
    for name, model in service.models.items():
        if model.status == "live":
            words[name] = "ready" if await model.is_ready() else "not ready"
        else:
            words[name] = model.status
        # A model that is loaded on first use does not keep requests for the others away.
        passing = {"ready", "idle", "coming_soon", "unloading"}
        if not model.spec.preload:
            passing |= {"loading", "failed"}
        is_ready = is_ready and words[name] in passing
    said: dict[str, object] = {"status": "ready" if is_ready else "not ready", "models": words}
    if service.settings.require_keys:
        said["accounts"] = "ready" if has_accounts else "not ready"
    return JSONResponse(said, 200 if is_ready else 503)


async def _health(service: "Service", gate: "Gate", request: Request) -> Response:
    response = await _ready(service, gate, request)
    status = "ok" if response.status_code == 200 else "not ready"
    return JSONResponse({"unix": time.time(), "status": status}, response.status_code)
