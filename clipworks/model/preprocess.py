"""Pictures -> the square uint8 pixels that both executors read. `decoder.py` opens them.

Three modes. `standard`: upright by its EXIF tag, transparency on white, 16-bit scaled to 8, RGB, then
bicubic resize of the short side and centre crop. `reference`: resize, crop, then RGB, alpha dropped
and EXIF ignored, bit for bit as open_clip and OpenAI do, to reproduce published scores. For an
upright 8-bit RGB picture the two are equal. Colour profiles, and the transparency of 16-bit grey,
are ignored in both. `scaled`: as `standard`, but a JPEG file whose short side is four times the size
that is needed, or more, is decoded at a half, a quarter or an eighth of its size, which leaves out
detail that the resize would blur anyway. Pixels of other files are those of `standard`.
"""

import io
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from clipworks.errors import ConfigError
from clipworks.files import cache_folder
from clipworks.model import bicubic
from clipworks.model.decoder import (
    DECODE_ERRORS,
    Size,
    decode,
    decode_errors_named,
    label_of,
    no_pillow_warnings,
)
from clipworks.model.decoder import ImageInput as ImageInput

PreprocessMode = Literal["standard", "reference", "scaled"]

Region = tuple[float, float, float, float]
"""Left, top, right and bottom as shares of width and height, 0..1."""

_SCALED_MARGIN = 2
_SHRINKS = (2, 4, 8)
_MAX_RESIZED_PIXELS = 16_000_000
_SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N")

