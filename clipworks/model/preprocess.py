"""Pictures -> the square uint8 pixels that both executors read; the one file that uses Pillow.

Two modes. `standard`: upright by its EXIF tag, transparency on white, 16-bit scaled to 8, RGB, then
bicubic resize of the short side and centre crop. `reference`: resize, crop, then RGB, alpha dropped
and EXIF ignored, bit for bit as open_clip and OpenAI do, to reproduce published scores. For an
upright 8-bit RGB picture the two are equal. Colour profiles, and the transparency of 16-bit grey,
are ignored in both.

A picture's header is checked before its pixels are decoded. Every cause of failure is an InputError.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import IO, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from clipworks.errors import ConfigError, InputError

ImageInput = str | Path | bytes | Image.Image | npt.NDArray[np.uint8]
"""A local path, the bytes of a file, a Pillow image, or RGB pixels uint8 [H, W, 3]."""

PreprocessMode = Literal["standard", "reference"]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""File formats that are opened; of an animation the first frame is taken."""

MAX_PIXELS = 50_000_000
"""Largest picture that is decoded, width x height."""

_FORMAT_NAMES = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"
_MAX_RESIZED_PIXELS = 16_000_000
_MAX_LABEL_CHARS = 120
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N")

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

# What Pillow's decoders raise on damaged files (seen with mutated files of every format).
_DECODE_ERRORS = (
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

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_warnings_lock = Lock()


def prepare(
    image: ImageInput, size: int, *, mode: PreprocessMode = "standard", name: str = ""
) -> npt.NDArray[np.uint8]:
    """Turn a picture into model input.

    Args:
        image: see `ImageInput`; a Pillow image is left unchanged.
        size: side of the result, pixels.
        mode: see the top of this file.
        name: what error messages call the picture; a path names itself.

    Returns:
        uint8 [size, size, 3], RGB.

    Raises:
        InputError: the picture is missing (`not_found`), too large (`image_too_large`), in a format
            that is not opened (`unsupported_image_format`) or cannot be used (`invalid_image`).
        ConfigError: size is below 1 or mode is unknown.
    """
    if size < 1:
        raise ConfigError(f"size is {size}; it must be at least 1 pixel.")
    if mode not in get_args(PreprocessMode):
        raise ConfigError(f"mode is {mode!r}; it must be one of {', '.join(get_args(PreprocessMode))}.")
    label = _label(image, name)
    picture = _decode(image, label)
    if mode == "standard":
        picture = _resize_and_crop(_upright_rgb(picture, label), size)
    else:
        with _decode_errors_named(label):
            picture = _plain_rgb(_resize_and_crop(picture, size))
    return np.array(picture, dtype=np.uint8)


def prepare_rgba(image: ImageInput, size: int, *, name: str = "") -> npt.NDArray[np.uint8]:
    """As `prepare` in `standard` mode, but with the transparency kept: training chooses the ground.

    Returns:
        uint8 [size, size, 4], RGB and alpha; alpha is 255 where the picture has none.

    Raises:
        InputError: as in `prepare`.
    """
    label = _label(image, name)
    picture = _decode(image, label)
    with _decode_errors_named(label):
        rgba = _upright(picture).convert("RGBA")
        # Colour is weighted by alpha while it is resized, so that hidden colours do not bleed in.
        resized = _resize_and_crop(rgba.convert("RGBa"), size).convert("RGBA")
    return np.array(resized, dtype=np.uint8)


def _label(image: ImageInput, name: str) -> str:
    if not name and isinstance(image, str | Path):
        name = str(image)
    if len(name) > _MAX_LABEL_CHARS:
        name = f"{name[: _MAX_LABEL_CHARS // 2]}…{name[-_MAX_LABEL_CHARS // 2 :]}"
    return f"Image {name!r}" if name else "The image"


def _decode(image: ImageInput, label: str) -> Image.Image:
    """The decoded picture, in its own mode and orientation; its size is within the limits."""
    if isinstance(image, Image.Image):
        return _load(image, label)
    if isinstance(image, np.ndarray):
        return _load(_from_array(image, label), label)
    if isinstance(image, bytes):
        return _load(_open(io.BytesIO(image), label), label)
    if isinstance(image, str | Path):
        return _read(image, label)
    raise InputError(
        f"{label} is of type {type(image).__name__}.",
        "Give a path, the bytes of a file, a Pillow image or a uint8 array [H, W, 3].",
        code="invalid_image",
    )


def _read(path: str | Path, label: str) -> Image.Image:
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
            return _load(_open(file, label), label)
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
    file.seek(0)
    if not head:
        raise InputError(
            f"{label} is empty (0 bytes).", "Give a picture that has content.", code="invalid_image"
        )
    try:
        with _no_pillow_warnings():
            return Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{label} is too large; the limit is {MAX_PIXELS // 10**6} million pixels.",
            "Make it smaller first.",
            code="image_too_large",
        ) from error
    except _DECODE_ERRORS as error:
        other = _other_format(head)
        if other:
            raise InputError(
                f"{label} is {other}, which is not opened.",
                f"Convert it to {_FORMAT_NAMES}.",
                code="unsupported_image_format",
            ) from error
        raise InputError(
            f"{label} is not a readable picture.", f"Give a {_FORMAT_NAMES} file.", code="invalid_image"
        ) from error


def _other_format(head: bytes) -> str | None:
    for offset, signature, name in _OTHER_FORMATS:
        if head[offset:].startswith(signature):
            return name
    is_svg = b"<svg" in head.lower() and b"<html" not in head.lower()
    return "an SVG drawing" if is_svg else None


def _load(picture: Image.Image, label: str) -> Image.Image:
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
    guard = _no_pillow_warnings() if picture.format == "TIFF" else nullcontext()
    with _decode_errors_named(label), guard:
        picture.load()
    return picture


@contextmanager
def _decode_errors_named(label: str) -> Iterator[None]:
    try:
        yield
    except _DECODE_ERRORS as error:
        raise InputError(
            f"{label} is damaged or incomplete: its pixels cannot be decoded.",
            "Export or download it again.",
            code="invalid_image",
        ) from error


@contextmanager
def _no_pillow_warnings() -> Iterator[None]:
    """Header and EXIF oddities are not the caller's business; other modules' warnings still show.

    The lock is there because `catch_warnings` swaps state of the whole process.
    """
    with _warnings_lock, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


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


def _upright_rgb(picture: Image.Image, label: str) -> Image.Image:
    with _decode_errors_named(label):
        upright = _upright(picture)
        if upright.mode == "RGB":
            return upright
        ground = Image.new("RGB", upright.size, "white")
        ground.paste(upright, mask=upright.getchannel("A"))
        return ground


def _upright(picture: Image.Image) -> Image.Image:
    """8 bits per channel, turned by the EXIF tag: RGBA where there is transparency, else RGB."""
    plain, method = _rgb_or_rgba(picture), _TRANSPOSE.get(_orientation(picture))
    return plain.transpose(method) if method is not None else plain


def _orientation(picture: Image.Image) -> int:
    try:
        with _no_pillow_warnings():
            value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODE_ERRORS:
        return 1  # viewers show pictures whose EXIF block is broken, unrotated
    return value if isinstance(value, int) else 1


def _rgb_or_rgba(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB" and not picture.has_transparency_data:
        return picture
    if picture.mode in _SIXTEEN_BIT_MODES:
        return _from_sixteen_bits(picture)
    if picture.mode in ("I", "F"):
        return _from_numbers(picture)
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    if picture.mode == "La":
        picture = picture.convert("LA")
    return picture.convert("RGBA")


def _from_sixteen_bits(picture: Image.Image) -> Image.Image:
    """0..65535 -> 0..255. Pillow's own conversion clips everything above 255 to white (Pillow #3011)."""
    values = np.asarray(picture).astype(np.uint32)
    values += 128
    values //= 257
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")


def _from_numbers(picture: Image.Image) -> Image.Image:
    """32-bit numbers: 0..1 (floats), 0..255 and 0..65535 by what the values fit in, else stretched."""
    values = np.asarray(picture).astype(np.float64)
    finite = np.isfinite(values)
    low = float(values[finite].min()) if finite.any() else 0.0
    high = float(values[finite].max()) if finite.any() else 0.0
    ceilings = (1.0, 255.0, 65535.0) if picture.mode == "F" else (255.0, 65535.0)
    ceiling = next((ceiling for ceiling in ceilings if high <= ceiling), None)
    if low >= 0 and ceiling is not None:
        low, high = 0.0, ceiling
    values[~finite] = low
    values -= low
    values *= 255.0 / ((high - low) or 1.0)
    return Image.fromarray(np.rint(values, out=values).astype(np.uint8)).convert("RGB")


def _plain_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    # The palette's transparency has no part in this conversion, except for a warning.
    picture.info.pop("transparency", None)
    return picture.convert("RGB")


def _resize_and_crop(picture: Image.Image, size: int) -> Image.Image:
    """Bicubic, short side to `size`, centre crop; sizes and rounding as in torchvision.

    Always returns a new image.
    """
    width, height = picture.size
    short = min(width, height)
    new_width = size if width == short else int(size * width / height)
    new_height = size if height == short else int(size * height / width)
    left = round((new_width - size) / 2.0)
    top = round((new_height - size) / 2.0)
    if new_width * new_height <= _MAX_RESIZED_PIXELS:
        resized = picture.resize((new_width, new_height), Image.Resampling.BICUBIC)
        return resized.crop((left, top, left + size, top + size))
    # A strip such as 1x60000 would grow to gigabytes: resize only what the crop keeps, which is the
    # same picture up to rounding.
    across, down = width / new_width, height / new_height
    box = (left * across, top * down, (left + size) * across, (top + size) * down)
    return picture.resize((size, size), Image.Resampling.BICUBIC, box=box)
