"""A request's body, off the wire: counted while it arrives, then one dictionary whatever its form.

JSON, `multipart/form-data` and raw `image/*` bodies become the same payload, so that what stands
behind (`inputs.py`) reads fields once. Pictures of the last two forms are `bytes` values.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

from starlette.datastructures import FormData, QueryParams, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from clipworks.serve.inputs import Payload as Payload
from clipworks.serve.problems import RequestError, nearest, shown
from clipworks.serve.settings import ServeSettings

LIST_FIELDS = ("labels", "templates", "texts")
"""Fields that a form or a query gives as text: once, separated by commas, or once per value."""

_BYTES_PARSED_AT_ONCE = 256 << 10
"""A thread would cost more than parsing a body of this size."""
_BYTES_TO_SWALLOW = 256 << 20
_UNREAD_BYTES = 4 << 20
_UNREAD_SECONDS = 2.0


async def pass_over(request: Request) -> None:
    """Read a body that is not too large and forget it, before the request is refused.

    A client that is still sending would find the connection broken in place of the answer.
    """
    left = _UNREAD_BYTES
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(_UNREAD_SECONDS), aclosing(request.stream()) as pieces:
            async for piece in pieces:
                left -= len(piece)
                if left < 0:
                    return


async def read_payload(request: Request, settings: ServeSettings, *, fields: tuple[str, ...]) -> Payload:
    """Read and parse the body.

    Args:
        fields: the names that may stand in it; uploaded files and raw picture bodies become the first.

    Raises:
        RequestError: the body is too large, too slow, of an unknown type or not well formed, or it
            has a field of another name.
    """
    payload = await _read_any(request, settings, fields[0])
    for name in payload:
        if name not in fields:
            raise RequestError(
                f"There is no field {shown(name)} here.", nearest(name, list(fields)), param=name[:80]
            )
    return payload


async def _read_any(request: Request, settings: ServeSettings, picture_field: str) -> Payload:
    _check_headers(request, settings)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        async with asyncio.timeout(settings.body_seconds):
            if content_type == "multipart/form-data":
                return await _read_form(request, settings, picture_field)
            body = await _read_body(request, settings.max_body_bytes)
    except TimeoutError as error:
        raise RequestError(
            f"The request did not arrive within {settings.body_seconds:g} seconds.", code="request_timeout"
        ) from error
    content_type = content_type or _guess(body)
    if content_type == "application/json" or content_type.endswith("+json"):
        if len(body) <= _BYTES_PARSED_AT_ONCE:
            return _parse_json(body)
        return await asyncio.to_thread(_parse_json, body)
    if content_type.startswith("image/") or content_type == "application/octet-stream":
        return {**_fields(request.query_params), picture_field: [body]}
    raise RequestError(
        f"The content type {shown(content_type)} is not taken here."
        if content_type
        else "The request does not say its content type.",
        "Add the header 'Content-Type: application/json', multipart/form-data, or image/* for a picture.",
        code="unsupported_media_type",
    )


def _guess(body: bytes) -> str:
    """What a body is whose sender does not say: huggingface_hub sends pictures so, clip-retrieval JSON."""
    start = body[:64].lstrip()[:1]
    return "application/json" if start in (b"{", b"[") else "application/octet-stream" if start else ""


def _check_headers(request: Request, settings: ServeSettings) -> None:
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise RequestError(
            f"The content encoding {shown(encoding)} is not taken here.",
            "Send the body uncompressed.",
            code="unsupported_media_type",
        )


async def _read_body(request: Request, limit_bytes: int) -> bytes:
    pieces: list[bytes] = []
    async with aclosing(_counted(request, limit_bytes)) as stream:
        async for piece in stream:
            pieces.append(piece)
    return b"".join(pieces)


async def _counted(request: Request, limit_bytes: int) -> AsyncGenerator[bytes, None]:
    """The body's pieces up to the limit; the rest is read and dropped, so that the client hears why."""
    num_bytes = 0
    async with aclosing(request.stream()) as stream:
        async for piece in stream:
            num_bytes += len(piece)
            if num_bytes <= limit_bytes:
                yield piece
            elif num_bytes > limit_bytes + _BYTES_TO_SWALLOW:
                break
    if num_bytes > limit_bytes:
        raise RequestError(
            f"The request's body is larger than {limit_bytes:,} bytes.",
            "Send fewer or smaller pictures in one request.",
            code="request_too_large",
        )


async def _read_form(request: Request, settings: ServeSettings, picture_field: str) -> Payload:
    max_fields = settings.max_labels + settings.max_texts
    async with aclosing(_counted(request, settings.max_body_bytes)) as stream:
        parser = MultiPartParser(
            request.headers, stream, max_files=settings.max_images, max_fields=max_fields
        )
        try:
            form = await parser.parse()
        except (MultiPartException, KeyError, UnicodeDecodeError) as error:
            words = error.message if isinstance(error, MultiPartException) else "it has no boundary"
            raise RequestError(f"The multipart body cannot be read: {words}.") from error
    try:
        pictures = [await file.read() for _, file in form.multi_items() if isinstance(file, UploadFile)]
    finally:
        await form.close()
    payload = _fields(form)
    if pictures:
        texts = payload.get(picture_field, [])
        payload[picture_field] = pictures + (texts if isinstance(texts, list) else [texts])
    return payload


def _parse_json(body: bytes) -> Payload:
    if not body.strip():
        raise RequestError("The request's body is empty; it must be a JSON object.")
    try:
        payload = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        words = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RequestError(f"The request's body is not JSON: {words}.") from error
    if not isinstance(payload, dict):
        raise RequestError(f"The request's body is a JSON {type(payload).__name__}; it must be an object.")
    return payload


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _fields(values: FormData | QueryParams) -> Payload:
    """Text fields of a form or a query: lists for `LIST_FIELDS` and for repeated names."""
    payload: Payload = {}
    for name in dict.fromkeys(values.keys()):
        texts = [text for text in values.getlist(name) if isinstance(text, str)]
        if name in LIST_FIELDS:
            payload[name] = _split(name, texts)
        elif texts:
            payload[name] = texts if len(texts) > 1 else texts[0]
    return payload


def _split(name: str, texts: list[str]) -> list[Any]:
    """`a,b` or `["a", "b"]` given once, or one value per repetition; a template may hold commas."""
    if len(texts) != 1:
        return list(texts)
    text = texts[0].strip()
    if text.startswith("["):
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{name} begins with '[' and is not a JSON list.", param=name) from error
        return values if isinstance(values, list) else [values]
    separator = "\n" if name == "templates" else ","
    return [part.strip() for part in text.split(separator) if part.strip()]
