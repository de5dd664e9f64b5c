"""Another OpenAI-compatible server as a source of vectors: what it is asked, and what is believed of it.

Pictures go there as the bytes that the client sent, texts as they are; vectors come back as base64. An
answer counts only where each vector is there, has the model's dimensions, finite numbers and unit length,
and where it does not name another checkpoint. Which upstream is asked when is decided in `router.py`.
"""

import asyncio
import base64
import binascii
import json
import math
import re
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np

from clipworks.errors import ConfigError, NetError
from clipworks.model.heads import Vectors
from clipworks.origins import Answer, Origin, OriginRules
from clipworks.serve.inputs import Picture, file_bytes
from clipworks.serve.problems import ClientFaultError, ProviderError, RequestError
from clipworks.serve.roster import ProviderSpec
from clipworks.serve.traces import FINGERPRINT_HEADER, current_trace

IMAGES_PER_CALL = 32
TEXTS_PER_CALL = 512
MAX_CALL_CHARACTERS = 16 << 20
"""Base64 and text in one call; servers commonly take 32 MB."""

LENGTH_TOLERANCE = 0.01
"""How far from 1 the length of a vector may be; bf16 numbers of unit length are within 0.004."""

CANARY_TEXT = "a photo of a cat"

_MOST_SIDE = 4096
_MOST_TOKENS = 4096
"""Larger figures than these belong to no CLIP: who says them is not believed."""

_ANSWER_BYTES = 256 << 10
_BYTES_PER_NUMBER = 32
_CLIENT_STATUSES = (400, 413, 415, 422)
_PASSING_STATUSES = (408, 409, 425)
_THEIR_LIMITS = (
    *("too_many_inputs", "request_too_large", "rate_limit_exceeded", "model_not_found", "missing_field"),
    *("host_not_allowed", "url_fetch_disabled", "not_found"),
)
"""Codes that say something of that server and nothing of the client's items."""

