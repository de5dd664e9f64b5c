"""POST /pooling and /classify in vLLM's shape; its /score and /rerank are in `rerank.py`."""

import asyncio
import time
from typing import Any

from starlette.responses import JSONResponse, Response

from clipworks.serve.call import Call
from clipworks.serve.classify import label_cosines
from clipworks.serve.embeddings import embed_request, read_forms_of, render
from clipworks.serve.inputs import read_labels, read_pictures

CLASSIFY_FIELDS = ("input", "model", "labels", "templates", "user")
"""Fields of a classification; `labels` and `templates` are ours, since vLLM's models bring their labels."""


async def pooling(call: Call) -> Response:
    """As /v1/embeddings, with each vector under the name `data`.

    Raises:
        RequestError: a field or an item of the request cannot be used.
        BusyError: a queue is full.
    """
    model = call.service.model(call.payload)
    forms = read_forms_of(call.payload, (await model.live()).dim)
    embedded = await embed_request(call, model)
    return await asyncio.to_thread(render, call, model.name, embedded, forms, "data")


async def classify(call: Call) -> Response:
    """Zero-shot classification: per picture the best label and the probabilities, in the order of `labels`.

    Raises:
        RequestError: a field or an item of the request cannot be used.
        BusyError: a queue is full.
    """
    service, payload = call.service, call.payload
    model = service.model(payload)
    pictures = read_pictures(payload, "input", service.settings)
    labels, templates = read_labels(payload, service.settings)
    cosines_NL, usage = await label_cosines(call, model, pictures, labels, templates)
    scores_NL = model.engine.probabilities(cosines_NL)
    rows: list[dict[str, Any]] = [
        {"index": i, "label": labels[int(row.argmax())], "probs": row.tolist(), "num_classes": len(labels)}
        for i, row in enumerate(scores_NL)
    ]
    return JSONResponse(
        {
            "id": f"classify-{call.request_id}",
            "object": "list",
            "created": int(time.time()),
            "model": model.name,
            "data": rows,
            "usage": {"prompt_tokens": 0, "total_tokens": 0, **usage},
        }
    )
