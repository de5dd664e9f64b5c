"""What the OpenAPI document says in words: the group of each operation, its fields, its errors, an example.

`openapi.py` has the shapes and `field_words.py` the words about fields; `examples.json` holds requests
and the answers that a real server gave to them (`scripts/api_examples.py`), shortened.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clipworks.serve.field_words import words_about
from clipworks.serve.problems import STATUS_BY_CODE, UNAVAILABLE_STATUS_BY_CODE

Schema = dict[str, Any]

GROUPS = {
    "Work": "What the models do. Bodies are JSON, `multipart/form-data`, or a picture as it is (`image/*`).",
    "Models": "What is served.",
    "Account": "What the key that asks has used and has left, on a server with keys.",
    "Administration": "Accounts, credit and keys, for a key with the scope `admin`.",
    "Other clients' addresses": "The shapes of other families of clients, at the addresses that they ask.",
    "State": "Whether the server is well, and what it does.",
    "Pages": "For people; everything on them comes from this server.",
}
"""Group of operations -> what it holds, in the order of the page."""

CAUSES = {
    "invalid_image": "The picture named by `param` cannot be read.",
    "invalid_value": "The field named by `param` cannot be used.",
    "missing_field": "The field named by `param` has to be there.",
    "too_many_inputs": "More items than a request may have.",
    "url_not_fetched": "The picture at that address: blocked, not there, late, or no picture.",
    "no_patches": "A heat map of a model that only other servers answer for.",
    "not_recognised": "Nobody signs in so: the name, the password, or what the issuer said.",
    "invalid_api_key": "No key, or one that is unknown, revoked or expired.",
    "credit_balance_exhausted": "The account's credit does not suffice; sent again it will not either.",
    "key_budget_exhausted": "The key's budget does not suffice; sent again it will not either.",
    "foreign_form": "The form comes from another site, or from a session that has ended.",
    "host_not_allowed": "The server is not called what the header `Host` says.",
    "model_not_allowed": "The key may not use this model.",
    "pages_key_ended": "The key that the pages use has been revoked or has expired.",
    "scope_not_allowed": "The key was not made for this.",
    "url_fetch_disabled": "An address in place of a picture, where no addresses are fetched.",
    "wrong_password": "Name and password do not go together.",
    "account_not_found": "No account of that id or name.",
    "key_not_found": "No key of that id or name.",
    "no_accounts": "The server asks nobody for a key and has no accounts.",
    "not_found": "Nothing at that address.",
    "model_not_found": "No model of that name, or one that is not served yet; the nearest names are given.",
    "no_gallery": "The server has no pictures to search.",
    "method_not_allowed": "The address takes another method.",
    "request_timeout": "The body did not arrive in time.",
    "idempotency_conflict": "The `Idempotency-Key` was used for another request.",
    "idempotency_in_progress": "The same request is in work.",
    "length_required": "A key with a limit in bytes, and a request that does not say its length.",
    "image_too_large": "Too many pixels, or bytes of one picture.",
    "request_too_large": "Too many bytes of the body.",
    "unsupported_image_format": "A picture of a format that is not read.",
    "unsupported_media_type": "A body that is no JSON, form or picture.",
    "rate_limit_exceeded": "A limit of the key; `retry-after` says when to come back.",
    "server_is_overloaded": "A queue or the memory for bodies is full; `retry-after` says when to come back.",
    "internal_error": "Our mistake; the server's log says why under the request id.",
    "accounts_unavailable": "The database of accounts does not answer.",
    "model_loading": "The model is still being loaded; `retry-after` says when to come back.",
    "model_failed": "The model cannot be loaded now.",
    "worker_lost": "The process that computed died in the middle of this request; sent again it is answered.",
    "server_stopping": "The server is being stopped; another one, or the next, may answer.",
    "providers_failed": "None of the model's providers answered.",
    "deadline_exceeded": "The time of the request was over before its answer was there.",
}
"""Error code -> what it means."""

STATUS_BY_ERROR = {
    **STATUS_BY_CODE,
    **UNAVAILABLE_STATUS_BY_CODE,
    "server_is_overloaded": 429,
    "internal_error": 500,
}
"""Every error code -> its HTTP status."""

_ALWAYS = ("host_not_allowed", "internal_error")
_KEYED = ("invalid_api_key", "scope_not_allowed", "rate_limit_exceeded", "accounts_unavailable")
_WORK = (
    *("invalid_value", "missing_field", "too_many_inputs", "invalid_image", "url_not_fetched"),
    *("credit_balance_exhausted", "key_budget_exhausted", "model_not_allowed", "url_fetch_disabled"),
    *("model_not_found", "request_timeout", "idempotency_conflict", "idempotency_in_progress"),
    *("length_required", "image_too_large", "request_too_large", "unsupported_image_format"),
    *("unsupported_media_type", "server_is_overloaded", *UNAVAILABLE_STATUS_BY_CODE),
)
_ADMIN = ("no_accounts", "account_not_found", "key_not_found", "invalid_value", "missing_field")

_GROUP_BY_BEGINNING = {
    "/v1/admin/": "Administration",
    "/v1/models": "Models",
    **dict.fromkeys(("/v1/usage", "/v1/credits", "/v1/key"), "Account"),
    **dict.fromkeys(("/livez", "/readyz", "/health", "/metrics", "/openapi.json"), "State"),
    **dict.fromkeys(("/models.json", "/llms.txt"), "Models"),
    **dict.fromkeys(("/gallery", "/static", "/docs", "/playground", "/compare"), "Pages"),
    **dict.fromkeys(("/account", "/operator", "/sign-in", "/sign-up", "/sign-out"), "Pages"),
}
_OTHERS_OF_V1 = ("/v1/rerank", "/v1/score", "/v1/embed", "/v1/multimodalembeddings")

_OF_EMBEDDINGS = (
    *("input", "model", "encoding_format", "dimensions", "modality", "user"),
    *("messages", "fusion", "on_error", "output_dtype", "output_dimension", "input_type", "truncation"),
    *("embedding_type", "normalized", "task", "truncate"),
)
_OF_RERANK = (
    *("documents", "query", "model", "top_n", "return_documents"),
    *("fusion", "user", "raw_scores", "priority"),
)
_OF_SCORE = (
    *("documents", "queries", "model", "fusion", "user"),
    *("data_1", "data_2", "text_1", "text_2"),
)
_OF_COHERE = (
    *("images", "texts", "inputs", "model", "input_type", "embedding_types"),
    *("output_dimension", "truncate", "max_tokens", "priority", "fusion"),
)
_OF_HUGGING_FACE = (
    *("inputs", "model", "parameters", "options", "labels", "templates"),
    *("normalize", "truncate", "truncation_direction", "prompt_name", "dimensions"),
)
FIELDS = {
    **dict.fromkeys(("/embeddings", "/pooling"), _OF_EMBEDDINGS),
    "/classify": ("input", "model", "labels", "templates", "user"),
    **dict.fromkeys(("/score", "/v1/score"), _OF_SCORE),
    **dict.fromkeys(("/rerank", "/v1/rerank", "/v2/rerank"), _OF_RERANK),
    **dict.fromkeys(("/v1/embed", "/v2/embed"), _OF_COHERE),
    "/v1/multimodalembeddings": (
        *("inputs", "model", "input_type", "truncation", "output_dtype", "output_dimension"),
        *("encoding_format", "fusion"),
    ),
    "/embed": (
        *("inputs", "model", "normalize", "truncate", "truncation_direction", "prompt_name", "dimensions"),
        "modality",
    ),
    "/similarity": ("inputs", "model", "parameters", "truncate", "truncation_direction", "prompt_name"),
    **dict.fromkeys(("/models/{model}", "/hf/{model}/{task}"), _OF_HUGGING_FACE),
    "/knn-service": (
        *("image", "text", "image_url", "embedding_input", "modality", "num_images", "num_result_ids"),
        *("indice_name", "deduplicate", "use_mclip", "use_safety_model", "use_violence_detector"),
        *("aesthetic_score", "aesthetic_weight", "verbose"),
    ),
    "/metadata": ("ids", "indice_name"),
    "/v1/admin/accounts": ("name", "credit_usd"),
    **dict.fromkeys(
        ("/v1/admin/accounts/{id}/grants", "/v1/admin/accounts/{id}/adjustments"), ("amount_usd", "note")
    ),
    "/v1/admin/keys": (
        *("name", "account", "scopes", "models", "expires_in_days", "budget_usd", "budget_period"),
        *("requests_per_minute", "images_per_minute", "bytes_per_minute"),
    ),
    "/v1/admin/keys/{id}/rotate": ("grace_seconds",),
}
"""The fields of bodies of which `openapi.py` says no more than that they are objects; a test compares them
with the readers of these bodies, which are too many imports away."""


def explained(document: Schema) -> Schema:
    """The same document with groups, words about every field and parameter, errors and examples."""
    examples = json.loads((Path(__file__).parent / "examples.json").read_text(encoding="utf-8"))
    paths = {
        path: {
            method: _explained(path, method, operation, examples.get(f"{method.upper()} {path}", {}))
            for method, operation in methods.items()
        }
        for path, methods in document["paths"].items()
    }
    errors = {
        code: {"status": status, "cause": CAUSES.get(code, "")}
        for code, status in sorted(STATUS_BY_ERROR.items(), key=lambda item: (item[1], item[0]))
    }
    tags = [{"name": name, "description": about} for name, about in GROUPS.items()]
    return {**document, "tags": tags, "paths": paths, "x-errors": errors}


def group_of(path: str, method: str, operation: Schema) -> str:
    """Where an operation belongs."""
    for beginning, group in _GROUP_BY_BEGINNING.items():
        if f"{path}/".startswith(f"{beginning.rstrip('/')}/"):
            return group
    if any("text/html" in answer.get("content", {}) for answer in operation["responses"].values()):
        return "Pages"
    return "Work" if path.startswith("/v1/") and path not in _OTHERS_OF_V1 else "Other clients' addresses"


def _explained(path: str, method: str, operation: Schema, example: Schema) -> Schema:
    group = group_of(path, method, operation)
    said = {
        **operation,
        "tags": [group],
        "responses": _responses(path, group, operation),
    }
    said["parameters"] = [
        {"description": words_about(path, given["name"]), **given}
        for given in operation.get("parameters", ())
    ]
    if "requestBody" in operation:
        content = dict(operation["requestBody"]["content"])
        for kind, inner in content.items():
            request = (
                {"example": example["request"]} if kind == "application/json" and "request" in example else {}
            )
            content[kind] = {**inner, "schema": _body(path, method, inner.get("schema", {})), **request}
        said["requestBody"] = {**operation["requestBody"], "content": content}
    if "answer" in example:
        said["responses"] = {
            status: _with_example(answer, example["answer"]) if status.startswith("2") else answer
            for status, answer in said["responses"].items()
        }
    return said


def _responses(path: str, group: str, operation: Schema) -> Schema:
    """What is good, then the errors, then what else may come."""
    given = operation["responses"]
    good = {status: answer for status, answer in given.items() if status != "default"}
    others = {"default": given["default"]} if "default" in given else {}
    errors = {s: a for s, a in _errors(path, group, operation).items() if s not in good}
    return {**good, **errors, **others}


def _with_example(answer: Schema, example: object) -> Schema:
    inner = answer.get("content", {}).get("application/json", {})
    return {
        **answer,
        "content": {**answer.get("content", {}), "application/json": {**inner, "example": example}},
    }


def _body(path: str, method: str, schema: Schema) -> Schema:
    """A body's schema with words about each field."""
    names = FIELDS.get(path, ()) if method == "post" else ()
    fields: Schema = schema.get("properties") or {name: {} for name in names}
    if not fields:
        return schema
    about = {name: {"description": words_about(path, name), **inner} for name, inner in fields.items()}
    return {**schema, "properties": about}


def _errors(path: str, group: str, operation: Schema) -> Schema:
    """Status -> an answer that lists the codes that come with it."""
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(_codes(path, group, operation)):
        by_status.setdefault(STATUS_BY_ERROR[code], []).append(code)
    answer = operation["responses"].get("default", {})
    return {
        str(status): {**answer, "description": " ".join(CAUSES[code] for code in codes), "x-codes": codes}
        for status, codes in sorted(by_status.items())
    }


def _codes(path: str, group: str, operation: Schema) -> Iterator[str]:
    yield from _ALWAYS
    if operation.get("security") != []:
        yield from _KEYED
    if "requestBody" in operation and group in ("Work", "Other clients' addresses"):
        yield from _WORK
    if path in ("/v1/search", "/knn-service", "/metadata", "/indices-list", "/gallery/{id}"):
        yield "no_gallery"
    if path in ("/gallery/{id}", "/metrics"):
        yield "not_found"
    if path == "/v1/heatmap":
        yield "no_patches"
    if path == "/v1/models/{id}":
        yield "model_not_found"
    if group == "Account":
        yield "no_accounts"
    if group == "Administration":
        yield from _ADMIN
