"""POST /v1/multimodalembeddings in Voyage's shape."""

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from clipworks.serve.call import Call
from clipworks.serve.embeddings import Embedded, embed_items
from clipworks.serve.inputs import read_flag
from clipworks.serve.items import read_input
from clipworks.serve.outputs import Form, check_dimensions, encode, read_form

if TYPE_CHECKING:
    from clipworks.serve.served import ServedModel

FIELDS = (
    *("inputs", "model", "input_type", "truncation", "output_dtype", "output_dimension"),
    *("encoding_format", "fusion"),
)
"""Fields of a multimodal embeddings request."""


async def multimodal(call: Call) -> Response:
    """One vector per input, each of one text or one picture, or the mean of several where it is asked for.

    Raises:
        RequestError: a field or an item of the request cannot be used.
        BusyError: a queue is full.
    """
    payload = call.payload
    model = call.service.model(payload)
    form = read_form(payload)
    check_dimensions(payload, "output_dimension", (await model.live()).dim)
    items = read_input(payload, call.service.settings, "inputs")
    embedded = await embed_items(call, model, items, cuts_texts=read_flag(payload, "truncation") is not False)
    return await asyncio.to_thread(_render, model, embedded, form)


def _render(model: "ServedModel", embedded: Embedded, form: Form) -> Response:
    rows: list[dict[str, Any]] = [
        {"object": "embedding", "index": i, "embedding": row}
        for i, row in enumerate(encode(embedded.vectors, form))
    ]
    usage = {
        "text_tokens": embedded.num_tokens,
        "image_pixels": embedded.num_images * model.engine.image_size**2,  # as the model reads them
        "video_pixels": 0,
        "total_tokens": embedded.num_tokens,
        "images": embedded.num_images,
        "cost_usd": embedded.cost_usd,
    }
    return JSONResponse({"object": "list", "data": rows, "model": model.name, "usage": usage})
