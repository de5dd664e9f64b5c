"""POST /embed and /similarity, GET /info, in the shape of Hugging Face's Text Embeddings Inference."""

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from clipworks import __version__
from clipworks.serve.call import Call
from clipworks.serve.embeddings import check_normalized, embed_items
from clipworks.serve.inputs import Payload, check_fields, read_choice, read_flag, required, required_list
from clipworks.serve.items import Item, read_input, reader
from clipworks.serve.outputs import Form, check_dimensions, encode
from clipworks.serve.problems import RequestError, shown

if TYPE_CHECKING:
    from clipworks.serve.service import Service

EMBED_FIELDS = (
    *("inputs", "model", "normalize", "truncate", "truncation_direction", "prompt_name", "dimensions"),
    "modality",
)
"""Fields of an embed request; `model` and `modality` are ours."""

SIMILARITY_FIELDS = ("inputs", "model", "parameters", "truncate", "truncation_direction", "prompt_name")
"""Fields of a similarity request; `model` is ours."""


async def embed(call: Call) -> Response:
    """A bare list of vectors.

    Raises:
        RequestError: a field or an item of the request cannot be used.
        BusyError: a queue is full.
    """
    return await vectors_of(call, read_input(call.payload, call.service.settings, "inputs"))


async def similarity(call: Call) -> Response:
    """The cosine of a source sentence with each of the others.

    Raises:
        RequestError: a field or an item of the request cannot be used.
        BusyError: a queue is full.
    """
    payload = call.payload
    model = call.service.model(payload)
    cuts_texts = _check_options(payload)
    inputs = required(payload, "inputs")
    if not isinstance(inputs, dict):
        raise RequestError(
            f"inputs is {shown(inputs)}; it must be an object.",
            'Send {"inputs": {"source_sentence": "…", "sentences": ["…"]}}.',
            param="inputs",
        )
    check_fields(inputs, ("source_sentence", "sentences"), "inputs")
    read = reader(payload, call.service.settings)
    source = read.read(required(inputs, "source_sentence"), "inputs.source_sentence")
    sentences = required_list(inputs, "sentences")
    others = read.read_all(sentences, "inputs.sentences")
    embedded = await embed_items(call, model, [source, *others], cuts_texts=cuts_texts)
    return JSONResponse((embedded.vectors[1:] @ embedded.vectors[0]).tolist())


async def vectors_of(call: Call, items: list[Item]) -> Response:
    """Items as a bare list of vectors.

    Raises:
        RequestError: an option of the request has no meaning here, or a picture cannot be used.
        BusyError: a queue is full.
    """
    model = call.service.model(call.payload)
    check_normalized(call.payload, "normalize")
    check_dimensions(call.payload, "dimensions", (await model.live()).dim)
    embedded = await embed_items(call, model, items, cuts_texts=_check_options(call.payload))
    return JSONResponse(await asyncio.to_thread(encode, embedded.vectors, Form()))


async def info(service: "Service", payload: Payload) -> Response:
    """GET /info: the model that `?model=` names, which is loaded for it, and the server's limits.

    Raises:
        RequestError: the model is not named although several are served, or is unknown.
        UnavailableError: it is not loaded in time, or cannot be.
    """
    check_fields(payload, ("model",), "the address")
    model, settings = service.model(payload), service.settings
    async with asyncio.timeout(settings.request_seconds):
        facts = await model.live()
    described: dict[str, Any] = {
        "model_id": model.name,
        "served_model_name": model.name,
        "model_sha": facts.fingerprint,
        "model_dtype": facts.precision,
        "model_type": {"embedding": {"pooling": "eot"}},
        "max_concurrent_requests": settings.max_requests,
        "max_input_length": facts.context_length,
        "max_batch_requests": settings.text_batch,
        "max_client_batch_size": settings.max_texts,
        "auto_truncate": True,
        "tokenization_workers": 1,
        "version": __version__,
    }
    return JSONResponse(described)


def _check_options(payload: Payload) -> bool:
    """Refuse what has no meaning here; whether long texts are cut."""
    read_choice(payload, "truncation_direction", ("Right", "right"))
    if payload.get("prompt_name") is not None:
        raise RequestError(
            f"prompt_name is {shown(payload['prompt_name'])}; this model has no named prompts.",
            "Write the prompt into the text.",
            param="prompt_name",
        )
    return read_flag(payload, "truncate") is not False
