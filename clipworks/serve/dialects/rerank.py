"""POST /v1/rerank and /score: a query against documents, texts and pictures alike.

The score is the cosine of the two vectors, -1..1. One answer serves the clients of Jina, vLLM, Infinity
and Cohere, whose shapes agree but for extra fields.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from starlette.responses import JSONResponse, Response

from clipworks.model.heads import Vectors
from clipworks.serve.call import Call
from clipworks.serve.embeddings import Embedded, embed_items
from clipworks.serve.inputs import check_count, read_count, read_flag, required, required_list
from clipworks.serve.items import Item, reader
from clipworks.serve.problems import RequestError

FIELDS = (
    *("documents", "query", "model", "top_n", "return_documents"),
    *("fusion", "user", "raw_scores", "priority"),
)
"""Fields of a rerank."""

SCORE_FIELDS = (
    *("documents", "queries", "model", "fusion", "user"),
    *("data_1", "data_2", "text_1", "text_2"),
)
"""Fields of a score; the last four are older names."""


async def rerank(call: Call) -> Response:
    """Documents by their cosine with the query, best first.

    Raises:
        RequestError: a field or an item of the request cannot be used.
        BusyError: a queue is full.
    """
    payload, settings = call.payload, call.service.settings
    model = call.service.model(payload)
    given = required_list(payload, "documents")
    most = read_count(payload, "top_n", max(1, len(given)), 1_000_000)
    is_returned = read_flag(payload, "return_documents") is not False
    read = reader(payload, settings)
    query = read.read(required(payload, "query"), "query")
    documents = read.read_all(given, "documents")
    embedded = await embed_items(call, model, [query, *documents])
    scores = embedded.vectors[1:] @ embedded.vectors[0]
    results: list[dict[str, Any]] = []
    for place in np.argsort(-scores, kind="stable")[:most].tolist():
        row = {"index": place, "relevance_score": float(scores[place])}
        document = documents[place]
        if is_returned and isinstance(document, str):
            row["document"] = {"text": document}
        results.append(row)
    return JSONResponse(
        {
            "id": f"rerank-{call.request_id}",
            "object": "rerank",
            "model": model.name,
            "results": results,
            "usage": embedded.usage(),
            "meta": {"api_version": {"version": "2"}, "billed_units": billed_units(embedded)},
        }
    )


async def score(call: Call) -> Response:
    """Cosines of pairs: one query with each document, or as many queries as documents.

    Raises:
        RequestError: a field or an item of the request cannot be used, or the counts do not fit.
        BusyError: a queue is full.
    """
    model = call.service.model(call.payload)
    queries = _side(call, ("queries", "data_1", "text_1"))
    documents = _side(call, ("documents", "data_2", "text_2"))
    if len(queries) not in (1, len(documents)):
        raise RequestError(
            f"There are {len(queries)} queries and {len(documents)} documents.",
            "Send one query, or as many as there are documents.",
            param="queries",
        )
    embedded = await embed_items(call, model, [*queries, *documents])
    queries_QD, documents_ND = np.split(embedded.vectors, [len(queries)])
    scores: Vectors = (queries_QD * documents_ND).sum(axis=1)
    rows = [{"index": i, "object": "score", "score": value} for i, value in enumerate(scores.tolist())]
    return JSONResponse(
        {
            "id": f"score-{call.request_id}",
            "object": "list",
            "created": int(time.time()),
            "model": model.name,
            "data": rows,
            "usage": embedded.usage(),
        }
    )


def billed_units(embedded: Embedded) -> dict[str, int]:
    """What Cohere's answers call the amounts that were charged."""
    units = {"images": embedded.num_images, "input_tokens": embedded.num_tokens}
    return {name: count for name, count in units.items() if count}


def _side(call: Call, names: Sequence[str]) -> list[Item]:
    """One side of the pairs, under whichever of its names it is given."""
    name = next((name for name in names if call.payload.get(name) is not None), names[0])
    value = required(call.payload, name)
    if isinstance(value, dict) and isinstance(value.get("content"), list):
        value = value["content"]  # vLLM: each part is an item of its own
    read = reader(call.payload, call.service.settings)
    if not isinstance(value, list):
        return read.read_only(value, name)
    check_count(len(value), 1, call.service.settings.max_texts, name)
    return read.read_all(value, name)
