"""POST /v1/embeddings for texts and pictures, and the model list of the OpenAI API.

The clients of OpenAI, vLLM, Infinity, Jina and Voyage (texts) meet on this one address; each finds its own
fields here. `embed_items` is what every other family's route does its work with.
"""

import asyncio
import datetime
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.responses import JSONResponse, Response

from clipworks.model.heads import Vectors
from clipworks.model.tokenizer import encode as encode_text
from clipworks.model.tokenizer import num_tokens
from clipworks.serve.call import Call
from clipworks.serve.inputs import Payload, Picture, read_flag
from clipworks.serve.items import Item, parts_of, read_input, read_messages
from clipworks.serve.losses import Losses
from clipworks.serve.outputs import Form, check_dimensions, encode, read_form, read_forms
from clipworks.serve.problems import RequestError, described, shown

if TYPE_CHECKING:
    from clipworks.serve.served import ServedModel, Tokens
    from clipworks.serve.service import Service

_ROWS_RENDERED_AT_ONCE = 8
"""A thread would cost more than writing this many vectors."""

FIELDS = (
    *("input", "model", "encoding_format", "dimensions", "modality", "user"),
    *("messages", "fusion", "on_error", "output_dtype", "output_dimension", "input_type", "truncation"),
    *("embedding_type", "normalized", "task", "truncate"),
)
"""Fields of /v1/embeddings: OpenAI's and Infinity's; vLLM's, ours and Voyage's; Jina's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedded:
    """The vectors of a request's items, and what they cost."""

    vectors: Vectors
    """float32 [N, D], one unit row per item, in order; zeros for an item in `failures`."""
    failures: dict[int, RequestError]
    """Place of an item without a vector -> why."""
    num_images: int
    """Pictures that were charged."""
    num_texts: int
    """Texts that were charged."""
    num_tokens: int
    """Tokens of these texts."""
    cost_usd: float
    """What the request costs, US dollars."""

    def usage(self) -> dict[str, float]:
        """The `usage` of an answer in the shape of OpenAI."""
        return {
            "prompt_tokens": self.num_tokens,
            "total_tokens": self.num_tokens,
            "images": self.num_images,
            "cost_usd": self.cost_usd,
        }


async def embeddings(call: Call) -> Response:
    """Vectors for any mix of texts and pictures, in the order of `input`.

    Raises:
        RequestError: a field or an item of the request cannot be used.
        BusyError: a queue is full.
    """
    model = call.service.model(call.payload)
    forms = read_forms_of(call.payload, (await model.live()).dim)
    embedded = await embed_request(call, model)
    if len(embedded.vectors) <= _ROWS_RENDERED_AT_ONCE:
        return render(call, model.name, embedded, forms, "embedding")
    return await asyncio.to_thread(render, call, model.name, embedded, forms, "embedding")


async def embed_request(call: Call, model: "ServedModel") -> Embedded:
    """The vectors of `input` or `messages`.

    Raises:
        RequestError: both or none is there, or an item of it cannot be used.
        BusyError: a queue is full.
    """
    payload = call.payload
    if payload.get("messages") is None:
        items = read_input(payload, call.service.settings)
    elif payload.get("input") is None:
        items = read_messages(payload, call.service.settings)
    else:
        raise RequestError("A request has 'input' or 'messages', not both.", param="messages")
    goes_on = payload.get("on_error") == "null"
    return await embed_items(call, model, items, goes_on=goes_on, cuts_texts=_cuts_texts(payload))


