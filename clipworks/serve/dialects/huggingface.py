"""POST /models/{id} and /hf/{id}/{task} in the shape of Hugging Face's Inference API.

The task is named in the address, or found in what is sent: with labels it is a classification, with a
source sentence a similarity, else feature extraction.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import JSONResponse, Response

from clipworks.serve.call import Call
from clipworks.serve.classify import label_cosines
from clipworks.serve.dialects import tei
from clipworks.serve.inputs import Payload, check_fields, read_labels, read_pictures
from clipworks.serve.items import read_input
from clipworks.serve.problems import RequestError, nearest, shown

TEXT_FIELDS = ("normalize", "truncate", "truncation_direction", "prompt_name", "dimensions")
FIELDS = ("inputs", "model", "parameters", "options", "labels", "templates", *TEXT_FIELDS)
"""Fields of every task; `labels` and `templates` are ours, for uploads, which have no `parameters`."""

PARAMETER_FIELDS = ("candidate_labels", "hypothesis_template", *TEXT_FIELDS)
OPTION_FIELDS = ("use_cache", "wait_for_model", "use_gpu")
"""What the hosted API takes; nothing here depends on it."""

DEFAULT_TEMPLATE = "This is a photo of {}."
"""What the field's pipeline puts a label into where nobody says otherwise."""


async def any_task(call: Call) -> Response:
    """The task that the body tells of.

    Raises:
        RequestError: a field or an item of the request cannot be used.
        BusyError: a queue is full.
    """
    payload = call.payload = _lifted(call.payload)
    if payload.get("labels") is not None or "candidate_labels" in _parameters(payload):
        return await zero_shot(call)
    if isinstance(payload.get("inputs"), dict) and "source_sentence" in payload["inputs"]:
        return await tei.similarity(call)
    return await text_features(call)


async def named_task(call: Call) -> Response:
    """The task that the address names.

    Raises:
        RequestError: there is no such task, or a field or an item of the request cannot be used.
        BusyError: a queue is full.
    """
    tasks: dict[str, Callable[[Call], Awaitable[Response]]] = {
        "zero-shot-image-classification": zero_shot,
        "feature-extraction": text_features,
        "image-feature-extraction": image_features,
        "sentence-similarity": tei.similarity,
    }
    call.payload = _lifted(call.payload)
    name = str(call.payload["task"])
    if name not in tasks:
        raise RequestError(
            f"There is no task {shown(name)} here.", nearest(name, list(tasks)), code="not_found"
        )
    return await tasks[name](call)


async def zero_shot(call: Call) -> Response:
    """Labels with their probabilities, best first; of several pictures one list each.

    Raises:
        RequestError: a field or the picture cannot be used.
        BusyError: a queue is full.
    """
    service, payload = call.service, call.payload
    model = service.model(payload)
    pictures = read_pictures(payload, "inputs", service.settings)
    labels, templates = read_labels(_with_labels(payload), service.settings)
    cosines_NL, _ = await label_cosines(call, model, pictures, labels, templates)
    rows = []
    for scores in model.engine.probabilities(cosines_NL).tolist():
        ranked = sorted(zip(labels, scores, strict=True), key=lambda pair: -pair[1])
        rows.append([{"label": label, "score": score} for label, score in ranked])
    return JSONResponse(rows[0] if len(rows) == 1 else rows)


async def text_features(call: Call) -> Response:
    """Vectors of texts; a data URI and an uploaded file are read as a picture.

    Raises:
        RequestError: a field or an item of the request cannot be used.
        BusyError: a queue is full.
    """
    return await tei.vectors_of(call, read_input(call.payload, call.service.settings, "inputs"))


async def image_features(call: Call) -> Response:
    """Vectors of pictures; a plain string is their base64.

    Raises:
        RequestError: a field or an item of the request cannot be used.
        BusyError: a queue is full.
    """
    payload = {**call.payload, "modality": "image"}
    return await tei.vectors_of(call, read_input(payload, call.service.settings, "inputs"))


def _parameters(payload: Payload) -> dict[str, Any]:
    value = payload.get("parameters")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RequestError(f"parameters is {shown(value)}; it must be an object.", param="parameters")
    return value


def _lifted(payload: Payload) -> Payload:
    """The payload with the options among its parameters as fields of their own, and nothing unknown."""
    parameters = _parameters(payload)
    check_fields(parameters, PARAMETER_FIELDS, "parameters")
    options = payload.get("options")
    if isinstance(options, dict):
        check_fields(options, OPTION_FIELDS, "options")
    return {**payload, **{name: parameters[name] for name in TEXT_FIELDS if name in parameters}}


def _with_labels(payload: Payload) -> Payload:
    """The payload with `labels` and `templates`, whichever way it gives them."""
    parameters = _parameters(payload)
    labels = parameters.get("candidate_labels", payload.get("labels"))
    if isinstance(labels, str):
        labels = [label.strip() for label in labels.split(",")]
    template = parameters.get("hypothesis_template")
    templates = payload.get("templates") or [DEFAULT_TEMPLATE] if template is None else [template]
    return {"labels": labels, "templates": templates}
