"""Records of web archives, made for tests."""

import zlib
from collections.abc import Iterable


def record(kind: str, url: str, block: bytes, *, content_type: str = "application/http") -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def response(url: str, body: bytes, *headers: str, status: int = 200, media_type: str = "text/html") -> bytes:
    lines = "\r\n".join((f"HTTP/1.1 {status} X", f"Content-Type: {media_type}", *headers))
    return record("response", url, lines.encode() + b"\r\n\r\n" + body)


def gzipped(records: Iterable[bytes]) -> bytes:
    """Each record as a gzip member of its own, as web archives are."""
    return b"".join(zlib.compress(one, 6, 31) for one in records)


def page(*pictures: str, head: str = "") -> bytes:
    return (
        f"<!doctype html><html lang=en><head><title>T</title>{head}</head>{''.join(pictures)}</html>".encode()
    )
