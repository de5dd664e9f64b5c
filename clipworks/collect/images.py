"""A picture's file as it was found -> as it is kept: checked, resized, encoded. The owner of Pillow here.

The modes are those of img2dataset, so that its users find theirs. Two things are done otherwise: a
picture that its camera held upright by a mark in EXIF is turned before that mark is lost, and a file that
would be decoded and encoded without a change is kept as it is.
"""

import io
import json
import struct
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from clipworks.errors import ConfigError

ResizeMode = Literal["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"]
EncodeFormat = Literal["jpg", "png", "webp"]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "ICO")
"""What Pillow may read, if its build can; the others are rare on the web and their readers little tested."""

_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, AttributeError),
    *(RuntimeError, MemoryError, struct.error, zlib.error),
)
"""What Pillow's readers raise on damaged files."""

_PILLOW: Mapping[str, str] = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
_MAX_EXIF_CHARACTERS = 4000
_TURNED = range(2, 9)
_ON_THEIR_SIDE = range(5, 9)
"""Values of EXIF's Orientation: what is turned or mirrored, and which of them by a quarter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRules:
    """What is kept of a picture."""

    image_size: int = 256
    """Pixels of the side that `resize_mode` is about."""
    resize_mode: ResizeMode = "keep_ratio"
    """`no`; `border`: the longer side, white around; `keep_ratio`: the shorter side; `keep_ratio_largest`:
    the longer side; `center_crop`: the shorter side, then the middle square."""
    only_if_bigger: bool = True
    """Leave pictures alone that are no larger than `image_size`."""
    encode_format: EncodeFormat = "jpg"
    encode_quality: int = 95
    """jpg and webp: 1..100; png: 0..9, the effort."""
    skip_reencode: bool = True
    """Keep the file as it is where nothing changes and its format is `encode_format`."""
    min_image_size: int = 0
    """Least shorter side, pixels."""
    max_image_area: int = 80_000_000
    """Most pixels; larger ones are not decoded."""
    max_aspect_ratio: float | None = None
    """Most longer side by shorter side; None for any."""

    def __post_init__(self) -> None:
        if self.resize_mode not in get_args(ResizeMode):
            raise ConfigError(
                f"resize_mode is {self.resize_mode!r}; it must be one of {', '.join(get_args(ResizeMode))}."
            )
        if self.encode_format not in _PILLOW:
            raise ConfigError(
                f"encode_format is {self.encode_format!r}; it must be one of {', '.join(_PILLOW)}."
            )
        low, high = (0, 9) if self.encode_format == "png" else (1, 100)
        if not low <= self.encode_quality <= high:
            raise ConfigError(
                f"encode_quality is {self.encode_quality}; for {self.encode_format} it must be {low}..{high}."
            )
        if not 1 <= self.image_size <= 16_384:
            raise ConfigError(f"image_size is {self.image_size}; it must be from 1 to 16384.")
        if not 1 <= self.max_image_area <= 80_000_000:
            raise ConfigError(f"max_image_area is {self.max_image_area}; it must be from 1 to 80000000.")
        if self.min_image_size < 0 or (self.max_aspect_ratio is not None and not self.max_aspect_ratio >= 1):
            raise ConfigError("min_image_size must not be below 0, nor max_aspect_ratio below 1.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A picture as it is kept."""

    data: bytes
    width: int
    """Pixels, after resizing."""
    height: int
    original_width: int
    """Pixels as the file says, before turning."""
    original_height: int
    exif: str
    """JSON object, tag name -> text."""


