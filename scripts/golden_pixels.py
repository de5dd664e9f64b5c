"""Write tests/golden/pixels.json with open_clip: what its transform makes of drawn pictures and of files.

Needs `pip install open_clip_torch` (3.3.0 made the committed file), which nothing else here needs.
Run: python scripts/golden_pixels.py
"""

import base64
import hashlib
import io
import json
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from open_clip.transform import image_transform
from PIL import Image

TESTS = Path(__file__).resolve().parents[1] / "tests"
GOLDEN = TESTS / "golden" / "pixels.json"

sys.path.insert(0, str(TESTS))

from pictures import picture  # noqa: E402

# Mode, width, height. The shapes try rounding: odd margins, equal sides, enlarging, one pixel, strips.
PICTURES = [
    ("RGB", 64, 64),
    ("RGB", 97, 64),
    ("RGB", 64, 131),
    ("RGB", 333, 200),
    ("RGB", 7, 5),
    ("RGB", 1, 1),
    ("RGB", 500, 3),
    ("L", 100, 77),
    ("1", 90, 70),
    ("P", 100, 77),
    ("RGBA", 100, 77),
    ("LA", 77, 100),
    ("CMYK", 100, 77),
    ("YCbCr", 100, 77),
    ("I;16", 100, 77),
    ("F", 100, 77),
    ("I", 100, 77),
    ("PA", 100, 77),
    ("RGBa", 100, 77),
    ("RGBX", 100, 77),
    ("HSV", 100, 77),
    ("LAB", 100, 77),
    ("RGB", 223, 225),
    ("RGB", 225, 448),
    ("RGB", 449, 224),
    ("RGB", 1, 300),
    ("RGB", 1000, 64),
    ("RGB", 4000, 13),
    ("RGB", 300, 1),
    ("L", 1, 90),
    ("L", 331, 97),
    ("1", 640, 480),
    ("1", 2, 150),
    ("P", 640, 480),
    ("P", 90, 1),
    ("RGBA", 640, 480),
    ("RGBA", 1, 120),
    ("LA", 600, 5),
    ("CMYK", 223, 500),
    ("CMYK", 2, 200),
    ("I;16", 500, 223),
    ("I;16", 1, 77),
]
SIDES = [64, 224]

FILE_SIDE = 48
FILE_SIZE = (37, 29)

# Files that are no plain pixels once they are open: kind, mode of the drawing, how it is written.
FILES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "PNG turned by its EXIF tag": ("PNG", "RGB", {"orientation": 6}),
    "PNG mirrored by its EXIF tag": ("PNG", "L", {"orientation": 5}),
    "PNG with a transparent palette entry": ("PNG", "P", {"transparency": 3}),
    "PNG with alpha per palette entry": ("PNG", "P", {"transparency": bytes(range(0, 256, 2))}),
    "PNG with a transparent key colour": ("PNG", "RGB", {"transparency": (0, 50, 100)}),
    "grey PNG with a transparent key": ("PNG", "L", {"transparency": 60}),
    "PNG of 16 bits": ("PNG", "I;16", {}),
    "PNG of 1 bit": ("PNG", "1", {}),
    "PNG with grey and alpha": ("PNG", "LA", {}),
    "PNG with a colour profile": ("PNG", "RGB", {"icc_profile": b"not a profile"}),
    "animated GIF": ("GIF", "P", {"has_two_frames": True}),
    "GIF with a transparent entry": ("GIF", "P", {"transparency": 7}),
    "animated PNG": ("PNG", "RGBA", {"has_two_frames": True}),
    "TIFF of floats": ("TIFF", "F", {}),
    "TIFF of four inks": ("TIFF", "CMYK", {"compression": "tiff_lzw"}),
    "TIFF of two pages": ("TIFF", "RGB", {"has_two_frames": True}),
    "BMP with a palette": ("BMP", "P", {}),
    "lossless WebP with alpha": ("WEBP", "RGBA", {"lossless": True, "exact": True}),
}
LOSSY_FILES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "JPEG": ("JPEG", "RGB", {"quality": 90}),
    "JPEG turned by its EXIF tag": ("JPEG", "RGB", {"orientation": 6}),
    "JPEG turned around by its EXIF tag": ("JPEG", "L", {"orientation": 3}),
    "JPEG of four inks": ("JPEG", "CMYK", {"quality": 90}),
    "progressive JPEG": ("JPEG", "RGB", {"progressive": True, "subsampling": "4:2:0"}),
    "JPEG without subsampling": ("JPEG", "RGB", {"subsampling": "4:4:4"}),
    "lossy WebP with alpha": ("WEBP", "RGBA", {"quality": 80}),
}
"""Their pixels depend on the decoder's version: tests pass over what is decoded differently elsewhere."""


def main() -> None:
    """Write the file, one case a line."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("open_clip_torch", "pillow"))
    content = {
        "made_by": f"scripts/golden_pixels.py, {versions}",
        "pictures": [drawn_case(*shape, side) for shape in PICTURES for side in SIDES],
        "files": {name: file_case(*case) for name, case in FILES.items()},
        "lossy_files": {name: file_case(*case) for name, case in LOSSY_FILES.items()},
    }
    GOLDEN.write_text(as_lines(content), encoding="ascii")
    print(f"{GOLDEN}: written by {content['made_by']}")


def drawn_case(mode: str, width: int, height: int, side: int) -> dict[str, Any]:
    """What open_clip makes of a drawing."""
    return {"mode": mode, "width": width, "height": height, **pixel_case(picture(mode, width, height), side)}


def file_case(kind: str, mode: str, options: dict[str, Any]) -> dict[str, Any]:
    """The file itself and what open_clip makes of it."""
    options = dict(options)
    if orientation := options.pop("orientation", None):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    image = picture(mode, *FILE_SIZE)
    if options.pop("has_two_frames", False):
        options |= {"save_all": True, "append_images": [image.rotate(180)]}
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    file = buffer.getvalue()
    with warnings.catch_warnings(action="ignore"):
        case = pixel_case(Image.open(io.BytesIO(file)), FILE_SIDE)
    return {**case, "base64": base64.b64encode(file).decode()}


def pixel_case(image: Image.Image, side: int) -> dict[str, Any]:
    """What open_clip's transform makes of a picture: five pixels to look at, a hash for all."""
    transform = image_transform(side, is_train=False)
    steps = transform.transforms[:3]  # resize, centre crop, RGB: all before the conversion to floats
    before = hashlib.sha256(image.tobytes()).hexdigest()[:16]
    for step in steps:
        image = step(image)
    pixels = np.asarray(image)
    spots = [(0, 0), (0, side - 1), (side // 2, side // 2), (side - 1, 0), (side - 1, side - 1)]
    return {
        "side": side,
        "input_sha256": before,
        "corners_and_centre": [pixels[y, x].tolist() for y, x in spots],
        "sha256": hashlib.sha256(pixels.tobytes()).hexdigest()[:16],
    }


def as_lines(content: dict[str, Any]) -> str:
    """JSON with one case a line."""
    parts = []
    for key, value in content.items():
        if isinstance(value, str):
            parts.append(f"  {json.dumps(key)}: {json.dumps(value)}")
            continue
        if isinstance(value, dict):
            cases = [f"    {json.dumps(name)}: {json.dumps(case)}" for name, case in value.items()]
        else:
            cases = [f"    {json.dumps(case)}" for case in value]
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        parts.append(f"  {json.dumps(key)}: {opening}\n" + ",\n".join(cases) + f"\n  {closing}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
