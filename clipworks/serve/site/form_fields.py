"""The forms of the pages of models: small, and taken only with the token of their session."""

import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request

from clipworks.serve.keys import check_text
from clipworks.serve.problems import RequestError
from clipworks.serve.site.layout import Viewer, viewer_of

MAX_FORM_BYTES = 64 << 10
MAX_FIELDS = 200
TOKEN_FIELD = "form_token"


async def read_fields(request: Request, viewer: Viewer) -> Mapping[str, str]:
    """The fields of a form, each once, without the space around them.

    Raises:
        RequestError: it is too large, is no form, or was not sent by a page of this session.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise RequestError("This address takes the form of its page.", code="unsupported_media_type")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM_BYTES:
            raise RequestError(f"A form has at most {MAX_FORM_BYTES:,} bytes.", code="request_too_large")
    try:
        pairs = parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"
        )
    except ValueError as error:
        raise RequestError("The form cannot be read.") from error
    fields = {name: check_text(value, name[:40]).strip() for name, value in pairs}
    given = fields.pop(TOKEN_FIELD, "")
    if not viewer.form_token or not hmac.compare_digest(given.encode(), viewer.form_token.encode()):
        raise RequestError(
            "This form is not of this session.",
            "Load its page again and send it once more.",
            code="scope_not_allowed",
        )
    return fields


def signed_in(request: Request) -> Viewer:
    """Who is signed in.

    Raises:
        RequestError: nobody is.
    """
    viewer = viewer_of(request)
    if viewer is None:
        raise RequestError("Nobody is signed in.", "Sign in first.", code="scope_not_allowed")
    return viewer


def operator_of(request: Request) -> Viewer:
    """The operator who is signed in.

    Raises:
        RequestError: nobody is, or it is no operator, who hears that there is no such page.
    """
    viewer = viewer_of(request)
    if viewer is None or not viewer.is_operator:
        raise RequestError("There is no such address.", code="not_found")
    return viewer
