"""POST /v1/classify and /v1/similarity: pictures against labels, pictures against texts."""

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from clipworks.model.heads import Vectors
from clipworks.serve.call import Call
from clipworks.serve.inputs import Picture, read_labels, read_pictures, read_texts
from clipworks.serve.problems import RequestError

if TYPE_CHECKING:
    from clipworks.serve.served import ServedModel
    from clipworks.serve.worker import EngineFacts


async def classify(call: Call) -> Response:
    """Zero-shot classification: per picture its labels, best first, with score (softmax) and cosine.

    Raises:
        RequestError: a field or an item of the request cannot be used.
        BusyError: a queue is full.
    """
    service, payload = call.service, call.payload
    model = service.model(payload)
    pictures = read_pictures(payload, "input", service.settings)
    labels, templates = read_labels(payload, service.settings)
    cosines_NL, usage = await label_cosines(call, model, pictures, labels, templates)
    return await asyncio.to_thread(_render, model.engine, model.name, labels, cosines_NL, usage)


async def label_cosines(
    call: Call, model: "ServedModel", pictures: list[Picture], labels: list[str], templates: list[str] | None
) -> tuple[Vectors, dict[str, float]]:
    """Charge for pictures and prompts, and compare them.

    Returns:
        float32 [N, L], the cosine of each picture with each label; and the `usage` of the answer.

    Raises:
        RequestError: a picture cannot be used.
        BusyError: a queue is full.
    """
    num_texts = len(labels) * len(templates or ("{}",))
    cost_usd = await call.charge(model.name, images=len(pictures), texts=num_texts)
    head_LD = await model.label_head(labels, templates)
    images_ND = await model.embed_images(pictures)
    usage = {"images": len(pictures), "texts": num_texts, "cost_usd": cost_usd}
    return images_ND @ head_LD.T, usage


async def similarity(call: Call) -> Response:
    """Cosines of every picture with every text; where only one kind is given, of each with each other.

    Raises:
        RequestError: a field or an item of the request cannot be used.
        BusyError: a queue is full.
    """
    service, payload = call.service, call.payload
    model = service.model(payload)
    if payload.get("images") is None and payload.get("texts") is None:
        raise RequestError(
            "A similarity needs 'images', 'texts' or both.",
            "One kind alone is compared with itself.",
            code="missing_field",
            param="images",
        )
    pictures, texts = list[Picture](), list[str]()
    if payload.get("images") is not None:
        pictures = read_pictures(payload, "images", service.settings)
    if payload.get("texts") is not None:
        texts = read_texts(payload, "texts", service.settings)
    cosines, usage = await item_cosines(call, model, pictures, texts)
    rows = [
        {"object": "similarity", "index": i, "scores": scores} for i, scores in enumerate(cosines.tolist())
    ]
    return JSONResponse({"object": "list", "model": model.name, "data": rows, "usage": usage})


async def item_cosines(
    call: Call, model: "ServedModel", pictures: list[Picture], texts: list[str]
) -> tuple[Vectors, dict[str, float]]:
    """Charge for pictures and texts, and compare them.

    Returns:
        float32 [N, M], pictures with texts; of one kind alone, the cosine of each with each. And the
        `usage` of the answer.

    Raises:
        RequestError: a picture cannot be used.
        BusyError: a queue is full.
    """
    cost_usd = await call.charge(model.name, images=len(pictures), texts=len(texts))
    columns_MD = await (model.embed_texts(texts) if texts else model.embed_images(pictures))
    rows_ND = await model.embed_images(pictures) if texts and pictures else columns_MD
    usage = {"images": len(pictures), "texts": len(texts), "cost_usd": cost_usd}
    return rows_ND @ columns_MD.T, usage


def _render(
    engine: "EngineFacts", name: str, labels: list[str], cosines_NL: Vectors, usage: dict[str, float]
) -> Response:
    scores_NL = engine.probabilities(cosines_NL)
    rows = []
    for i, (scores, cosines) in enumerate(zip(scores_NL.tolist(), cosines_NL.tolist(), strict=True)):
        order = sorted(range(len(labels)), key=lambda place: -cosines[place])
        ranked = [{"label": labels[p], "score": scores[p], "cosine": cosines[p]} for p in order]
        rows.append({"object": "classification", "index": i, "labels": ranked})
    return JSONResponse({"object": "list", "model": name, "data": rows, "usage": usage})
