"""Faces made unrecognisable in a picture, by DataComp's recipe: an owner of Pillow.

The recipe is that of ImageNet with obfuscated faces, which img2dataset follows: each box grows by a tenth of
its longer side, the picture is blurred with a sigma of a tenth of the longest side, and the two are blended
by a mask blurred as much, so that no edge shows. The blur is Pillow's (three box filters), not OpenCV's.
"""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFilter

from clipworks.errors import InputError
from clipworks.model.decoder import decode

SHARE = 0.1
"""Of a box's longer side: how far it grows, and the sigma of the blur."""
WEBP_QUALITY = 100

Box = Sequence[float]
"""left, top, right, bottom as shares of width and height, in [0, 1]."""


def blur_faces(image: bytes, boxes: Sequence[Box], *, label: str = "the picture") -> bytes:
    """Blur boxes of an encoded picture; the result is a WebP file of quality 100.

    Args:
        image: a file in a format that `model.decoder` opens.
        boxes: at least one.
        label: what to call the picture in an error.

    Raises:
        InputError: the picture cannot be decoded or is too large, or a box is no box.
    """
    picture, _ = decode(image, label)
    if picture.mode not in ("RGB", "RGBA"):
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    out = io.BytesIO()
    blurred_boxes(picture, boxes, label=label).save(out, "WEBP", quality=WEBP_QUALITY, method=4)
    return out.getvalue()


def blurred_boxes(picture: Image.Image, boxes: Sequence[Box], *, label: str = "the picture") -> Image.Image:
    """A picture (RGB or RGBA) with its boxes blurred; the same size and mode.

    Raises:
        InputError: a box does not have four numbers with left <= right and top <= bottom.
    """
    mask = Image.new("L", picture.size, 0)
    draw = ImageDraw.Draw(mask)
    longest = 0.0
    for box in boxes:
        if len(box) != 4 or not (box[0] <= box[2] and box[1] <= box[3]):
            raise InputError(f"A face box of {label} is {list(box)}, not left, top, right, bottom.")
        left, right = box[0] * picture.width, box[2] * picture.width
        top, bottom = box[1] * picture.height, box[3] * picture.height
        side = max(right - left, bottom - top)
        longest = max(longest, side)
        grown = SHARE * side
        draw.rectangle(
            (int(left - grown), int(top - grown), int(right + grown), int(bottom + grown)), fill=255
        )
    blur = ImageFilter.GaussianBlur(SHARE * longest)
    return Image.composite(picture.filter(blur), picture, mask.filter(blur))
