"""What an error looks like on each address: where the clients of its family read it."""

from typing import Any, Literal

ErrorShape = Literal["openai", "detail", "message", "tei", "huggingface"]
"""What an error's body looks like.

openai: {"error": {"message", "type", "param", "code"}}. detail: the same with {"detail": message} beside it,
for Jina's and Voyage's clients. message: {"message", "id", "code", "param"}, Cohere's and clip-retrieval's.
tei: {"error": message, "error_type"}, with 422 where others have 400. huggingface: as tei, with the status of
the others.
"""

SHAPE_BY_PATH: dict[str, ErrorShape] = {
    "/embeddings": "detail",
    "/v1/embeddings": "detail",
    "/v1/multimodalembeddings": "detail",
    "/rerank": "detail",
    "/v1/rerank": "detail",
    "/v2/rerank": "message",
    "/v1/embed": "message",
    "/v2/embed": "message",
    "/knn-service": "message",
    "/metadata": "message",
    "/indices-list": "message",
    "/embed": "tei",
    "/similarity": "tei",
    "/info": "tei",
}
"""Address -> the shape of its errors, whoever refuses the request; all others have OpenAI's."""

SHAPE_BY_FOLDER: dict[str, ErrorShape] = {"/models/": "huggingface", "/hf/": "huggingface"}
"""The same for everything below."""

_TYPE_BY_STATUS = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}
_WORD_BY_STATUS = {
    401: "Authentication",
    402: "Credit",
    403: "Permission",
    404: "NotFound",
    408: "Timeout",
    409: "Conflict",
    429: "Overloaded",
    503: "Unhealthy",
    504: "Timeout",
}
"""`error_type` for Hugging Face's clients; Overloaded, Unhealthy, Backend, Validation are its own words."""


def shape_of(path: str) -> ErrorShape:
    """The shape of errors at an address."""
    for folder, shape in SHAPE_BY_FOLDER.items():
        if path.startswith(folder):
            return shape
    return SHAPE_BY_PATH.get(path, "openai")


def error_body(
    shape: ErrorShape, *, message: str, status: int, code: str, param: str | None, request_id: str
) -> dict[str, Any]:
    """The body of an error, ready for JSON."""
    if shape == "message":
        return {"message": message, "id": request_id, "code": code, "param": param}
    if shape in ("tei", "huggingface"):
        word = _WORD_BY_STATUS.get(status, "Backend" if status >= 500 else "Validation")
        return {"error": message, "error_type": word}
    kind = _TYPE_BY_STATUS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    body: dict[str, Any] = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return {**body, "detail": message} if shape == "detail" else body