def begins_like_a_picture(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a format that is read here (12 tell)."""
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*"))
        or head.startswith(b"\0\0\1\0")
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"mif1"))
    )


def keep_image(data: bytes, rules: ImageRules) -> Kept | str:
    """Check, resize and encode one picture.

    Returns:
        The picture, or why it is not kept, in words.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of broken metadata; what matters raises
            with Image.open(io.BytesIO(data), formats=_formats()) as image:
                return _refusal(image, rules) or _keep(data, image, rules)
    except UnidentifiedImageError:
        return "Image decoding error: no format that is read"
    except Image.DecompressionBombError:
        return "image area too large"
    except _DAMAGE as error:
        return f"Image decoding error: {type(error).__name__}"


def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _refusal(image: Image.Image, rules: ImageRules) -> str:
    width, height = image.size
    if min(width, height) < max(1, rules.min_image_size):
        return "image too small"
    if width * height > rules.max_image_area:
        return "image area too large"
    if rules.max_aspect_ratio and max(width, height) / min(width, height) > rules.max_aspect_ratio:
        return "aspect ratio too large"
    return ""


def _keep(data: bytes, image: Image.Image, rules: ImageRules) -> Kept:
    original = image.size
    exif = image.getexif()
    orientation = exif.get(ExifTags.Base.Orientation)
    is_turned = orientation in _TURNED
    is_on_its_side = orientation in _ON_THEIR_SIDE
    is_same_format = image.format == _PILLOW[rules.encode_format]
    size = _target(original, rules)
    if size is not None and image.format in ("JPEG", "MPO"):
        # The decoder halves while the result stays twice as large as wanted: 4x quicker, 54 dB.
        image.draft(None, (2 * size[0], 2 * size[1]))
    image.load()
    if is_turned:
        image = ImageOps.exif_transpose(image)
        size = size[::-1] if size is not None and is_on_its_side else size
    plain = _plain(image)
    if size is not None:
        down = size[0] <= plain.width
        plain = plain.resize(size, Image.Resampling.BOX if down else Image.Resampling.LANCZOS)
        plain = _framed(plain, rules)
    is_changed = size is not None or is_turned or _has_alpha(image) or not is_same_format
    kept = data if not is_changed and rules.skip_reencode else _encoded(plain, rules)
    return Kept(
        data=kept,
        width=plain.width,
        height=plain.height,
        original_width=original[0],
        original_height=original[1],
        exif=_exif_json(exif),
    )


def _target(size: tuple[int, int], rules: ImageRules) -> tuple[int, int] | None:
    """Width and height before cropping and bordering; None where the picture stays as it is."""
    if rules.resize_mode == "no":
        return None
    is_shorter = rules.resize_mode in ("keep_ratio", "center_crop")
    side = min(size) if is_shorter else max(size)
    if rules.only_if_bigger and side <= rules.image_size:
        return None
    scale = rules.image_size / side
    width, height = (max(1, round(length * scale)) for length in size)
    is_same = (width, height) == size and rules.resize_mode in ("keep_ratio", "keep_ratio_largest")
    return None if is_same else (width, height)


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _plain(image: Image.Image) -> Image.Image:
    """RGB or L, 8 bits; what is transparent becomes white."""
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image)
    if _has_alpha(image):
        above = image.convert("RGBA")
        below = Image.new("RGBA", above.size, (255, 255, 255, 255))
        return Image.alpha_composite(below, above).convert("RGB")
    return image if image.mode in ("RGB", "L") else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit values by their upper byte; others between the least and the greatest there are."""
    wide = image.convert("F")
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return wide.point(lambda value: value * (1 / 257)).convert("L")
    low, high = (float(value) for value in wide.getextrema()[:2])  # type: ignore[arg-type]
    scale = 255 / (high - low) if high > low else 0.0
    return wide.point(lambda value: value * scale - low * scale).convert("L")


def _framed(image: Image.Image, rules: ImageRules) -> Image.Image:
    side = rules.image_size
    if rules.resize_mode == "center_crop":
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return image.crop((left, top, left + side, top + side))
    if rules.resize_mode == "border":
        white = Image.new(image.mode, (side, side), 255 if image.mode == "L" else (255, 255, 255))
        white.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        return white
    return image


def _encoded(image: Image.Image, rules: ImageRules) -> bytes:
    file = io.BytesIO()
    if rules.encode_format == "png":
        image.save(file, "PNG", compress_level=rules.encode_quality)
    elif rules.encode_format == "webp":
        image.convert("RGB").save(file, "WEBP", quality=rules.encode_quality)
    else:
        image.save(file, "JPEG", quality=rules.encode_quality)
    return file.getvalue()


def _exif_json(exif: Image.Exif) -> str:
    values: dict[str, str] = {}
    for tag, value in {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}.items():
        name = ExifTags.TAGS.get(tag, str(tag))
        if tag not in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.Base.MakerNote):
            values[name] = str(value).strip().strip("\0")[:200]
    text = json.dumps(values)
    return text if len(text) <= _MAX_EXIF_CHARACTERS else "{}"
