"""Pictures that tests draw, and files made of them; no picture file lies in the repository for tests."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image


def drawn(width: int, height: int) -> npt.NDArray[np.uint8]:
    """Edges, ramps and texture, uint8 [H, W, 4]; scripts/golden_pixels.py draws with it, too."""
    y, x = np.mgrid[:height, :width]
    channels = [(x * 7 + y * 13 + c * 50 + x * y // 3 + 90 * ((x // 8 + y // 8) % 2)) % 256 for c in range(4)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def picture(mode: str, width: int, height: int) -> Image.Image:
    values = drawn(width, height)
    planes = [Image.fromarray(np.ascontiguousarray(values[..., c])) for c in range(4)]
    if mode == "I;16":
        return Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    if mode == "F":
        return Image.fromarray(values[..., 0].astype(np.float32))
    if mode == "I":
        return Image.fromarray(values[..., 0].astype(np.int32))
    if mode == "LA":
        return Image.merge("LA", [planes[0], planes[3]])
    if mode in ("RGBA", "CMYK", "RGBX"):
        return Image.merge(mode, planes)
    if mode in ("HSV", "LAB"):
        return Image.merge(mode, planes[:3])
    if mode == "RGBa":
        return picture("RGBA", width, height).convert("RGBa")
    rgb = Image.merge("RGB", planes[:3])
    return rgb if mode == "RGB" else rgb.convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int, *, bits: int, rows: bytes) -> bytes:
    """A grey PNG whose header may promise more than Pillow would like to write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
