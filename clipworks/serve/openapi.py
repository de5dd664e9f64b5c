"""The OpenAPI document, written down as data: what each route takes and answers, with this server's limits.

It describes; the reading and refusing is done by `inputs.py`. A test compares its paths with the
routes of `app.py`, and the fuzzer reads it.
"""

from typing import Any

from clipworks.serve.operations import explained
from clipworks.serve.settings import ServeSettings

Schema = dict[str, Any]

_KEYLESS: list[Any] = []


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
        "/v1/models": {"get": _open("The models served.", {"200": _json(_LIST)})},
        "/v1/models/{id}": {"get": _open("One of them.", {"200": _json(_OBJECT)}, _PATH_ID)},
        "/v1/embeddings": {
            "post": _work(
                "Vectors of texts and pictures.",
                {
                    "input": _one_or_many(_ref("Item"), max(settings.max_texts, settings.max_images)),
                    "encoding_format": {"enum": ["float", "base64", None]},
                    "dimensions": {"enum": [0, None]},
                    "modality": {"enum": ["text", "image", None]},
                    "user": {},
                    "messages": {"type": ["array", "null"], "items": _OBJECT},
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
            "post": _work(
                "Zero-shot classification.",
                {
                    "input": _one_or_many(_ref("Image"), settings.max_images),
                    "labels": _many(_text(settings.max_label_characters), settings.max_labels),
                    "templates": _many(_TEMPLATE, 8),
                },
                ("input", "labels"),
            )
        },
        "/v1/similarity": {
            "post": _work(
                "Cosines of pictures with texts; of one kind alone, of each with each other.",
                {
                    "images": _one_or_many(_ref("Image"), settings.max_images),
                    "texts": _many(_text(settings.max_text_characters), settings.max_texts),
                },
                (),
            )
        },
        "/v1/heatmap": {
            "post": _work(
                "Cosines of the patches of a picture with texts: which patches match; text or texts.",
                {
                    "image": _ref("Image"),
                    "text": _text(settings.max_label_characters),
                    "texts": _many(_text(settings.max_label_characters), 64),
                    "templates": _many(_TEMPLATE, 8),
                },
                ("image",),
            )
        },
        "/v1/search": {
            "post": _work(
                "Pictures of the gallery; one of text, image and like, or plus or where alone.",
                {
                    "text": _text(settings.max_text_characters),
                    "image": _ref("Image"),
                    "like": {"type": "string"},
                    "region": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
                    "plus": _one_or_many(_text(settings.max_text_characters), 31),
                    "minus": _one_or_many(_text(settings.max_text_characters), 31),
                    "limit": {"type": "integer", "minimum": 1, "maximum": 100},
                    "where": {"type": "array", "items": {"type": "string"}, "maxItems": 16},
                    "sort": {"enum": ["score", "newest", "oldest"]},
                    "relevant_only": {"type": "boolean"},
                    "fold": {"type": "boolean"},
                },
                (),
            )
        },
        "/livez": {"get": _open("Whether the process runs.", {"200": _json(_OBJECT)})},
        "/readyz": {"get": _open("Whether every model answers.", {"200": _json(_OBJECT), "503": _NOT_READY})},
        "/health": {"get": _open("The same state.", {"200": _json(_OBJECT), "503": _NOT_READY})},
        "/metrics": {
            "get": {
                "summary": "Figures for Prometheus.",
                "responses": {"200": _content("text/plain"), "default": _ref_response()},
            }
        },
        "/openapi.json": {"get": _open("This document.", {"200": _json(_OBJECT)})},
        "/gallery/{id}": {"get": _keyed("A picture of the gallery.", {"200": _content("image/*")}, _PATH_ID)},
        "/": {
            "get": _keyed("The page.", {"200": _content("text/html")}, *_PAGE_QUERY),
            "post": _keyed("The page, after a search by picture.", {"200": _content("text/html")}),
        },
        **_docs_paths(),
        "/playground": {
            "get": _keyed("The playground.", {"200": _content("text/html")}, *_LINK_QUERY),
            "post": _keyed("The playground, answered without scripts.", {"200": _content("text/html")}),
        },
        **_account_paths(),
        **_dialect_paths(),
        **_catalogue_paths(),
        "/static": {"get": _open("Style and script of the page.", {"200": _content("*/*")})},
    }


def _docs_paths() -> dict[str, Schema]:
    """The documentation; it needs no key."""
    page = {"200": _content("text/html")}
    question = {"name": "q", "in": "query", "schema": {"type": "string", "maxLength": 200}}
    name = {"name": "page", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "/docs": {"get": _open("The documentation, or with `q` where words stand in it.", page, question)},
        "/docs/api": {"get": _open("This document as a page.", page)},
        "/docs/{page}": {"get": _open("A page of the documentation.", page | {"404": page["200"]}, name)},
    }


def _account_paths() -> dict[str, Schema]:
    """Routes of a server with keys; without, they answer 404."""
    ok = {"200": _json(_OBJECT)}
    made = {"201": _json(_OBJECT)}
    usage = [
        {"name": name, "in": "query", "schema": {"type": "string"}}
        for name in ("from", "to", "key", "format")
    ]
    body = {"requestBody": {"required": True, "content": {"application/json": {"schema": _OBJECT}}}}
    return {
        "/v1/usage": {"get": _keyed("What this account used, by day, model and key.", ok, *usage)},
        "/v1/credits": {"get": _keyed("The credit of this account.", ok)},
        "/v1/key": {"get": _keyed("The key that asks.", ok)},
        "/v1/admin/accounts": {
            "get": _keyed("All accounts.", ok),
            "post": _keyed("A new account.", made) | body,
        },
        "/v1/admin/accounts/{id}": {"get": _keyed("One account.", ok, _PATH_ID)},
        "/v1/admin/accounts/{id}/grants": {"post": _keyed("Give credit.", made, _PATH_ID) | body},
        "/v1/admin/accounts/{id}/adjustments": {"post": _keyed("Correct a balance.", made, _PATH_ID) | body},
        "/v1/admin/keys": {"get": _keyed("All keys.", ok), "post": _keyed("A new key.", made) | body},
        "/v1/admin/keys/{id}": {
            "get": _keyed("One key.", ok, _PATH_ID),
            "delete": _keyed("Revoke a key.", ok, _PATH_ID),
        },
        "/v1/admin/keys/{id}/rotate": {"post": _keyed("Put a new key in its place.", made, _PATH_ID)},
    }


def _dialect_paths() -> dict[str, Schema]:
    """Addresses of other families of clients; docs/clients.md says what each takes."""
    ok = {"200": _json({})}
    body = {"requestBody": {"required": True, "content": {"application/json": {"schema": _OBJECT}}}}
    model = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    task = {**model, "name": "task"}
    return {
        **{path: {"post": _keyed(f"As {family} has it.", ok) | body} for path, family in _DIALECTS.items()},
        "/indices-list": {"get": _keyed("What is served.", ok)},
        "/info": {
            "get": _keyed(
                "What is served, of several models the one named.",
                ok,
                {**model, "in": "query", "required": False},
            )
        },
        "/hf/{model}/{task}": {"post": _keyed("As Hugging Face has it.", ok, model, task) | body},
    }


def _catalogue_paths() -> dict[str, Schema]:
    """Pages of models and their twins; docs/catalogue.md says what stands there."""
    ok = {"200": _json({})}
    model = {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}
    page = {"200": _content("text/html")}
    either = {"200": {"description": "The answer.", "content": {"text/html": {}, "application/json": {}}}}
    names = ("q", "task", "licence", "size", "status", "price", "sort")
    filters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names]
    several = {"name": "m", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}}
    axes = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("quality", "cost")]
    body = {"requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": _OBJECT}}}}
    json = {"requestBody": {"required": True, "content": {"application/json": {"schema": _OBJECT}}}}
    return {
        "/models": {"get": _open("The catalogue; without HTML as Infinity has it.", either, *filters)},
        "/models.json": {"get": _open("The catalogue for programs.", ok, *filters)},
        "/models/{model}": {
            "get": _open("One model; .json and .md behind its id say the same.", either, model),
            "post": _keyed("As Hugging Face has it.", ok, model) | json,
        },
        "/compare": {"get": _open("Models side by side.", page, several, *axes)},
        "/llms.txt": {"get": _open("What stands where, for programs.", {"200": _content("text/plain")})},
        "/account/wishes": {
            "get": _keyed("The models that who is signed in wants.", page),
            "post": _keyed("Vote for a model, or take it back.", page) | body,
        },
        "/operator/models": {
            "get": _keyed("Status, prices and providers of models, for the operator.", page),
            "post": _keyed("Set them.", page) | body,
        },
    }