async def embed_items(
    call: Call, model: "ServedModel", items: Sequence[Item], *, goes_on: bool = False, cuts_texts: bool = True
) -> Embedded:
    """Charge for items and embed them.

    Args:
        goes_on: whether items that cannot be used are left without a vector and without a charge; else the
            first of them is raised.
        cuts_texts: whether a text that is longer than the model reads is cut at its end; else it is refused.

    Raises:
        RequestError: an item cannot be used.
        BusyError: a queue is full.
        BatchError: the engine failed.
    """
    failures = {i: item for i, item in enumerate(items) if isinstance(item, RequestError)}
    parts = [part for item in items for part in parts_of(item)]
    owners = [i for i, item in enumerate(items) for _ in parts_of(item)]
    facts = await model.live()
    if not cuts_texts:
        await asyncio.to_thread(_refuse_long_texts, parts, facts.context_length)
    cost_usd = await _charge(call.charge, model, parts) if parts else 0.0
    tokens = await model.tokenize([part for part in parts if isinstance(part, str)])
    lost: Losses = {}
    vectors_PD = await embed(model, parts, tokens, lost if goes_on else None)
    vectors_ND = vectors_PD if owners == list(range(len(items))) else _means(vectors_PD, owners, len(items))
    if lost:
        failures |= {owners[place]: error for place, error in reversed(lost.items())}
        parts = [part for part, owner in zip(parts, owners, strict=True) if owner not in failures]
        vectors_ND[list(failures)] = 0.0
        tokens = await model.tokenize([part for part in parts if isinstance(part, str)])
        cost_usd = await _charge(call.recharge, model, parts)
    texts = [part for part in parts if isinstance(part, str)]
    return Embedded(
        vectors=vectors_ND,
        failures=failures,
        num_images=len(parts) - len(texts),
        num_texts=len(texts),
        num_tokens=num_tokens(tokens) if texts else 0,
        cost_usd=cost_usd,
    )


async def embed(
    model: "ServedModel",
    items: Sequence[str | Picture],
    tokens: "Tokens | None" = None,
    losses: Losses | None = None,
) -> Vectors:
    """float32 [N, D], one unit row per item, in order.

    Args:
        tokens: rows of the texts among the items, in order, where they are known already.
        losses: where given, an item that cannot be used is noted there and has a row of zeros.

    Raises:
        RequestError: a picture cannot be used.
        BusyError: a queue is full.
        UnavailableError: the model is not loaded in time, or its worker died.
        BatchError: the engine failed.
    """
    pictures = {place: item for place, item in enumerate(items) if isinstance(item, Picture)}
    texts = {place: item for place, item in enumerate(items) if isinstance(item, str)}
    lost: tuple[Losses | None, Losses | None] = (None, None) if losses is None else ({}, {})
    found: list[tuple[dict[int, Any], Vectors, Losses | None]] = []
    if pictures:
        found.append((pictures, await model.embed_images([*pictures.values()], lost[0]), lost[0]))
    if texts:
        found.append((texts, await model.embed_texts([*texts.values()], tokens, lost[1]), lost[1]))
    vectors = np.empty((len(items), model.engine.dim), dtype=np.float32)
    for items_of_kind, rows, lost_of_kind in found:
        places = list(items_of_kind)
        vectors[places] = rows
        if losses is not None:
            losses.update({places[i]: error for i, error in (lost_of_kind or {}).items()})
    return vectors


def check_normalized(payload: Payload, field: str) -> None:
    """Whether unit length is what is asked for; the vectors have no other.

    Raises:
        RequestError: the field is false, or no flag.
    """
    if read_flag(payload, field) is False:
        raise RequestError(
            f"{field} is false, and vectors here have unit length.", "Leave the field out.", param=field
        )


def read_forms_of(payload: Payload, dim: int) -> list[Form]:
    """How the vectors of a request are wanted, by the fields of every family.

    Args:
        dim: numbers in a vector of the model.

    Raises:
        RequestError: fewer numbers, no unit length or an unknown form is asked for, or one of two ways.
    """
    check_dimensions(payload, "dimensions", dim)
    check_dimensions(payload, "output_dimension", dim)
    check_normalized(payload, "normalized")
    if payload.get("embedding_type") is None:
        return [read_form(payload)]
    if payload.get("output_dtype") is not None:
        raise RequestError("embedding_type and output_dtype say the same.", param="embedding_type")
    return read_forms(payload, "embedding_type")


