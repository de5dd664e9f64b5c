"""POST /v1/embeddings for texts and pictures, and the model list of the OpenAI API."""

import asyncio
import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.responses import JSONResponse, Response

from clipworks.model.heads import Vectors
from clipworks.serve.bodies import Payload
from clipworks.serve.calls import Call
from clipworks.serve.inputs import Picture, read_items
from clipworks.serve.problems import RequestError, shown
from clipworks.serve.served import ServedModel, Tokens, num_tokens

if TYPE_CHECKING:
    from clipworks.serve.service import Service


_ROWS_RENDERED_AT_ONCE = 8
"""A thread would cost more than writing this many vectors."""


async def embeddings(call: Call) -> Response:
    """Vectors for any mix of texts and pictures, in the order of `input`.

    Raises:
        RequestError: a field or an item of the request cannot be used.
        BusyError: a queue is full.
    """
    service, payload = call.service, call.payload
    model = service.model(payload)
    encoding = _read_encoding(payload)
    items = read_items(payload, service.settings)
    texts = [item for item in items if isinstance(item, str)]
    cost_usd = await call.charge(model.name, images=len(items) - len(texts), texts=len(texts))
    tokens = await model.tokenize(texts)
    vectors = await embed(model, items, tokens)
    count = num_tokens(tokens) if texts else 0
    usage = {
        "prompt_tokens": count,
        "total_tokens": count,
        "images": len(items) - len(texts),
        "cost_usd": cost_usd,
    }
    if len(items) <= _ROWS_RENDERED_AT_ONCE:
        return _render(model.name, vectors, encoding, usage)
    return await asyncio.to_thread(_render, model.name, vectors, encoding, usage)


async def embed(model: ServedModel, items: Sequence[str | Picture], tokens: Tokens | None = None) -> Vectors:
    """float32 [N, D], one unit row per item, in order.

    Args:
        tokens: rows of the texts among the items, in order, where they are known already.

    Raises:
        RequestError: a picture cannot be used.
        BusyError: a queue is full.
        UnavailableError: the model is not loaded in time, or its worker died.
        BatchError: the engine failed.
    """
    pictures = [item for item in items if isinstance(item, Picture)]
    texts = [item for item in items if isinstance(item, str)]
    parts = []
    if pictures:
        parts.append(await model.embed_images(pictures))
    if texts:
        parts.append(await model.embed_tokens(await model.tokenize(texts) if tokens is None else tokens))
    places = np.argsort([isinstance(item, str) for item in items], kind="stable")
    vectors = np.empty((len(items), model.engine.dim), dtype=np.float32)
    vectors[places] = np.concatenate(parts)
    return vectors


def list_models(service: "Service") -> Response:
    """GET /v1/models."""
    rows = [describe(service, model) for model in service.models.values()]
    return JSONResponse({"object": "list", "data": rows})


def describe(service: "Service", model: ServedModel) -> dict[str, Any]:
    """One row of the model list: OpenAI's four fields, then ours."""
    spec, facts = model.spec, model.facts
    row: dict[str, Any] = {
        "id": model.name,
        "object": "model",
        "created": service.created_at,
        "owned_by": "clipworks",
        "status": "deprecated" if spec.status == "deprecated" else model.state,
    }
    if spec.aliases:
        row["aliases"] = list(spec.aliases)
    if spec.shutdown_date is not None:
        row["shutdown_date"] = spec.shutdown_date.isoformat()
    if facts is None:
        return row
    return {
        **row,
        "dim": facts.dim,
        "image_size": facts.image_size,
        "context_length": facts.config.text.context_length,
        "precision": facts.precision,
        "fingerprint": facts.fingerprint,
        "logit_scale": facts.logit_scale,
    }


def _read_encoding(payload: Payload) -> str:
    if payload.get("dimensions"):  # 0 means "all of them" to some clients
        raise RequestError(
            f"dimensions is {shown(payload['dimensions'])}; a CLIP vector cannot be shortened.",
            "Leave the field out.",
            param="dimensions",
        )
    encoding = payload.get("encoding_format")
    if encoding not in (None, "float", "base64"):
        raise RequestError(
            f"encoding_format is {shown(encoding)}; it must be float or base64.", param="encoding_format"
        )
    return "float" if encoding is None else str(encoding)


def _render(name: str, vectors: Vectors, encoding: str, usage: dict[str, float]) -> Response:
    rows = [
        {"object": "embedding", "index": i, "embedding": _encoded(vector, encoding)}
        for i, vector in enumerate(vectors)
    ]
    return JSONResponse({"object": "list", "data": rows, "model": name, "usage": usage})


def _encoded(vector: Vectors, encoding: str) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    numbers: list[float] = vector.tolist()
    return numbers
