"""POST /knn-service and /metadata, GET /indices-list: clip-retrieval's back end over the gallery.

There is one index. An id is the picture's path below the gallery. `deduplicate` leaves one of nearly the
same pictures. Safety, violence, aesthetic and multilingual models do not exist here: what asks for them is
taken, since its client always sends it, and changes nothing.
"""

import asyncio
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.responses import JSONResponse, Response

from clipworks.model.heads import Vectors
from clipworks.search.answer import Ask, Part, answer
from clipworks.search.store import Hit, Item, Result
from clipworks.search.terms import Term
from clipworks.serve.call import Call
from clipworks.serve.inputs import (
    Payload,
    check_count,
    read_choice,
    read_count,
    read_picture,
    read_text,
    required_list,
)
from clipworks.serve.pictures import picture_address
from clipworks.serve.problems import RequestError, shown
from clipworks.serve.questions import Question, charged_find, require_gallery

if TYPE_CHECKING:
    from clipworks.serve.service import Service

INDEX_NAME = "gallery"

KNN_FIELDS = (
    *("image", "text", "image_url", "embedding_input", "modality", "num_images", "num_result_ids"),
    *("indice_name", "deduplicate", "use_mclip", "use_safety_model", "use_violence_detector"),
    *("aesthetic_score", "aesthetic_weight", "verbose"),
)
"""Fields of a search."""

METADATA_FIELDS = ("ids", "indice_name")
"""Fields of a question about pictures."""

DEFAULT_NUM_IMAGES = 40
MAX_NUM_IMAGES = 3000
MAX_IDS = 3000
"""Pictures in one question: as many as a search gives."""


async def knn_service(call: Call) -> Response:
    """The gallery's pictures nearest to a text, a picture or a vector, best first.

    Raises:
        RequestError: there is no gallery, or a field of the request cannot be used.
        BusyError: a queue is full.
    """
    payload, settings = call.payload, call.service.settings
    _check_index(call.service, payload)
    if read_choice(payload, "modality", ("image", "text")) == "text":
        raise RequestError("The gallery has vectors of pictures, none of texts.", param="modality")
    limit = read_count(payload, "num_images", DEFAULT_NUM_IMAGES, MAX_NUM_IMAGES)
    names = ("text", "image", "image_url", "embedding_input")
    given = [name for name in names if payload.get(name) not in (None, "")]
    if len(given) != 1:
        raise RequestError(
            "A search takes one of 'text', 'image', 'image_url' and 'embedding_input'.",
            code="invalid_value" if given else "missing_field",
            param=given[1] if given else "text",
        )
    (field,) = given
    ask = Ask(limit=limit, is_folded=bool(payload.get("deduplicate")))
    if field == "embedding_input":
        found = await _find_near(call.service, payload[field], ask)
    elif field == "text":
        text = read_text(payload[field], field, settings.max_text_characters)
        found, _ = await charged_find(call, Question(terms=(Term(text=text),), ask=ask))
    else:
        value = payload[field]
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        picture = read_picture(value, field, settings)
        found, _ = await charged_find(call, Question(terms=(), ask=ask, picture=picture))
    return JSONResponse([{**_metadata(hit), "id": hit.id, "similarity": hit.score} for hit in found.hits])


async def metadata(call: Call) -> Response:
    """What is known of pictures, by their ids.

    Raises:
        RequestError: there is no gallery, there are too many ids, or one is not in it.
    """
    store = _check_index(call.service, call.payload)
    given = required_list(call.payload, "ids")
    check_count(len(given), 0, MAX_IDS, "ids")
    rows: list[dict[str, Any]] = []
    for place, identity in enumerate(given):
        item = store.get(identity) if isinstance(identity, str) else None
        if item is None:
            raise RequestError(
                f"ids[{place}] is {shown(identity)}, which is no picture of the gallery.",
                code="not_found",
                param=f"ids[{place}]",
            )
        rows.append({"id": item.id, "metadata": _metadata(item)})
    return JSONResponse(rows)


def indices_list(service: "Service") -> Response:
    """GET /indices-list: the one index, or none."""
    return JSONResponse([INDEX_NAME] if service.gallery is not None else [])


async def _find_near(service: "Service", value: object, ask: Ask) -> Result:
    store = require_gallery(service)
    vector = _unit_vector(value, store.dim)
    part = Part(label="embedding_input", vector=vector, kind="image")
    return await asyncio.to_thread(answer, store, [part], ask)


def _unit_vector(value: object, dim: int) -> Vectors:
    if not isinstance(value, list) or len(value) != dim or not all(_is_finite(number) for number in value):
        raise RequestError(
            f"embedding_input must be a list of {dim} numbers, a vector by the gallery's model.",
            param="embedding_input",
        )
    vector: Vectors = np.asarray(value, dtype=np.float32)
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not 0 < length < math.inf:
        raise RequestError(f"embedding_input has the length {length:g}.", param="embedding_input")
    return vector / np.float32(length)


def _is_finite(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < 1e30


def _check_index(service: "Service", payload: Payload) -> Any:
    store = require_gallery(service)
    if payload.get("indice_name") not in (None, "", INDEX_NAME):
        raise RequestError(
            f"There is no index {shown(payload['indice_name'])}.",
            f"The one index is called {INDEX_NAME}.",
            param="indice_name",
        )
    return store


def _metadata(picture: Hit | Item) -> dict[str, str]:
    known = {
        "url": picture_address(picture.id),
        "caption": picture.caption,
        "licence": picture.licence,
        "author": picture.author,
        "source": picture.source,
    }
    return {name: value for name, value in known.items() if value}