_SIDEWAYS = (5, 6, 7, 8)
_LAST_COLUMN_FIRST = (2, 3, 6, 7)
_LAST_ROW_FIRST = (3, 4, 7, 8)

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def prepare(
    image: ImageInput,
    size: int,
    *,
    mode: PreprocessMode = "standard",
    name: str = "",
    compiled: bool = False,
) -> npt.NDArray[np.uint8]:
    """Turn a picture into model input.

    Args:
        image: see `ImageInput`; a Pillow image is left unchanged.
        size: side of the result, pixels.
        mode: see the top of this file.
        name: what error messages call the picture; a path names itself.
        compiled: resize in compiled code where numba is installed. The pixels are the same, in less
            time; the first such call of a process takes some seconds.

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
    label = label_of(image, name)
    if mode == "scaled":
        return np.array(_prepare_scaled(image, size, label), dtype=np.uint8)
    picture, _ = decode(image, label)
    if mode == "standard":
        picture = _upright_rgb(picture, label)
        is_taken = compiled and bicubic.takes(*picture.size)
        if is_taken and (resample := bicubic.compiled_resample(cache_folder)) is not None:
            return resample(np.asarray(picture), bicubic.Crop(*_target(*picture.size, size), size))
        picture = _resize_and_crop(picture, size)
    else:
        with decode_errors_named(label):
            picture = _plain_rgb(_resize_and_crop(picture, size))
    return np.array(picture, dtype=np.uint8)


def prepare_rgba(image: ImageInput, size: int, *, name: str = "") -> npt.NDArray[np.uint8]:
    """As `prepare` in `standard` mode, but with the transparency kept: training chooses the ground.

    Returns:
        uint8 [size, size, 4], RGB and alpha; alpha is 255 where the picture has none.

    Raises:
        InputError: as in `prepare`.
    """
    label = label_of(image, name)
    picture, _ = decode(image, label)
    with decode_errors_named(label):
        rgba = _upright(picture).convert("RGBA")
        # Colour is weighted by alpha while it is resized, so that hidden colours do not bleed in.
        resized = _resize_and_crop(rgba.convert("RGBa"), size).convert("RGBA")
    return np.array(resized, dtype=np.uint8)


def prepare_part(
    image: ImageInput, size: int, choose: Callable[[int, int], tuple[int, int, int, int]], *, name: str = ""
) -> npt.NDArray[np.uint8]:
    """Cut a part out of a picture and resize that to a square, bicubic: what training draws.

    The part is cut before it is resized, as torchvision's `resized_crop` does, so that nothing outside it
    has an influence. Upright, on white and RGB as in `standard` mode.

    Args:
        image: see `ImageInput`; a Pillow image is left unchanged.
        size: side of the result, pixels.
        choose: told width and height of the upright picture; gives left, top, right and bottom.
        name: what error messages call the picture; a path names itself.

    Returns:
        uint8 [size, size, 3], RGB.

    Raises:
        InputError: as in `prepare`.
    """
    label = label_of(image, name)
    upright = _upright_rgb(decode(image, label)[0], label)
    part = upright.crop(choose(*upright.size))
    return np.array(part.resize((size, size), Image.Resampling.BICUBIC), dtype=np.uint8)


def prepare_region(image: ImageInput, region: Region, size: int, *, name: str = "") -> npt.NDArray[np.uint8]:
    """As `prepare_part`, of a region of the upright picture.

    Raises:
        InputError: as in `prepare`.
    """
    left, top, right, bottom = region

    def choose(width: int, height: int) -> tuple[int, int, int, int]:
        first = int(left * width), int(top * height)
        return *first, max(first[0] + 1, round(right * width)), max(first[1] + 1, round(bottom * height))

    return prepare_part(image, size, choose, name=name)


def read_upright(image: ImageInput, *, shortest: int | None = None, name: str = "") -> Image.Image:
    """A picture as people look at it: upright, RGBA where there is transparency, else RGB.

    Args:
        image: see `ImageInput`; a Pillow image is left unchanged.
        shortest: pixels that the short side must keep; a JPEG file may be decoded smaller then.
        name: what error messages call the picture; a path names itself.

    Raises:
        InputError: as in `prepare`.
    """
    label = label_of(image, name)
    picture, _ = decode(image, label, shortest=shortest)
    with decode_errors_named(label):
        upright = _upright(picture)
        return upright.copy() if upright is image else upright


def as_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """uint8 [H, W, 3], RGB -> a PNG file with exactly these pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _prepare_scaled(image: ImageInput, size: int, label: str) -> Image.Image:
    # With twice the pixels that are wanted, what the smaller decoding leaves out is hardly seen.
    picture, full = decode(image, label, shortest=_SCALED_MARGIN * size)
    upright = _upright_rgb(picture, label)
    if picture.size == full:
        return _resize_and_crop(upright, size)
    shrink = next(s for s in _SHRINKS if (-(-full[0] // s), -(-full[1] // s)) == picture.size)
    orientation = _orientation(picture)
    width, height = full[::-1] if orientation in _SIDEWAYS else full
    # The last column and row in the file may stand for less than a whole pixel.
    left = upright.width - width / shrink if orientation in _LAST_COLUMN_FIRST else 0.0
    top = upright.height - height / shrink if orientation in _LAST_ROW_FIRST else 0.0
    frame = (left, top, left + width / shrink, top + height / shrink)
    return _resize_crop_only(upright, frame, *_target(width, height, size), size)


def _upright_rgb(picture: Image.Image, label: str) -> Image.Image:
    with decode_errors_named(label):
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
        with no_pillow_warnings():
            value = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except DECODE_ERRORS:
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


def _target(width: int, height: int, size: int) -> tuple[Size, tuple[int, int]]:
    """The size that a picture is resized to, and the corner of the crop; rounding as in torchvision."""
    short = min(width, height)
    new_width = size if width == short else int(size * width / height)
    new_height = size if height == short else int(size * height / width)
    return (new_width, new_height), (round((new_width - size) / 2.0), round((new_height - size) / 2.0))


def _resize_and_crop(picture: Image.Image, size: int) -> Image.Image:
    """Bicubic, short side to `size`, centre crop. Always returns a new image."""
    (new_width, new_height), (left, top) = _target(*picture.size, size)
    if new_width * new_height <= _MAX_RESIZED_PIXELS:
        resized = picture.resize((new_width, new_height), Image.Resampling.BICUBIC)
        return resized.crop((left, top, left + size, top + size))
    # A strip such as 1x60000 would grow to gigabytes.
    frame = (0.0, 0.0, *picture.size)
    return _resize_crop_only(picture, frame, (new_width, new_height), (left, top), size)


def _resize_crop_only(
    picture: Image.Image,
    frame: tuple[float, float, float, float],
    new_size: Size,
    corner: tuple[int, int],
    size: int,
) -> Image.Image:
    """Resize only what the crop keeps: the same picture up to rounding.

    Args:
        picture: what to resize.
        frame: left, top, right and bottom of the part of it that would become `new_size`; pixels.
        new_size: size of the whole result.
        corner: left and top of the crop in the whole result.
        size: side of the crop.
    """
    across, down = (frame[2] - frame[0]) / new_size[0], (frame[3] - frame[1]) / new_size[1]
    left, top = frame[0] + corner[0] * across, frame[1] + corner[1] * down
    box = (left, top, left + size * across, top + size * down)
    return picture.resize((size, size), Image.Resampling.BICUBIC, box=box)
