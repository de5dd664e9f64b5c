"""Whatever a picture is given as -> a decoded Pillow image, in its own mode and orientation.

A picture's header is checked before its pixels are decoded, and every cause of failure is an
InputError. `preprocess.py` makes model input of the image.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile
from PIL import __version__ as _pillow_version

from clipworks.errors import InputError
from clipworks.model.raw import RawFile, read_raw

ImageInput = str | Path | bytes | Image.Image | npt.NDArray[np.uint8]
"""A local path, the bytes of a file, a Pillow image, or RGB pixels uint8 [H, W, 3]."""

Size = tuple[int, int]
"""Width and height in pixels."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""File formats that are always opened; of an animation the first frame is taken."""

MAX_PIXELS = 50_000_000
"""Largest picture that is decoded, width x height."""

DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
    Warning,  # where the process turns warnings into errors
)
"""What Pillow's decoders raise on damaged files (seen with mutated files of every format)."""

_FORMAT_NAMES = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"
_HEIF_SIGNATURES = (b"ftyphe", b"ftypmif1", b"ftypmsf1")
_HEIF_NAMED = (b"ftyphe", b"ftypm")
_HEIC_REMEDY = ', or say: pip install "clipworks[heic]"'
_MAX_LABEL_CHARS = 120

# Signatures of formats that people send and that are not opened: offset, bytes, name.
_OTHER_FORMATS = (
    (0, b"%PDF", "a PDF"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\x00\x00\x01\x00", "an icon (ICO)"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (4, b"JXL ", "a JPEG XL picture"),
    (4, b"jP  ", "a JPEG 2000 picture"),
    (4, b"ftyphe", "a HEIC picture"),
    (4, b"ftypm", "a HEIC picture or a video"),
    (4, b"ftypisom", "a video"),
)

# Signatures of the formats that are opened: offset and bytes; AVIF may name its brand further on.
_SIGNATURES = (
    (0, b"\xff\xd8\xff"),
    (0, b"\x89PNG\r\n\x1a\n"),
    (8, b"WEBP"),
    (0, b"GIF8"),
    (0, b"BM"),
    (0, b"II*\x00"),
    (0, b"MM\x00*"),
    (0, b"II+\x00"),
    (0, b"MM\x00+"),
    (4, b"ftypavi"),
    (4, b"ftypmi"),
)

_warnings_lock = Lock()


def decode(image: ImageInput, label: str, *, shortest: int | None = None) -> tuple[Image.Image, Size]:
    """Decode a picture.

    Args:
        image: see `ImageInput`; a Pillow image is returned as it is.
        label: what error messages call it, from `label_of`.
        shortest: a JPEG file is decoded at a half, a quarter or an eighth of its size where that
            leaves its short side this many pixels; None is full size.

    Returns:
        The picture, and the width and height that it has in full; they are within the limits.

    Raises:
        InputError: the picture is missing (`not_found`), too large (`image_too_large`), in a format
            that is not opened (`unsupported_image_format`) or cannot be used (`invalid_image`).
    """
    if isinstance(image, Image.Image):
        return _load(image, label, None)
    if isinstance(image, np.ndarray):
        return _load(_from_array(image, label), label, None)
    if isinstance(image, bytes):
        return _load(_open(io.BytesIO(image), label), label, shortest)
    if isinstance(image, str | Path):
        return _read(image, label, shortest)
    raise InputError(
        f"{label} is of type {type(image).__name__}.",
        "Give a path, the bytes of a file, a Pillow image or a uint8 array [H, W, 3].",
        code="invalid_image",
    )


def open_header(file: IO[bytes], head: bytes) -> ImageFile.ImageFile:
    """A picture file of which only the header is read; its pixels are decoded when they are asked for.

    Args:
        file: at its start.
        head: its first 16 bytes or more.

    Raises:
        DECODE_ERRORS: it is none.
    """
    is_heif = head[4:].startswith(_HEIF_SIGNATURES) and reads_heif()
    with no_pillow_warnings():
        return Image.open(file, formats=(*FORMATS, "HEIF") if is_heif else FORMATS)


@cache
def reads_heif() -> bool:
    """Whether HEIC pictures are opened: where the extra `heic` is installed."""
    if find_spec("pi_heif") is None:
        return False
    import_module("pi_heif").register_heif_opener()
    return True


def version() -> str:
    """Changes where files that could not be read before may be now."""
    return f"Pillow {_pillow_version}: {' '.join(FORMATS)} RAW{' HEIF' if reads_heif() else ''}"


def count_pixels(file: bytes) -> int:
    """Width x height by a picture file's header; 0 where `decode` would refuse it for its header."""
    try:
        width, height = _open(io.BytesIO(file), "").size
    except InputError:
        return 0
    return width * height if width * height <= MAX_PIXELS else 0


def label_of(image: ImageInput, name: str) -> str:
    """What error messages call the picture: `Image 'NAME'`, or `The image`."""
    if not name and isinstance(image, str | Path):
        name = str(image)
    if len(name) > _MAX_LABEL_CHARS:
        name = f"{name[: _MAX_LABEL_CHARS // 2]}…{name[-_MAX_LABEL_CHARS // 2 :]}"
    return f"Image {name!r}" if name else "The image"


def begins_like_a_picture(head: bytes) -> bool:
    """Whether a file that begins so may be in a format that is opened; a dozen bytes are enough."""
    return any(head[offset:].startswith(signature) for offset, signature in _SIGNATURES)


@contextmanager
def decode_errors_named(label: str) -> Iterator[None]:
    """What Pillow raises inside becomes an InputError that names the picture."""
    try:
        yield
    except DECODE_ERRORS as error:
        raise InputError(
            f"{label} is damaged or incomplete: its pixels cannot be decoded.",
            "Export or download it again.",
            code="invalid_image",
        ) from error


@contextmanager
def no_pillow_warnings() -> Iterator[None]:
    """Header and EXIF oddities are not the caller's business; other modules' warnings still show.

    The lock is there because `catch_warnings` swaps state of the whole process.
    """
    with _warnings_lock, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _read(path: str | Path, label: str, shortest: int | None) -> tuple[Image.Image, Size]:
    if isinstance(path, str) and path.startswith(("http://", "https://", "data:")):
        raise InputError(
            f"{label} is a URL, not a local path.", "Give a path or the bytes.", code="invalid_image"
        )
    try:
        # Opening a pipe would wait for its writer.
        if Path(path).exists() and not Path(path).is_file():
            what = "a directory" if Path(path).is_dir() else "not a regular file"
            raise InputError(f"{label} is {what}.", "Give the path of a picture.", code="invalid_image")
        with open(path, "rb") as file:
            return _load(_open(file, label), label, shortest)
    except FileNotFoundError as error:
        raise InputError(f"{label} does not exist.", "Check the path.", code="not_found") from error
    except (OSError, ValueError) as error:  # no permission, a name that is too long, a zero byte in it
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{label} cannot be read: {reason}.", "Check the path.", code="invalid_image"
        ) from error


