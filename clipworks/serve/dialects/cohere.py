"""POST /v1/embed and /v2/embed in Cohere's shape."""

import asyncio
from typing import Any

from starlette.responses import JSONResponse, Response

from clipworks.serve.call import Call
from clipworks.serve.dialects.rerank import billed_units
from clipworks.serve.embeddings import embed_items
from clipworks.serve.inputs import Payload, read_choice
from clipworks.serve.items import Item, reader
from clipworks.serve.outputs import check_dimensions, encode, read_forms
from clipworks.serve.problems import RequestError
from clipworks.serve.settings import ServeSettings

FIELDS = (
    *("images", "texts", "inputs", "model", "input_type", "embedding_types"),
    *("output_dimension", "truncate", "max_tokens", "priority", "fusion"),
)
"""Fields of an embed request."""

_MODALITIES = {"images": "image", "texts": "text", "inputs": None}


async def embed_v2(call: Call) -> Response:
    """Vectors by type, in the order of the request.

    Raises:
        RequestError: a field or an item of the request cannot be used.
        BusyError: a queue is full.
    """
    return await _embed(call, "2")


async def embed_v1(call: Call) -> Response:
    """As `embed_v2`; texts without `embedding_types` give a bare list of vectors.

    Raises:
        RequestError: a field or an item of the request cannot be used.
        BusyError: a queue is full.
    """
    return await _embed(call, "1")


async def _embed(call: Call, version: str) -> Response:
    payload = call.payload
    model = call.service.model(payload)
    forms = read_forms(payload, "embedding_types")
    check_dimensions(payload, "output_dimension", (await model.live()).dim)
    cuts_texts = read_choice(payload, "truncate", ("END", "NONE")) != "NONE"
    field, items = _read(payload, call.service.settings)
    embedded = await embed_items(call, model, items, cuts_texts=cuts_texts)
    columns = await asyncio.to_thread(lambda: {form.name: encode(embedded.vectors, form) for form in forms})
    is_bare = version == "1" and field == "texts" and payload.get("embedding_types") is None
    body: dict[str, Any] = {
        "id": call.request_id,
        "embeddings": columns["float"] if is_bare else columns,
        "texts": [item for item in items if isinstance(item, str)],
        "meta": {"api_version": {"version": version}, "billed_units": billed_units(embedded)},
        "response_type": "embeddings_floats" if is_bare else "embeddings_by_type",
    }
    return JSONResponse(body)


def _read(payload: Payload, settings: ServeSettings) -> tuple[str, list[Item]]:
    given = [name for name in _MODALITIES if payload.get(name) is not None]
    if len(given) != 1:
        raise RequestError(
            f"The request has {' and '.join(given) or 'neither texts nor images'}; it takes one of "
            f"{', '.join(_MODALITIES)}.",
            code="invalid_value" if given else "missing_field",
            param=given[1] if given else "texts",
        )
    (field,) = given
    values = payload[field]
    if not isinstance(values, list):
        raise RequestError(f"{field} must be a list.", param=field)
    read = reader({**payload, "modality": _MODALITIES[field]}, settings)
    return field, read.read_all(values, field)
