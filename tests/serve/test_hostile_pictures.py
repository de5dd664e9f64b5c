"""Files made to hurt: each is a picture or an error object, and costs little memory either way."""

import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pictures import encoded, picture, png_header
from PIL import Image, PngImagePlugin
from starlette.testclient import TestClient

from clipworks.processes import peak_memory_bytes
from clipworks.serve.app import create_app
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ADDRESS, COLOURS, ColourEngine, data_uri, refusal

RED = Image.new("RGB", (16, 16), COLOURS["red"])


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunk(kind: bytes, content: bytes) -> bytes:
    """A red PNG with one chunk more behind its header."""
    file = encoded(RED, "PNG")
    return file[:33] + chunk(kind, content) + file[33:]


def animated(kind: str, frames: int) -> bytes:
    others = [Image.new("RGB", (16, 16), (i % 256, i // 256, 0)) for i in range(frames)]
    return encoded(RED, kind, save_all=True, append_images=others, lossless=True)


def big_exif() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    return encoded(RED, "JPEG", exif=exif, quality=95)


def big_text() -> bytes:
    words = PngImagePlugin.PngInfo()
    words.add_itxt("words", "x" * 500_000, zip=True)
    return encoded(RED, "PNG", pnginfo=words)


def strip(width: int, height: int) -> bytes:
    return encoded(Image.new("RGB", (width, height), COLOURS["red"]), "PNG")


TAKEN: dict[str, Callable[[], bytes]] = {
    "animated GIF": lambda: animated("GIF", 50),
    "animated WebP": lambda: animated("WEBP", 20),
    "animated PNG": lambda: animated("PNG", 20),
    "1x60000": lambda: strip(1, 60_000),
    "60000x1": lambda: strip(60_000, 1),
    "giant ICC profile": lambda: encoded(RED, "JPEG", icc_profile=bytes(150_000), quality=95),
    "ICC profile that is none": lambda: encoded(RED, "PNG", icc_profile=b"not a profile" * 100),
    "giant EXIF block": big_exif,
    "long iTXt chunk": big_text,
    "picture with a page behind it": lambda: encoded(RED, "PNG") + b"<html><script>alert(1)</script>",
    "picture with an archive behind it": lambda: encoded(RED, "GIF") + b"PK\x03\x04" + bytes(100),
}

REFUSED: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "13000x13000 PNG": (lambda: png_header(13_000, 13_000, bits=8, rows=b""), 413, "image_too_large"),
    "GIF that claims 65535x65535": (
        lambda: b"GIF89a\xff\xff\xff\xff" + encoded(RED, "GIF")[10:],
        413,
        "image_too_large",
    ),
    "BMP that claims 2 billion columns": (
        lambda: (
            b"BM"
            + struct.pack("<IHHI", 70, 0, 0, 54)
            + struct.pack("<IiiHHIIiiII", 40, 2_000_000_000, 2_000_000_000, 1, 24, 0, 0, 0, 0, 0, 0)
        ),
        413,
        "image_too_large",
    ),
    "iTXt chunk that inflates to 64 MB": (
        lambda: with_chunk(b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(64 << 20), 9)),
        400,
        "invalid_image",
    ),
    "iCCP chunk that inflates to 64 MB": (
        lambda: with_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(64 << 20), 9)),
        400,
        "invalid_image",
    ),
    "truncated JPEG": (lambda: encoded(picture("RGB", 60, 60), "JPEG")[:700], 400, "invalid_image"),
    "truncated PNG": (lambda: encoded(picture("RGB", 60, 60), "PNG")[:-900], 400, "invalid_image"),
    "SVG": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported_image_format"),
    "SVG that calls itself PNG": (lambda: b"\x89PNG\r\n\x1a\n<svg/>", 415, "unsupported_image_format"),
    "FITS": (lambda: b"SIMPLE  =                    T" + b" " * 2850, 400, "invalid_image"),
    "EPS": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 400, "invalid_image"),
    "GD": (lambda: b"\xff\xfe\x00\x10\x00\x10\x01" + bytes(1060), 400, "invalid_image"),
    "PSD": (lambda: b"8BPS\x00\x01" + bytes(20), 415, "unsupported_image_format"),
    "page": (lambda: b"<html><svg></svg></html>", 400, "invalid_image"),
    "Python's pickle": (lambda: b"\x80\x04\x95\x00\x00\x00", 400, "invalid_image"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_odd_files_that_are_pictures_are_read_as_their_first_frame(
    shared_client: TestClient, name: str
) -> None:
    body = {"model": "colours", "input": [data_uri(TAKEN[name]()), "red"]}
    answer = shared_client.post("/v1/embeddings", json=body)
    assert answer.status_code == 200, answer.text
    picture_vector, red = (np.array(row["embedding"]) for row in answer.json()["data"])
    assert picture_vector @ red > 0.99


@pytest.mark.parametrize("name", REFUSED)
def test_files_made_to_hurt_are_answered_without_their_memory(shared_client: TestClient, name: str) -> None:
    make, status, code = REFUSED[name]
    file = make()
    shared_client.post("/v1/embeddings", json={"model": "colours", "input": [data_uri(encoded(RED, "PNG"))]})
    before = peak_memory_bytes()
    answer = shared_client.post(
        "/v1/embeddings", json={"model": "colours", "input": ["a", {"image": data_uri(file)}]}
    )
    refusal(answer, status, code, "input[1].image")
    assert peak_memory_bytes() - before < 40 << 20


@pytest.mark.slow
def test_a_bomb_of_many_pixels_is_small_on_the_wire_and_refused_before_its_memory() -> None:
    rows = bytes(13_001 * 13_000)
    file = png_header(13_000, 13_000, bits=8, rows=rows)
    del rows
    assert len(file) < 2 << 20
    before = peak_memory_bytes()
    engines: Any = {"colours": ColourEngine()}
    with TestClient(create_app(ServeSettings(), engines), base_url=ADDRESS) as client:
        refused = client.post("/v1/classify", files={"file": ("a.png", file)}, data={"labels": "a"})
    assert "169.0 million pixels" in refusal(refused, 413, "image_too_large", "input[0]")
    assert peak_memory_bytes() - before < 40 << 20
