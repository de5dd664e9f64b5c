"""POST /v1/search and the gallery's picture files: words or a picture in, gallery pictures out."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import FileResponse, JSONResponse, Response

from clipworks.errors import ConfigError
from clipworks.search.answer import Ask, Part, answer
from clipworks.search.filters import read_filter
from clipworks.search.library import Library
from clipworks.search.store import Hit, QueryKind, Result
from clipworks.serve.call import Call
from clipworks.serve.inputs import (
    Payload,
    Picture,
    read_choice,
    read_count,
    read_flag,
    read_picture,
    read_text,
)
from clipworks.serve.pictures import picture_address
from clipworks.serve.problems import RequestError, UnavailableError

if TYPE_CHECKING:
    from clipworks.serve.service import Service

DEFAULT_LIMIT = 10
MAX_LIMIT = 100
MAX_CONDITIONS = 16


async def search(call: Call) -> Response:
    """The gallery's pictures nearest to a text or to a picture.

    Raises:
        RequestError: there is no gallery, or a field of the request cannot be used.
        BusyError: a queue is full.
    """
    service, payload = call.service, call.payload
    query = read_query(service, payload)
    assert service.gallery_model is not None
    is_text = isinstance(query, str)
    found, cost_usd = await charged_find(call, query, read_ask(payload))
    return JSONResponse(
        {
            "object": "list",
            "model": service.gallery_model.name,
            "is_relevant": found.is_relevant,
            "threshold": found.threshold,
            "data": [describe(hit, place, found) for place, hit in enumerate(found.hits)],
            "usage": {"images": int(not is_text), "texts": int(is_text), "cost_usd": cost_usd},
        }
    )


def read_query(service: "Service", payload: Payload) -> str | Picture:
    """The fields `text` or `image` of a search, exactly one of them.

    Raises:
        RequestError: both or none is given, it cannot be used, or another model is asked for.
    """
    require_gallery(service)
    assert service.gallery_model is not None
    if payload.get("model") is not None and service.named(payload["model"]) is not service.gallery_model:
        raise RequestError(
            f"The gallery is searched with {service.gallery_model.name}, which made its vectors.",
            "Name that model or none.",
            param="model",
        )
    text, image = payload.get("text"), payload.get("image")
    if (text is None) == (image is None):
        raise RequestError(
            "A search takes either 'text' or 'image'.",
            'For example {"text": "a red apple"}.',
            code="missing_field" if text is None else "invalid_value",
            param="text",
        )
    if text is not None:
        return read_text(text, "text", service.settings.max_text_characters)
    if isinstance(image, list) and len(image) == 1:
        image = image[0]
    return read_picture(image, "image", service.settings)


def read_ask(payload: Payload) -> Ask:
    """The fields `limit`, `where`, `sort`, `relevant_only` and `fold` of a search.

    Raises:
        RequestError: one cannot be used.
    """
    limit = read_count(payload, "limit", DEFAULT_LIMIT, MAX_LIMIT)
    given = payload.get("where")
    conditions = given if isinstance(given, list) else [] if given is None else [given]
    if len(conditions) > MAX_CONDITIONS or not all(isinstance(one, str) for one in conditions):
        raise RequestError(f"where takes up to {MAX_CONDITIONS} conditions, texts.", param="where")
    sort = read_choice(payload, "sort", ("score", "newest", "oldest")) or "score"
    try:
        return Ask(
            limit=limit,
            filters=tuple(read_filter(one) for one in conditions),
            sort=sort,  # type: ignore[arg-type]
            is_cut=bool(read_flag(payload, "relevant_only")),
            is_folded=bool(read_flag(payload, "fold")),
        )
    except ConfigError as error:
        raise RequestError(error.message, error.remedy, param="where") from error


async def charged_find(call: Call, query: str | Picture, ask: Ask) -> tuple[Result, float]:
    """Charge for a query and search the gallery with it; also the cost, US dollars.

    Raises:
        RequestError: as `find`.
        BusyError: as `find`.
        BatchError: as `find`.
    """
    require_gallery(call.service)
    assert call.service.gallery_model is not None
    is_text = isinstance(query, str)
    name = call.service.gallery_model.name
    cost_usd = await call.charge(name, images=int(not is_text), texts=int(is_text))
    return await find(call.service, query, ask), cost_usd


async def find(service: "Service", query: str | Picture, ask: Ask) -> Result:
    """Search the gallery with words or with a picture.

    Raises:
        RequestError: there is no gallery, or the picture cannot be used.
        BusyError: a queue is full.
        BatchError: the engine failed.
    """
    store, model = require_gallery(service), service.gallery_model
    assert model is not None
    kind: QueryKind = "text" if isinstance(query, str) else "image"
    vectors = await (model.embed_texts([query]) if isinstance(query, str) else model.embed_images([query]))
    part = Part(label="the query", vector=vectors[0], kind=kind)
    return await asyncio.to_thread(answer, store, [part], ask)


def describe(hit: Hit, place: int, found: Result) -> dict[str, Any]:
    """One hit as JSON; `path` is the place below the gallery, never one of the server's disk."""
    return {
        "object": "hit",
        "index": place,
        "path": hit.id,
        "score": hit.score,
        "is_relevant": found.counts(hit),
        "caption": hit.caption,
        "licence": hit.licence,
        "author": hit.author,
        "source": hit.source,
        "taken": hit.taken,
        "camera": hit.camera,
        "place": hit.place,
        "tags": list(hit.tags),
        "alike": list(hit.alike),
        "url": picture_address(hit.id),
    }


def picture_path(service: "Service", item_id: str) -> Path:
    """The file of a gallery picture; only what the index lists can be had.

    Raises:
        RequestError: the gallery has no such picture.
    """
    item = require_gallery(service).get(item_id)
    path = Path(item.path) if item is not None else None
    if path is None or not path.is_file():
        raise RequestError("The gallery has no such picture.", code="not_found")
    return path


def gallery_picture(service: "Service", item_id: str) -> Response:
    """GET /gallery/{file}."""
    path = picture_path(service, item_id)
    return FileResponse(path, headers={"cache-control": "public, max-age=86400"})


def require_gallery(service: "Service") -> Library:
    """The gallery that the server was given.

    Raises:
        RequestError: there is none.
        UnavailableError: its model is being loaded.
    """
    if service.gallery is None:
        raise RequestError(
            "This server has no gallery to search.",
            "Start it with one: clipworks serve --index FOLDER.",
            code="no_gallery",
        )
    if service.gallery_model is None:
        raise UnavailableError("The model of the gallery is being loaded.", code="model_loading")
    return service.gallery
