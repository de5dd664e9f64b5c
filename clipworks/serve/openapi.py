"""The OpenAPI document, written down as data: what each route takes and answers, with this server's limits.

It describes; the reading and refusing is done by `inputs.py`. A test compares its paths with the
routes of `app.py`, and the fuzzer reads it.
"""

from clipworks.serve.operations import explained
from clipworks.serve.page_paths import page_paths
from clipworks.serve.schemas import (
    LIST,
    NOT_READY,
    OBJECT,
    PATH_ID,
    TEMPLATE,
    Schema,
    answer_of,
    error_answer,
    json_answer,
    keyed,
    many,
    object_of,
    one_or_many,
    open_to_all,
    ref,
    text,
    work,
)
from clipworks.serve.settings import ServeSettings

_DIALECTS = {
    **dict.fromkeys(("/embeddings", "/rerank", "/v1/rerank"), "Infinity or Jina"),
    **dict.fromkeys(("/pooling", "/classify", "/score", "/v1/score"), "vLLM"),
    **dict.fromkeys(("/v1/embed", "/v2/embed", "/v2/rerank"), "Cohere"),
    **dict.fromkeys(("/v1/multimodalembeddings",), "Voyage"),
    **dict.fromkeys(("/embed", "/similarity"), "text-embeddings-inference"),
    **dict.fromkeys(("/knn-service", "/metadata"), "clip-retrieval"),
}


def document(settings: ServeSettings) -> Schema:
    """OpenAPI 3.1 as a JSON object."""
    return explained(_shapes(settings))


def _shapes(settings: ServeSettings) -> Schema:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "clipworks",
            "version": "1",
            "description": "CLIP models: embeddings, classification, similarity and search.",
        },
        "security": [{"key": []}],
        "paths": _paths(settings),
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(settings),
        },
    }


def _paths(settings: ServeSettings) -> dict[str, Schema]:
    return {
        "/v1/models": {"get": open_to_all("The models served.", {"200": json_answer(LIST)})},
        "/v1/models/{id}": {"get": open_to_all("One of them.", {"200": json_answer(OBJECT)}, PATH_ID)},
        "/v1/embeddings": {
            "post": work(
                "Vectors of texts and pictures.",
                {
                    "input": one_or_many(ref("Item"), max(settings.max_texts, settings.max_images)),
                    "encoding_format": {"enum": ["float", "base64", None]},
                    "dimensions": {"enum": [0, None]},
                    "modality": {"enum": ["text", "image", None]},
                    "user": {},
                    "messages": {"type": ["array", "null"], "items": OBJECT},
                    "fusion": {},
                    "on_error": {},
                    "output_dtype": {"enum": ["float", "int8", "uint8", "binary", "ubinary", None]},
                    "embedding_type": {},
                    "output_dimension": {"enum": [0, None]},
                    "input_type": {"type": ["string", "null"]},
                    "task": {"type": ["string", "null"]},
                    **{name: {"enum": [True, None]} for name in ("truncation", "truncate", "normalized")},
                },
                (),
            )
        },
        "/v1/classify": {
            "post": work(
                "Zero-shot classification.",
                {
                    "input": one_or_many(ref("Image"), settings.max_images),
                    "labels": many(text(settings.max_label_characters), settings.max_labels),
                    "templates": many(TEMPLATE, 8),
                },
                ("input", "labels"),
            )
        },
        "/v1/similarity": {
            "post": work(
                "Cosines of pictures with texts; of one kind alone, of each with each other.",
                {
                    "images": one_or_many(ref("Image"), settings.max_images),
                    "texts": many(text(settings.max_text_characters), settings.max_texts),
                },
                (),
            )
        },
        "/v1/heatmap": {
            "post": work(
                "Cosines of the patches of a picture with texts: which patches match; text or texts.",
                {
                    "image": ref("Image"),
                    "text": text(settings.max_label_characters),
                    "texts": many(text(settings.max_label_characters), 64),
                    "templates": many(TEMPLATE, 8),
                },
                ("image",),
            )
        },
        "/v1/search": {
            "post": work(
                "Pictures of the gallery; one of text, image and like, or plus or where alone.",
                {
                    "text": text(settings.max_text_characters),
                    "image": ref("Image"),
                    "like": {"type": "string"},
                    "region": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
                    "plus": one_or_many(text(settings.max_text_characters), 31),
                    "minus": one_or_many(text(settings.max_text_characters), 31),
                    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
                    "where": {"type": "array", "items": {"type": "string"}, "maxItems": 16},
                    "sort": {"enum": ["score", "newest", "oldest"]},
                    "relevant_only": {"type": "boolean"},
                    "fold": {"type": "boolean"},
                },
                (),
            )
        },
        "/livez": {"get": open_to_all("Whether the process runs.", {"200": json_answer(OBJECT)})},
        "/readyz": {
            "get": open_to_all("Whether every model answers.", {"200": json_answer(OBJECT), "503": NOT_READY})
        },
        "/health": {"get": open_to_all("The same state.", {"200": json_answer(OBJECT), "503": NOT_READY})},
        "/metrics": {
            "get": {
                "summary": "Figures for Prometheus.",
                "responses": {"200": answer_of("text/plain"), "default": error_answer()},
            }
        },
        "/openapi.json": {"get": open_to_all("This document.", {"200": json_answer(OBJECT)})},
        "/gallery/{id}": {"get": keyed("A picture of the gallery.", {"200": answer_of("image/*")}, PATH_ID)},
        **page_paths(settings),
        **_account_paths(),
        **_dialect_paths(),
        "/static": {"get": open_to_all("Style and script of the page.", {"200": answer_of("*/*")})},
    }