_PICTURE_CODES = ("invalid_image", "unsupported_image_format", "image_too_large")
_ITEM = re.compile(r"input(?:\[([0-9]{1,6})\])?(?:\.image)?")
_TELLING = re.compile(r"://|[0-9]{1,3}(\.[0-9]{1,3}){3}|\b(sk|cw)[-_]", re.IGNORECASE)
"""What may be an address or a key of that server: such words are not passed on."""

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_MAGICS = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"GIF8", "gif"), (b"BM", "bmp"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What an upstream is, as far as it says so, and its vectors of two known items."""

    vectors: Vectors
    """float32 [2, D]: of `CANARY_TEXT` and of `canary_picture()`."""
    fingerprint: str
    """sha256 of its checkpoint where it is a clipworks; else empty."""
    precision: str = "unknown"
    image_size: int = 224
    context_length: int = 77
    logit_scale: float = 100.0
    """Of CLIP where it does not say: what all of OpenAI's and LAION's were trained up to."""


class Upstream:
    """One upstream of one model. All methods run in one event loop, after `open`.

    Args:
        spec: where it is and what it calls the model.
        model: what this server calls it.

    Raises:
        ConfigError: its address cannot be used.
    """

    def __init__(self, spec: ProviderSpec, model: str) -> None:
        self.spec = spec
        self._name = spec.model or model
        try:
            self._rules = OriginRules(url=spec.url, is_private=spec.private, ca_file=spec.ca_file)
        except ConfigError as error:
            raise ConfigError(f"The provider {spec.name}: {error.message}", error.remedy) from error
        self._origin: Origin | None = None
        self._headers = [("Authorization", f"Bearer {spec.key}")] if spec.key else []

    def open(self) -> None:
        """Begin; it may be opened again after `close`.

        Raises:
            ConfigError: its certificates cannot be read.
        """
        self._origin = Origin(self._rules)

    def close(self) -> None:
        """Let its connections go."""
        if self._origin is not None:
            self._origin.close()

    async def look(self) -> Look:
        """Ask what it is, and have it embed a text and a picture.

        Raises:
            ProviderError: it does not answer, or not as it should.
        """
        seconds = self.spec.timeout_seconds
        texts = await self.embed_texts([CANARY_TEXT], dim=0, fingerprint="", seconds=seconds)
        images = await self.embed_images(
            [Picture(data=canary_picture(), param="canary")], dim=0, fingerprint="", seconds=seconds
        )
        if texts.shape != images.shape:
            raise ProviderError("gives texts and pictures different dimensions", reason="mismatch")
        answer = await self._ask(f"/models/{quote(self._name, safe='/')}", None, seconds, _ANSWER_BYTES)
        facts = _facts(answer)
        return Look(vectors=np.concatenate([texts, images]), **facts)

    async def embed_texts(
        self, texts: Sequence[str], *, dim: int, fingerprint: str, seconds: float
    ) -> Vectors:
        """float32 [N, D], one unit row per text, in order.

        Args:
            dim: D; 0 where it is not known yet.
            fingerprint: of the model; an answer that names another one is refused. Empty where not known.
            seconds: for all of it.

        Raises:
            ProviderError: it does not answer, or not as it should.
            ClientFaultError: it says that the items cannot be used.
        """
        calls = _parts(list(texts), TEXTS_PER_CALL)
        return await self._embed(calls, "text", lambda _: None, dim, fingerprint, seconds)

    async def embed_images(
        self, pictures: Sequence[Picture], *, dim: int, fingerprint: str, seconds: float
    ) -> Vectors:
        """float32 [N, D], one unit row per picture, in order; as `embed_texts`.

        Raises:
            RequestError: a picture is no base64.
        """
        items = await asyncio.to_thread(lambda: [_data_uri(picture) for picture in pictures])
        return await self._embed(
            _parts(items, IMAGES_PER_CALL), "image", lambda i: pictures[i].param, dim, fingerprint, seconds
        )

    async def _embed(
        self,
        calls: Sequence[list[str]],
        modality: str,
        param_of: Callable[[int], str | None],
        dim: int,
        fingerprint: str,
        seconds: float,
    ) -> Vectors:
        rows = []
        start = 0
        until = time.monotonic() + seconds
        async with asyncio.timeout(seconds):
            for items in calls:
                body = {
                    "model": self._name,
                    "input": items,
                    "modality": modality,
                    "encoding_format": "base64",
                }
                room = _ANSWER_BYTES + len(items) * (dim or 8192) * _BYTES_PER_NUMBER
                left = max(0.001, until - time.monotonic())
                data = await asyncio.to_thread(_encoded, body)
                answer = await self._ask("/embeddings", data, left, room)
                if answer.status != 200:
                    raise _failure(answer, start, len(items), param_of)
                said = answer.headers.get(FINGERPRINT_HEADER, "")
                if fingerprint and said and said != fingerprint:
                    raise ProviderError("answers with another checkpoint now", reason="mismatch")
                rows.append(await asyncio.to_thread(_vectors, answer.data, len(items), dim))
                start += len(items)
        return np.concatenate(rows)

    async def _ask(self, path: str, body: bytes | None, seconds: float, max_bytes: int) -> Answer:
        assert self._origin is not None
        trace = current_trace()
        headers = [*self._headers, ("X-Request-Timeout-Ms", str(max(1, math.floor(seconds * 1000))))]
        if trace.request_id:
            headers.append(("X-Request-Id", trace.request_id))
        try:
            return await self._origin.ask(
                path, body=body, headers=headers, seconds=seconds, max_bytes=max_bytes
            )
        except NetError as error:
            reasons = {"timeout": "timeout", "unreachable": "unreachable", "blocked": "unreachable"}
            raise ProviderError(error.message, reason=reasons.get(error.reason, "damaged")) from error


def canary_picture() -> bytes:
    """A small PNG of colours; always the same bytes."""
    side = 32
    rows = (b"\0" + bytes(v for x in range(side) for v in (8 * x, 8 * y, (x * y) % 256)) for y in range(side))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"".join(rows))),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _data_uri(picture: Picture) -> str:
    """The picture as the client sent it; its bytes are not touched."""
    data = picture.data if isinstance(picture.data, bytes) else file_bytes(picture)
    kind = next((kind for magic, kind in _MAGICS if data.startswith(magic)), "webp")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _encoded(body: dict[str, Any]) -> bytes:
    """A body as JSON; of some megabytes it takes too long for the event loop."""
    return json.dumps(body).encode()


def _parts(items: Sequence[str], most: int) -> list[list[str]]:
    """Items in calls that are not too large; one that is larger goes alone."""
    calls: list[list[str]] = []
    size = 0
    for item in items:
        if not calls or len(calls[-1]) >= most or size + len(item) > MAX_CALL_CHARACTERS:
            calls.append([])
            size = 0
        calls[-1].append(item)
        size += len(item)
    return calls


def _vectors(data: bytes, count: int, dim: int) -> Vectors:
    """The vectors of an answer, float32 [count, D], unit rows.

    Raises:
        ProviderError: they are not as they should be.
    """
    try:
        rows = json.loads(data)["data"]
        if len(rows) != count or sorted(row["index"] for row in rows) != list(range(count)):
            raise ProviderError(f"does not give the {count} vectors that were asked for", reason="damaged")
        vectors = [_vector(row["embedding"]) for row in sorted(rows, key=lambda row: row["index"])]
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error, OverflowError) as error:
        raise ProviderError("gives something else than vectors", reason="damaged") from error
    wrong = {len(vector) for vector in vectors} - {dim or len(vectors[0])}
    if wrong or not len(vectors[0]):
        raise ProviderError(f"gives vectors of {wrong or 0} numbers, not of {dim}", reason="mismatch")
    found: Vectors = np.stack(vectors)
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(found.astype(np.float64), axis=1, keepdims=True)
    if not np.all(np.abs(lengths - 1) <= LENGTH_TOLERANCE):  # also where one is not finite
        raise ProviderError("gives vectors that have not unit length", reason="damaged")
    return found if np.all(np.abs(lengths - 1) < 1e-5) else (found / lengths).astype(np.float32)


def _vector(value: Any) -> Vectors:
    if isinstance(value, str):
        raw = base64.b64decode(value, validate=True)
        return np.frombuffer(raw, dtype="<f4").astype(np.float32, copy=False)
    return np.array([float(number) for number in value], dtype=np.float64).astype(np.float32)


def _facts(answer: Answer) -> dict[str, Any]:
    """What the row of a model says, where it is the row of a clipworks."""
    try:
        row = json.loads(answer.data) if answer.status == 200 else {}
        if not _FINGERPRINT.fullmatch(str(row.get("fingerprint"))):
            return {"fingerprint": ""}
        side, length, scale = int(row["image_size"]), int(row["context_length"]), float(row["logit_scale"])
        if not (0 < side <= _MOST_SIDE and 0 < length <= _MOST_TOKENS and 0 < scale < math.inf):
            return {"fingerprint": ""}
        return {
            "fingerprint": row["fingerprint"],
            "precision": str(row["precision"])[:20],
            "image_size": side,
            "context_length": length,
            "logit_scale": scale,
        }
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return {"fingerprint": ""}


def _failure(
    answer: Answer, start: int, count: int, param_of: Callable[[int], str | None]
) -> ProviderError | ClientFaultError:
    """What a status other than 200 means."""
    status = answer.status
    message, code, param = _words(answer.data)
    if status in _CLIENT_STATUSES and code not in _THEIR_LIMITS:
        return ClientFaultError(_refusal(message, code, param, start, count, param_of))
    seconds = _retry_after(answer.headers)
    if status in (429, 503):
        return ProviderError(f"answers {status}", reason="busy", retry_after_seconds=seconds)
    if status == 504:  # it was told how long it had
        return ProviderError("has no answer in the time given", reason="timeout")
    if status >= 500 or status in _PASSING_STATUSES:
        return ProviderError(f"answers {status}", reason="failed", retry_after_seconds=seconds)
    return ProviderError(f"answers {status} {code}".rstrip(), reason="refused", retry_after_seconds=seconds)


def _words(data: bytes) -> tuple[str, str, str]:
    """Message, code and param of an error object; nothing where it is none."""
    try:
        error = json.loads(data)["error"]
        message, code, param = (error.get(name) for name in ("message", "code", "param"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "", "", ""
    code = code if isinstance(code, str) and re.fullmatch(r"[a-z0-9_]{1,40}", code) else ""
    return str(message or ""), code, str(param or "")


def _refusal(
    message: str, code: str, param: str, start: int, count: int, param_of: Callable[[int], str | None]
) -> RequestError:
    """The refusal of an item in words about the client's own request."""
    match = _ITEM.fullmatch(param)
    place = int(match[1] or 0) if match else 0 if count == 1 else count
    ours = param_of(start + place) if place < count else None
    item = ours or (f"The text {start + place + 1} of this request" if match and place < count else "")
    code = code if code in _PICTURE_CODES else "invalid_value"
    if item and param and message.startswith((f"{param} ", f"{param}:")) and not _TELLING.search(message):
        return RequestError(item + message[len(param) :][:300], code=code, param=ours)
    words = f"{item or 'An item of this request'} cannot be used by the provider of this model."
    return RequestError(words, code=code, param=ours)


def _retry_after(headers: dict[str, str]) -> float | None:
    """When to come back, seconds, at most a minute."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
            return min(float(text) * unit, 60.0)
    return None