def render(call: Call, name: str, embedded: Embedded, forms: list[Form], key: str) -> Response:
    """OpenAI's list object.

    Args:
        name: id of the model.
        forms: of several, all but the first stand under `embeddings` only.
        key: the name of the vector in its row.
    """
    columns = [encode(embedded.vectors, form) for form in forms]
    kind = "embedding" if key == "embedding" else "pooling"
    rows: list[dict[str, Any]] = []
    for i in range(len(embedded.vectors)):
        row: dict[str, Any] = {"object": kind, "index": i, key: columns[0][i]}
        if i in embedded.failures:
            row.update({key: None, "error": described(embedded.failures[i])})
        elif len(forms) > 1:
            row["embeddings"] = {form.name: column[i] for form, column in zip(forms, columns, strict=True)}
        rows.append(row)
    return JSONResponse(
        {
            "id": f"embd-{call.request_id}",
            "object": "list",
            "created": int(time.time()),
            "model": name,
            "data": rows,
            "usage": embedded.usage(),
        }
    )


def list_models(service: "Service", hidden: str = "") -> Response:
    """GET /v1/models, and /models without the field `owned_by`: Infinity's client knows one owner only."""
    rows = [describe(service, model) for model in service.models.values()]
    for row in rows:
        row.pop(hidden, None)
    return JSONResponse({"object": "list", "data": rows})


def describe(service: "Service", model: "ServedModel") -> dict[str, Any]:
    """One row of the model list: OpenAI's four fields, Infinity's three, then ours."""
    spec, facts = model.spec, model.facts
    waiting = model.images.num_waiting + model.texts.num_waiting
    row: dict[str, Any] = {
        "id": model.name,
        "object": "model",
        "created": service.created_at,
        "owned_by": "clipworks",
        "backend": "clipworks",
        "capabilities": ["embed", "image_embed"],
        "stats": {
            "queue_fraction": waiting / (model.images.capacity + model.texts.capacity),
            "queue_absolute": waiting,
            "results_pending": waiting,
            "batch_size": model.images.max_batch,
        },
        "status": _status_of(model),
    }
    if spec.providers:
        row["routing"] = spec.routing
        row["providers"] = model.providers.describe()
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
        "context_length": facts.context_length,
        "precision": facts.precision,
        "fingerprint": facts.fingerprint,
        "logit_scale": facts.logit_scale,
    }


def _status_of(model: "ServedModel") -> str:
    if model.spec.is_over(datetime.date.today()):
        return "shut_down"
    return "deprecated" if model.spec.status == "deprecated" else model.status


async def _charge(
    charge: Callable[..., Awaitable[float]], model: "ServedModel", parts: Sequence[str | Picture]
) -> float:
    num_images = sum(isinstance(part, Picture) for part in parts)
    return await charge(model.name, images=num_images, texts=len(parts) - num_images)


def _means(vectors_PD: Vectors, owners: Sequence[int], count: int) -> Vectors:
    """float32 [count, D]: the row of each item, or the mean of its parts' rows at unit length, or zeros."""
    sums: Vectors = np.zeros((count, vectors_PD.shape[1]), dtype=np.float32)
    np.add.at(sums, list(owners), vectors_PD)
    several = np.bincount(owners, minlength=count) > 1
    lengths = np.linalg.norm(sums[several], axis=1, keepdims=True)
    sums[several] /= np.maximum(lengths, np.finfo(np.float32).tiny)
    return sums


def _refuse_long_texts(parts: Sequence[str | Picture], context_length: int) -> None:
    longest = context_length - 2
    for text in parts:
        if isinstance(text, str) and len(tokens := encode_text(text)) > longest:
            raise RequestError(
                f"The text {shown(text)} has {len(tokens)} tokens; the model reads {longest}.",
                "Shorten it, or let it be cut.",
            )


def _cuts_texts(payload: Payload) -> bool:
    return read_flag(payload, "truncation") is not False and read_flag(payload, "truncate") is not False