def _account_paths() -> dict[str, Schema]:
    """Routes of a server with keys; without, they answer 404."""
    ok = {"200": json_answer(OBJECT)}
    made = {"201": json_answer(OBJECT)}
    usage = [
        {"name": name, "in": "query", "schema": {"type": "string"}}
        for name in ("from", "to", "key", "format")
    ]
    body = {"requestBody": {"required": True, "content": {"application/json": {"schema": OBJECT}}}}
    return {
        "/v1/usage": {"get": keyed("What this account used, by day, model and key.", ok, *usage)},
        "/v1/credits": {"get": keyed("The credit of this account.", ok)},
        "/v1/key": {"get": keyed("The key that asks.", ok)},
        "/v1/admin/accounts": {
            "get": keyed("All accounts.", ok),
            "post": keyed("A new account.", made) | body,
        },
        "/v1/admin/accounts/{id}": {"get": keyed("One account.", ok, PATH_ID)},
        "/v1/admin/accounts/{id}/grants": {"post": keyed("Give credit.", made, PATH_ID) | body},
        "/v1/admin/accounts/{id}/adjustments": {"post": keyed("Correct a balance.", made, PATH_ID) | body},
        "/v1/admin/keys": {"get": keyed("All keys.", ok), "post": keyed("A new key.", made) | body},
        "/v1/admin/keys/{id}": {
            "get": keyed("One key.", ok, PATH_ID),
            "delete": keyed("Revoke a key.", ok, PATH_ID),
        },
        "/v1/admin/keys/{id}/rotate": {"post": keyed("Put a new key in its place.", made, PATH_ID)},
    }


def _dialect_paths() -> dict[str, Schema]:
    """Addresses of other families of clients; docs/clients.md says what each takes."""
    ok = {"200": json_answer({})}
    body = {"requestBody": {"required": True, "content": {"application/json": {"schema": OBJECT}}}}
    model = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    task = {**model, "name": "task"}
    return {
        **{path: {"post": keyed(f"As {family} has it.", ok) | body} for path, family in _DIALECTS.items()},
        "/indices-list": {"get": keyed("What is served.", ok)},
        "/info": {
            "get": keyed(
                "What is served, of several models the one named.",
                ok,
                {**model, "in": "query", "required": False},
            )
        },
        "/hf/{model}/{task}": {"post": keyed("As Hugging Face has it.", ok, model, task) | body},
    }


def _schemas(settings: ServeSettings) -> dict[str, Schema]:
    data = {"type": "string", "minLength": 1, "maxLength": settings.max_image_bytes * 4 // 3 + 100}
    return {
        "Image": {
            "description": "A data URI, base64, or where address fetching is on, an https address.",
            "anyOf": [
                data,
                object_of({"image": data}, ("image",)),
                object_of(
                    {
                        "type": {"const": "image_url"},
                        "image_url": {"anyOf": [data, object_of({"url": data}, ("url",))]},
                    },
                    ("image_url",),
                ),
            ],
        },
        "Item": {
            "anyOf": [
                text(settings.max_text_characters),
                object_of({"type": {"const": "text"}, "text": text(settings.max_text_characters)}, ("text",)),
                ref("Image"),
            ]
        },
        "Error": object_of(
            {
                "error": object_of(
                    {
                        "message": {"type": "string"},
                        "type": {"type": "string"},
                        "param": {"type": ["string", "null"]},
                        "code": {"type": "string"},
                    },
                    ("message", "type", "param", "code"),
                )
            },
            ("error",),
        ),
    }
