"""Forms of the pages: read whole and small, taken only with the token that the page's cookie stands for."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request

from clipworks.serve.keys import check_text
from clipworks.serve.problems import RequestError, shown
from clipworks.serve.site.layout import viewer_of
from clipworks.serve.visitors import TOKEN_FIELD, Visitors, check_token, form_token

MAX_FORM_BYTES = 64 << 10
MAX_FIELDS = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """What a page's form says."""

    fields: dict[str, list[str]]
    """Every value by its name, in order; the form token is not among them."""

    def text(self, name: str) -> str:
        """The value of a field, without the space around it; empty where it was not filled in."""
        return self.secret(name).strip()

    def secret(self, name: str) -> str:
        """The value of a field as it was written."""
        return next(iter(self.fields.get(name, ())), "")

    def texts(self, name: str) -> tuple[str, ...]:
        """All values of a field that was ticked several times."""
        return tuple(self.fields.get(name, ()))

    def number(self, name: str) -> int | None:
        """A whole number; None where the field was not filled in.

        Raises:
            RequestError: it is none.
        """
        text = self.text(name)
        if not text:
            return None
        if not (text.isascii() and text.isdecimal() and len(text) < 12):
            raise RequestError(f"{name} is {shown(text)}; it must be a whole number.", param=name)
        return int(text)


async def read_form(request: Request, visitors: Visitors, *, is_signed_in: bool = True) -> Form:
    """The form that a page sent.

    Args:
        is_signed_in: whether the token must be the session's; else it is that of the visit before.

    Raises:
        RequestError: it is too large or too slow, cannot be read, or was not sent by a page of this session.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise RequestError("This address takes the form of its page.", code="unsupported_media_type")
    fields: dict[str, list[str]] = {}
    body = await _read_body(request, visitors.body_seconds)
    try:
        pairs = parse_qsl(
            body.decode("utf-8"),
            keep_blank_values=True,
            max_num_fields=MAX_FIELDS,
            errors="strict",
        )
    except ValueError as error:
        raise RequestError("The form cannot be read.") from error
    for name, value in pairs:
        fields.setdefault(name, []).append(check_text(value, name[:40]))
    given = next(iter(fields.pop(TOKEN_FIELD, ())), None)
    viewer = viewer_of(request)
    if is_signed_in and viewer is None:
        raise RequestError("Nobody is signed in.", "Sign in again.", code="foreign_form")
    visitors.check_own(request)
    wanted = viewer.form_token if is_signed_in and viewer else form_token(visitors.visit_token(request))
    check_token(given, wanted)
    return Form(fields=fields)


async def _read_body(request: Request, seconds: float) -> bytes:
    pieces, num_bytes = [], 0
    try:
        async with asyncio.timeout(seconds), aclosing(request.stream()) as stream:
            async for piece in stream:
                num_bytes += len(piece)
                if num_bytes > MAX_FORM_BYTES:
                    raise RequestError(
                        f"A form has at most {MAX_FORM_BYTES:,} bytes.", code="request_too_large"
                    )
                pieces.append(piece)
    except TimeoutError as error:
        raise RequestError(
            f"The form did not arrive within {seconds:g} seconds.", code="request_timeout"
        ) from error
    return b"".join(pieces)


def own_path(wanted: str) -> str:
    """Where to go next: a path of this site that was asked for, or the account's page."""
    is_own = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted
    return wanted if is_own and wanted.isprintable() and len(wanted) < 1000 else "/account"
