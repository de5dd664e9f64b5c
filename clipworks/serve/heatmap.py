"""POST /v1/heatmap: which patches of a picture match a text."""

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.responses import JSONResponse, Response

from clipworks.model.heads import Vectors, heat_maps
from clipworks.serve.call import Call
from clipworks.serve.inputs import Payload, Picture, check_count, read_labels, read_pictures
from clipworks.serve.problems import RequestError
from clipworks.serve.settings import ServeSettings

if TYPE_CHECKING:
    from clipworks.serve.served import ServedModel


MAX_TEXTS = 64
"""Texts in one request; each is answered with a grid."""


async def heatmap(call: Call) -> Response:
    """The cosine of every patch of a picture with every text, as grids of rows from the top left.

    Raises:
        RequestError: a field of the request cannot be used, or the model gives no patches.
        BusyError: a queue is full.
    """
    service, payload = call.service, call.payload
    model = service.model(payload)
    require_patches(model)
    pictures = read_pictures(payload, "image", service.settings)
    check_count(len(pictures), 1, 1, "image", "pictures")
    texts, templates = _read_texts(payload, service.settings)
    maps_NLRC, usage = await patch_cosines(call, model, pictures, texts, templates)
    return await asyncio.to_thread(_render, model.name, texts, maps_NLRC[0], usage)


async def patch_cosines(
    call: Call, model: "ServedModel", pictures: list[Picture], texts: list[str], templates: list[str] | None
) -> tuple[Vectors, dict[str, float]]:
    """Charge for pictures and prompts, and compare the patches of the one with the other.

    Returns:
        float32 [N, L, rows, columns], in -1..1; and the `usage` of the answer.

    Raises:
        RequestError: a picture cannot be used, or the model gives no patches.
        BusyError: a queue is full.
    """
    require_patches(model)
    num_texts = len(texts) * len(templates or ("{}",))
    cost_usd = await call.charge(model.name, images=len(pictures), texts=num_texts)
    head_LD = await model.label_head(texts, templates)
    patches_NRCD = await model.embed_patches(pictures)
    usage = {"images": len(pictures), "texts": num_texts, "cost_usd": cost_usd}
    return heat_maps(patches_NRCD, head_LD), usage


def require_patches(model: "ServedModel") -> None:
    """Whether a model's patches can be had.

    Raises:
        RequestError: other servers answer for it, whatever they run.
    """
    if not model.spec.is_local:
        raise RequestError(
            f"The model {model.name} is answered by other servers, which give no patches of pictures.",
            "A heat map needs a model that this server runs itself.",
            code="no_patches",
            param="model",
        )


def _read_texts(payload: Payload, settings: ServeSettings) -> tuple[list[str], list[str] | None]:
    if (payload.get("text") is None) == (payload.get("texts") is None):
        raise RequestError(
            "A heat map takes either 'text' or 'texts'.",
            'For example {"text": "a red apple"}.',
            code="missing_field" if payload.get("text") is None else "invalid_value",
            param="text",
        )
    if payload.get("texts") is None:
        payload = {**payload, "texts": [payload["text"]]}
    texts, templates = read_labels(payload, settings, "texts")
    check_count(len(texts), 1, MAX_TEXTS, "texts")
    return texts, templates


def _render(name: str, texts: list[str], cosines_LRC: Vectors, usage: dict[str, float]) -> Response:
    rows: list[dict[str, Any]] = []
    for i, (text, grid_RC) in enumerate(zip(texts, cosines_LRC, strict=True)):
        row, column = np.unravel_index(int(grid_RC.argmax()), grid_RC.shape)
        rows.append(
            {
                "object": "heatmap",
                "index": i,
                "text": text,
                "cosines": grid_RC.tolist(),
                "max": {"row": int(row), "column": int(column), "cosine": float(grid_RC.max())},
            }
        )
    _, num_rows, num_columns = cosines_LRC.shape
    shape = {"rows": num_rows, "columns": num_columns, "covers": "central square"}
    return JSONResponse({"object": "list", "model": name, **shape, "data": rows, "usage": usage})