def _open(file: IO[bytes], label: str) -> Image.Image:
    """Read the header only."""
    head = file.read(4096)
    if not head:
        raise InputError(
            f"{label} is empty (0 bytes).", "Give a picture that has content.", code="invalid_image"
        )
    raw = read_raw(file)
    file.seek(0)
    try:
        return open_header(file, head) if raw is None else _preview(raw, label)
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{label} is too large; the limit is {MAX_PIXELS // 10**6} million pixels.",
            "Make it smaller first.",
            code="image_too_large",
        ) from error
    except DECODE_ERRORS as error:
        other = _other_format(head)
        if other:
            raise InputError(
                f"{label} is {other}, which is not opened.",
                f"Convert it to {_FORMAT_NAMES}{_HEIC_REMEDY * ('HEIC' in other)}.",
                code="unsupported_image_format",
            ) from error
        raise InputError(
            f"{label} is not a readable picture.", f"Give a {_FORMAT_NAMES} file.", code="invalid_image"
        ) from error


def _preview(raw: RawFile, label: str) -> Image.Image:
    """The picture in a RAW file, turned as the camera says where it does not say so itself."""
    if not raw.preview:
        raise InputError(
            f"{label} is a RAW file without a finished picture in it.",
            f"Export it as {_FORMAT_NAMES}.",
            code="unsupported_image_format",
        )
    with no_pillow_warnings():
        picture = Image.open(io.BytesIO(raw.preview), formats=("JPEG",))
        exif = picture.getexif()
    exif.setdefault(ExifTags.Base.Orientation, raw.orientation)
    return picture


def _other_format(head: bytes) -> str | None:
    for offset, signature, name in _OTHER_FORMATS:
        if head[offset:].startswith(signature) and not (signature in _HEIF_NAMED and reads_heif()):
            return name
    is_svg = b"<svg" in head.lower() and b"<html" not in head.lower()
    return "an SVG drawing" if is_svg else None


def _load(picture: Image.Image, label: str, shortest: int | None) -> tuple[Image.Image, Size]:
    width, height = picture.size
    if width < 1 or height < 1:
        raise InputError(
            f"{label} is {width}x{height} pixels.", "Give at least 1x1 pixel.", code="invalid_image"
        )
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{label} is {width}x{height}, {width * height / 1e6:.1f} million pixels; "
            f"the limit is {MAX_PIXELS // 10**6} million.",
            "Make it smaller first.",
            code="image_too_large",
        )
    # Decoding a TIFF reads its tags, which may warn; the other formats decode in parallel.
    guard = no_pillow_warnings() if picture.format == "TIFF" else nullcontext()
    with decode_errors_named(label), guard:
        if shortest is not None:
            picture.draft(None, (shortest, shortest))
        picture.load()
    return picture, (width, height)


def _from_array(array: npt.NDArray[np.uint8], label: str) -> Image.Image:
    if array.dtype != np.uint8:
        raise InputError(
            f"{label} is an array of {array.dtype}.",
            "Give uint8, 0..255; floats in 0..1: (array * 255).round().astype(np.uint8).",
            code="invalid_image",
        )
    if array.ndim != 3 or array.shape[2] != 3:
        raise InputError(
            f"{label} is an array of shape {list(array.shape)}.", "Give [H, W, 3].", code="invalid_image"
        )
    if not array.size:
        raise InputError(
            f"{label} is an array of shape {list(array.shape)}.",
            "Give at least 1x1 pixel.",
            code="invalid_image",
        )
    return Image.fromarray(np.ascontiguousarray(array))
