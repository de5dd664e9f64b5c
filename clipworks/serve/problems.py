"""Our errors as OpenAI error objects: the only place where a status code is chosen.

    {"error": {"message": str, "type": str, "param": str | null, "code": str}}

`code` is always a string, `param` names the item that is wrong ("input[3].image"). A failure of ours
is answered with its request id and nothing about its inside. Routes that speak another family's
language answer in that family's shape: `ErrorShape`.
"""

import json
import math
from difflib import get_close_matches
from typing import Any, Literal

from starlette.exceptions import HTTPException
from starlette.responses import Response

from clipworks.errors import BusyError, InputError

ErrorShape = Literal["openai", "detail", "message", "tei", "huggingface"]
"""What an error's body looks like.

openai: the object above. detail: the same with {"detail": message} beside it, for Jina's and Voyage's
clients. message: {"message", "id", "code", "param"}, Cohere's and clip-retrieval's. tei: {"error": message,
"error_type"}, with 422 where others have 400. huggingface: as tei, with the status of the others.
"""

STATUS_BY_CODE = {
    "invalid_image": 400,
    "invalid_value": 400,
    "missing_field": 400,
    "too_many_inputs": 400,
    "host_not_allowed": 403,
    "url_fetch_disabled": 403,
    "not_found": 404,
    "model_not_found": 404,
    "no_gallery": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "image_too_large": 413,
    "request_too_large": 413,
    "unsupported_image_format": 415,
    "unsupported_media_type": 415,
}
"""Error code -> HTTP status, for everything that a client can put right."""

_CODE_BY_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}
_TEI_TYPE_BY_STATUS = {429: "Overloaded", 503: "Unhealthy"}
_TYPE_BY_STATUS = {403: "permission_error", 429: "rate_limit_error"}


class RequestError(InputError):
    """One field of a request cannot be used; `param` is its path in the request."""

    def __init__(
        self, message: str, remedy: str = "", *, code: str = "invalid_value", param: str | None = None
    ) -> None:
        super().__init__(message, remedy, code=code)
        self.param = param


def status_and_code(error: Exception) -> tuple[int, str]:
    """HTTP status and error code of anything that may be raised while a request is answered."""
    if isinstance(error, InputError):
        return STATUS_BY_CODE.get(error.code, 400), error.code
    if isinstance(error, BusyError):
        return 429, "server_is_overloaded"
    if isinstance(error, HTTPException):
        return error.status_code, _CODE_BY_STATUS.get(error.status_code, "invalid_value")
    return 500, "internal_error"


def problem(error: Exception, request_id: str, shape: ErrorShape = "openai") -> Response:
    """The answer to a request that failed.

    Args:
        error: what was raised; only our own errors' words reach the client.
        request_id: said in the message of a 500, so that it can be found in the log.
        shape: the family whose clients read it.
    """
    status, code = status_and_code(error)
    body = _body(error, status, code, request_id, shape)
    if shape == "tei" and status == 400:
        status = 422
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if isinstance(error, BusyError):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_seconds)))
        headers["retry-after-ms"] = str(max(1, round(error.retry_after_seconds * 1000)))
    return Response(json.dumps(body), status, headers, media_type="application/json")


def described(error: RequestError) -> dict[str, str | None]:
    """An error as it stands in the row of the one item that it is about."""
    return {"message": str(error), "code": error.code, "param": error.param}


def nearest(name: str, known: list[str]) -> str:
    """The up to three known names that look most like `name`, as words for a remedy."""
    return f"Nearest: {', '.join(get_close_matches(name, known, n=3, cutoff=0.0))}."


def shown(value: object) -> str:
    """A value as it may stand in a message: quoted, escaped, about 80 characters at most."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    try:
        text = repr(value[:80] if isinstance(value, str | bytes | list) else value)
    except RecursionError:  # lists in lists, as deep as JSON's own reader follows them
        text = f"a deeply nested {type(value).__name__}"
    return text if len(text) <= 84 else f"{text[:80]}…"


def _body(error: Exception, status: int, code: str, request_id: str, shape: ErrorShape) -> dict[str, Any]:
    message, param = _message(error, status, request_id), getattr(error, "param", None)
    if shape == "message":
        return {"message": message, "id": request_id, "code": code, "param": param}
    if shape in ("tei", "huggingface"):
        kind = _TEI_TYPE_BY_STATUS.get(status, "Backend" if status >= 500 else "Validation")
        return {"error": message, "error_type": kind}
    kind = _TYPE_BY_STATUS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    body: dict[str, Any] = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return {**body, "detail": message} if shape == "detail" else body


def _message(error: Exception, status: int, request_id: str) -> str:
    if isinstance(error, HTTPException):
        allowed = (error.headers or {}).get("Allow", "another method")
        words = {404: "There is no such address.", 405: f"This address takes {allowed} only."}
        return words.get(status, str(error.detail))
    if status >= 500:
        return f"The server failed on this request; its log says why under the request id {request_id}."
    return str(error)
