"""Pieces of the OpenAPI document: what operations, answers and values look like."""

from typing import Any

Schema = dict[str, Any]

KEYLESS: list[Any] = []

OBJECT: Schema = {"type": "object"}
LIST: Schema = {"type": "object", "required": ["object", "data"]}
TEMPLATE: Schema = {"type": "string", "pattern": r"^[^{}]*\{\}[^{}]*$", "maxLength": 500}
PATH_ID: Schema = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
NOT_READY: Schema = {"description": "A model does not answer, or the server stops."}


def work(summary: str, properties: dict[str, Schema], required: tuple[str, ...]) -> Schema:
    """A route that takes a JSON body and does inference."""
    body = object_of({"model": {"type": ["string", "null"]}, **properties}, required)
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": json_answer(LIST), "default": error_answer()},
    }


def open_to_all(summary: str, responses: dict[str, Schema], *parameters: Schema) -> Schema:
    """A route that asks for no key."""
    return {"security": KEYLESS, **keyed(summary, responses, *parameters)}


def keyed(summary: str, responses: dict[str, Schema], *parameters: Schema) -> Schema:
    """A route that asks for a key where keys are asked for, and takes no body."""
    answers = {**responses, "default": error_answer()}
    return {"summary": summary, "parameters": list(parameters), "responses": answers}


def ref(name: str) -> Schema:
    """The schema of a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def error_answer() -> Schema:
    """What every route answers where it cannot do its work."""
    return {"description": "An error.", "content": {"application/json": {"schema": ref("Error")}}}


def json_answer(schema: Schema) -> Schema:
    """An answer in JSON."""
    return {"description": "The answer.", "content": {"application/json": {"schema": schema}}}


def answer_of(kind: str) -> Schema:
    """An answer of a media type."""
    return {"description": "The answer.", "content": {kind: {}}}


def object_of(properties: dict[str, Schema], required: tuple[str, ...]) -> Schema:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def text(max_characters: int) -> Schema:
    """A text of at most so many characters."""
    return {"type": "string", "minLength": 1, "maxLength": max_characters}


def many(item: Schema, most: int) -> Schema:
    """A list of at most so many."""
    return {"type": "array", "items": item, "minItems": 1, "maxItems": most}


def one_or_many(item: Schema, most: int) -> Schema:
    """One, or a list of at most so many."""
    return {"anyOf": [item, many(item, most)]}
