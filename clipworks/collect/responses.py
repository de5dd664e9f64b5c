"""HTTP responses as archives hold them: status, media type, and the body with its encodings undone."""

import re
import zlib
from dataclasses import dataclass
from typing import Any

from isal import isal_zlib

from clipworks.collect.records import Record, field_of

MAX_BODY_BYTES = 64 << 20
"""A compressed body is read so far; what follows is cut off."""

_ERRORS: Any = isal_zlib.error  # isal says that it is an instance
_STATUS = re.compile(rb"HTTP/[0-9.]+ +([0-9]{3})", re.IGNORECASE)
_CHUNK = re.compile(rb"[ \t\r\n]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]{0,1000})?\r?\n")
_GZIP_WBITS = 31


@dataclass(frozen=True, kw_only=True, slots=True)
class Response:
    """What a server answered."""

    status: int
    """HTTP status; 200 for a record that holds the body alone."""
    media_type: str
    """The type in lower case without parameters, "" if none is given."""
    content_type: bytes
    """The header's value as it stands, with its `charset`."""
    encodings: tuple[bytes, ...]
    """What is still to be undone to `body`, in the order it was applied."""
    body: bytes
    """As it stands in the archive."""


def read_response(record: Record) -> Response | None:
    """The response in a `response` or `resource` record; None where there is none."""
    if record.kind == b"resource":
        content_type = record.field(b"content-type")
        return Response(
            status=200,
            media_type=_media_type(content_type),
            content_type=content_type,
            encodings=(),
            body=record.block,
        )
    block = record.block
    match = _STATUS.match(block)
    if match is None:
        return None
    end, body_at = _end_of_head(block)
    raw_head = block[:end]
    head = raw_head.lower()
    content_type = field_of(head, raw_head, b"content-type")
    encodings = b",".join(
        field_of(head, raw_head, name) for name in (b"content-encoding", b"transfer-encoding")
    )
    return Response(
        status=int(match[1]),
        media_type=_media_type(content_type),
        content_type=content_type,
        encodings=tuple(name.strip() for name in encodings.lower().split(b",") if name.strip()),
        body=block[body_at:],
    )


def decode_body(response: Response) -> bytes | None:
    """The body with chunks joined and compression undone; None where it cannot be undone.

    Archives often keep the header lines of an encoding that the crawler has undone, so a body that does
    not look like it is taken as it is. What a cut body holds is kept.
    """
    body = response.body
    for name in reversed(response.encodings):
        if name == b"chunked":
            body = _join_chunks(body)
        elif name in (b"gzip", b"x-gzip"):
            if body.startswith(b"\x1f\x8b"):
                decoded = _inflate(body, _GZIP_WBITS)
                if decoded is None:
                    return None
                body = decoded
        elif name == b"deflate":
            decoded = _inflate(body, zlib.MAX_WBITS)
            if decoded is None:
                decoded = _inflate(body, -zlib.MAX_WBITS)
            body = body if decoded is None else decoded
        elif name != b"identity" and not _is_plain(body):
            return None
    return body


def _end_of_head(block: bytes) -> tuple[int, int]:
    """Where the header lines end and where the body begins."""
    end = block.find(b"\r\n\r\n")
    if end >= 0:
        return end, end + 4
    end = block.find(b"\n\n")
    return (end, end + 2) if end >= 0 else (len(block), len(block))


def _media_type(content_type: bytes) -> str:
    return content_type.split(b";", 1)[0].strip().lower().decode("latin-1")


def _join_chunks(body: bytes) -> bytes:
    """The chunks' content; the body itself where it does not begin with the length of a chunk."""
    parts = list[bytes]()
    at = 0
    while match := _CHUNK.match(body, at):
        size = int(match[1], 16)
        if not size:
            return b"".join(parts)
        at = match.end()
        parts.append(body[at : at + size])
        at += size
    return b"".join(parts) if at else body


def _inflate(body: bytes, wbits: int) -> bytes | None:
    """What can be inflated; None where not even the beginning can."""
    decoder = isal_zlib.decompressobj(wbits)
    parts: list[bytes] = []
    size, at = 0, 0
    try:
        while not decoder.eof and size < MAX_BODY_BYTES and at < len(body):
            chunk = decoder.unconsumed_tail or body[at : at + (64 << 10)]
            at += 0 if decoder.unconsumed_tail else len(chunk)
            parts.append(decoder.decompress(chunk, MAX_BODY_BYTES - size))
            size += len(parts[-1])
    except _ERRORS:
        pass
    return b"".join(parts) if size else None


def _is_plain(body: bytes) -> bool:
    """Whether a body with an unknown encoding looks like markup all the same."""
    return body[:512].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")
