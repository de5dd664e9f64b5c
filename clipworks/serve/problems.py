"""Our errors as OpenAI error objects: the only place where a status code is chosen.

    {"error": {"message": str, "type": str, "param": str | null, "code": str}}

`code` is always a string, `param` names the item that is wrong ("input[3].image"). A failure of ours
is answered with its request id and nothing about its inside. Addresses of another family answer in
that family's shape: `shapes.py`.
"""

import json
import math
from difflib import get_close_matches

from starlette.exceptions import HTTPException
from starlette.responses import Response

from clipworks.errors import BusyError, ClipworksError, InputError
from clipworks.serve.shapes import error_body, shape_of

STATUS_BY_CODE = {
    "invalid_image": 400,
    "invalid_value": 400,
    "missing_field": 400,
    "too_many_inputs": 400,
    "url_not_fetched": 400,
    "invalid_api_key": 401,
    "credit_balance_exhausted": 402,
    "key_budget_exhausted": 402,
    "foreign_form": 403,
    "host_not_allowed": 403,
    "model_not_allowed": 403,
    "not_recognised": 403,
    "pages_key_ended": 403,
    "scope_not_allowed": 403,
    "url_fetch_disabled": 403,
    "wrong_password": 403,
    "account_not_found": 404,
    "key_not_found": 404,
    "no_accounts": 404,
    "not_found": 404,
    "model_not_found": 404,
    "no_gallery": 404,
    "no_patches": 400,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "idempotency_conflict": 409,
    "idempotency_in_progress": 409,
    "length_required": 411,
    "image_too_large": 413,
    "request_too_large": 413,
    "unsupported_image_format": 415,
    "unsupported_media_type": 415,
    "rate_limit_exceeded": 429,
    "accounts_unavailable": 503,
}
"""Error code -> HTTP status, for everything that has a code of its own."""

NO_RETRY_CODES = ("credit_balance_exhausted", "key_budget_exhausted", "idempotency_conflict")
"""What the same request will meet again; clients repeat a 409 on their own unless they are told not to."""

UNAVAILABLE_STATUS_BY_CODE = {
    "model_loading": 503,
    "model_failed": 503,
    "worker_lost": 503,
    "server_stopping": 503,
    "providers_failed": 503,
    "deadline_exceeded": 504,
}
"""Error code -> HTTP status, for what may go well a little later."""

_COMPARED_CHARACTERS = 200
_CODE_BY_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}


class RequestError(InputError):
    """One field of a request cannot be used; `param` is its path in the request."""

    def __init__(
        self,
        message: str,
        remedy: str = "",
        *,
        code: str = "invalid_value",
        param: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, remedy, code=code)
        self.param = param
        self.retry_after_seconds = retry_after_seconds
        """When the same request may succeed; None where that is not known."""
        self.headers: dict[str, str] = {}
        """Headers that its answer gets beside those of every error."""


class UnavailableError(ClipworksError):
    """The model cannot answer now: it is being loaded, its worker died, or the request's time is over."""

    def __init__(
        self, message: str, remedy: str = "Try again later.", *, code: str, retry_after_seconds: float = 1.0
    ) -> None:
        super().__init__(message, remedy)
        self.code = code
        self.retry_after_seconds = retry_after_seconds


class StoppingError(BusyError):
    """The server is being stopped; another one, or the next, may answer."""

    def __init__(self, name: str) -> None:
        super().__init__(f"The queue for {name} is closed: the server is stopping.", "Try again later.")


class ProviderError(ClipworksError):
    """A provider of a model did not answer, or not as it should; another one may.

    Args:
        message: what it did, without its name and never with its address.
        reason: `timeout`, `unreachable`, `busy`, `failed`, `damaged`, `refused` or `mismatch`.
        retry_after_seconds: when it says to come back.
    """

    def __init__(self, message: str, *, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class ClientFaultError(ClipworksError):
    """A provider says that the items of the request cannot be used, so no other one is asked.

    Args:
        refusal: the same in words about the client's request.
    """

    def __init__(self, refusal: RequestError) -> None:
        super().__init__(refusal.message, refusal.remedy)
        self.refusal = refusal


def status_and_code(error: Exception) -> tuple[int, str]:
    """HTTP status and error code of anything that may be raised while a request is answered."""
    if isinstance(error, InputError):
        return STATUS_BY_CODE.get(error.code, 400), error.code
    if isinstance(error, StoppingError):
        return UNAVAILABLE_STATUS_BY_CODE["server_stopping"], "server_stopping"
    if isinstance(error, BusyError):
        return 429, "server_is_overloaded"
    if isinstance(error, UnavailableError):
        return UNAVAILABLE_STATUS_BY_CODE[error.code], error.code
    if isinstance(error, HTTPException):
        return error.status_code, _CODE_BY_STATUS.get(error.status_code, "invalid_value")
    return 500, "internal_error"


def problem(error: Exception, request_id: str, path: str) -> Response:
    """The answer to a request that failed.

    Args:
        error: what was raised; only our own errors' words reach the client.
        request_id: said in the message of a 500, so that it can be found in the log.
        path: where the request went, whose family's clients read the answer.
    """
    status, code = status_and_code(error)
    shape = shape_of(path)
    body = error_body(
        shape,
        message=message_of(error, status, request_id),
        status=status,
        code=code,
        param=getattr(error, "param", None),
        request_id=request_id,
    )
    if shape == "tei" and status == 400:
        status = 422
    return Response(json.dumps(body), status, headers_of(error, status, code), media_type="application/json")


def message_of(error: Exception, status: int, request_id: str) -> str:
    """What a client is told; nothing about our inside."""
    if isinstance(error, HTTPException):
        allowed = (error.headers or {}).get("Allow", "another method")
        words = {404: "There is no such address.", 405: f"This address takes {allowed} only."}
        return words.get(status, str(error.detail))
    if status >= 500 and not isinstance(error, UnavailableError | StoppingError):
        return f"The server failed on this request; its log says why under the request id {request_id}."
    return str(error)


def headers_of(error: Exception, status: int, code: str) -> dict[str, str]:
    """What the headers of a failed request's answer say: when to come back, what is allowed."""
    headers = dict(error.headers or {}) if isinstance(error, HTTPException | RequestError) else {}
    seconds = (
        error.retry_after_seconds if isinstance(error, BusyError | RequestError | UnavailableError) else None
    )
    if seconds is not None:
        headers["retry-after"] = str(max(1, math.ceil(seconds)))
        headers["retry-after-ms"] = str(max(1, round(seconds * 1000)))
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if code in NO_RETRY_CODES or (status == 429 and seconds is None):
        headers["x-should-retry"] = "false"
    return headers


def described(error: RequestError) -> dict[str, str | None]:
    """An error as it stands in the row of the one item that it is about."""
    return {"message": str(error), "code": error.code, "param": error.param}


def nearest(name: str, known: list[str]) -> str:
    """The up to three known names that look most like the beginning of `name`, as words for a remedy."""
    # A name of megabytes would hold the event loop for seconds.
    near = get_close_matches(name[:_COMPARED_CHARACTERS], known, n=3, cutoff=0.0)
    return f"Nearest: {', '.join(near)}."


def shown(value: object) -> str:
    """A value as it may stand in a message: quoted, escaped, about 80 characters at most."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    try:
        text = repr(value[:80] if isinstance(value, str | bytes | list) else value)
    except RecursionError:  # lists in lists, as deep as JSON's own reader follows them
        text = f"a deeply nested {type(value).__name__}"
    return text if len(text) <= 84 else f"{text[:80]}…"
