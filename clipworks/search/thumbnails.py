"""Pictures made smaller for people to look at, in a form that every browser shows, whatever the file is."""

import io
from pathlib import Path

from PIL import Image

from clipworks.model.decoder import decode_errors_named, label_of
from clipworks.model.preprocess import read_upright

SIDES = (240, 480, 960, 1920)
"""Pixels; a picture is made in one of these sizes, so that few variants are asked for and kept."""

SHOWN_BY_BROWSERS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif"})

_SMALL_BYTES = 256
"""For each pixel of the side: a file of 60 kB is shown as it is where 240 pixels are asked for."""
_QUALITY = 82


def is_small(path: Path, side: int) -> bool:
    """Whether a file can be shown as it is where so many pixels are wanted.

    Raises:
        OSError: it cannot be read.
    """
    return path.suffix.lower() in SHOWN_BY_BROWSERS and path.stat().st_size <= _SMALL_BYTES * side


def thumbnail(file: bytes, side: int, name: str = "") -> tuple[bytes, str]:
    """A picture that fits into a square, upright, and its media type.

    Args:
        file: the bytes of a picture file.
        side: of the square, pixels; a smaller picture stays as it is.
        name: what error messages call it.

    Returns:
        A JPEG file, or a WebP file where there is transparency.

    Raises:
        InputError: it cannot be read.
    """
    label, content = label_of(file, name), io.BytesIO()
    picture = read_upright(file, shortest=side, name=name)
    with decode_errors_named(label):
        picture.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)
        if picture.mode == "RGBA":
            picture.save(content, "WEBP", quality=_QUALITY, method=2)
            return content.getvalue(), "image/webp"
        picture.save(content, "JPEG", quality=_QUALITY)
    return content.getvalue(), "image/jpeg"