def _schemas(settings: ServeSettings) -> dict[str, Schema]:
    data = {"type": "string", "minLength": 1, "maxLength": settings.max_image_bytes * 4 // 3 + 100}
    return {
        "Image": {
            "description": "A data URI, base64, or where address fetching is on, an https address.",
            "anyOf": [
                data,
                _object({"image": data}, ("image",)),
                _object(
                    {
                        "type": {"const": "image_url"},
                        "image_url": {"anyOf": [data, _object({"url": data}, ("url",))]},
                    },
                    ("image_url",),
                ),
            ],
        },
        "Item": {
            "anyOf": [
                _text(settings.max_text_characters),
                _object({"type": {"const": "text"}, "text": _text(settings.max_text_characters)}, ("text",)),
                _ref("Image"),
            ]
        },
        "Error": _object(
            {
                "error": _object(
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


_OBJECT: Schema = {"type": "object"}
_LIST: Schema = {"type": "object", "required": ["object", "data"]}
_TEMPLATE: Schema = {"type": "string", "pattern": r"^[^{}]*\{\}[^{}]*$", "maxLength": 500}
_PATH_ID: Schema = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
_PAGE_QUERY: list[Schema] = [
    {"name": name, "in": "query", "schema": {"type": "string"}}
    for name in (
        *("q", "like", "region", "minus", "where", "after", "before", "folder", "camera", "tag", "sort"),
        *("from", "fragment"),
    )
]
_LINK_QUERY: list[Schema] = [
    {"name": name, "in": "query", "schema": {"type": "string"}}
    for name in ("mode", "label", "template", "model", "show", "against", "picture", "url")
]
_NOT_READY: Schema = {"description": "A model does not answer, or the server stops."}


def _work(summary: str, properties: dict[str, Schema], required: tuple[str, ...]) -> Schema:
    """A route that takes a JSON body and does inference."""
    body = _object({"model": {"type": ["string", "null"]}, **properties}, required)
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": _json(_LIST), "default": _ref_response()},
    }


def _open(summary: str, responses: dict[str, Schema], *parameters: Schema) -> Schema:
    """A route that asks for no key."""
    return {"security": _KEYLESS, **_keyed(summary, responses, *parameters)}


def _keyed(summary: str, responses: dict[str, Schema], *parameters: Schema) -> Schema:
    """A route that asks for a key where keys are asked for, and takes no body."""
    answers = {**responses, "default": _ref_response()}
    return {"summary": summary, "parameters": list(parameters), "responses": answers}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _ref_response() -> Schema:
    return {"description": "An error.", "content": {"application/json": {"schema": _ref("Error")}}}


def _json(schema: Schema) -> Schema:
    return {"description": "The answer.", "content": {"application/json": {"schema": schema}}}


def _content(kind: str) -> Schema:
    return {"description": "The answer.", "content": {kind: {}}}


def _object(properties: dict[str, Schema], required: tuple[str, ...]) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _text(max_characters: int) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": max_characters}


def _many(item: Schema, most: int) -> Schema:
    return {"type": "array", "items": item, "minItems": 1, "maxItems": most}


def _one_or_many(item: Schema, most: int) -> Schema:
    return {"anyOf": [item, _many(item, most)]}
