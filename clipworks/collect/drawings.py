"""Pictures that lie on this machine -> squares of one size: SVG is drawn, files are fitted.

The owner of resvg. A drawing keeps its transparency, so that training can lay it on any ground; a file of
pixels is cut to its middle square. What resvg cannot read is drawn by rsvg-convert, where that is installed.
"""

import io
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import resvg_py
from PIL import Image

from clipworks.collect.images import ImageRules, keep_image
from clipworks.errors import ConfigError

LEAST_INK = 0.005
"""Share of the square that a drawing covers at least; less is blank."""

DOTS_PER_INCH = 96.0
"""Of CSS. Without it resvg-py takes sizes in millimetres for nothing and refuses the drawing."""

DRAW_SECONDS = 20
LARGEST_FILE = 50_000_000
_INK_ALPHA = 64
"""Alpha from which a pixel counts as covered, of 255."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawRules:
    """How pictures become squares."""

    side: int = 64
    """Pixels of the square, 8 to 4096."""
    rows_per_shard: int = 5000
    """Upper bound, 1 to 10,000."""
    rsvg: bool = True
    """Draw with rsvg-convert what resvg refuses; without that program such rows have no picture."""

    def __post_init__(self) -> None:
        if not 8 <= self.side <= 4096:
            raise ConfigError(f"side is {self.side}; it must be 8 to 4096.")
        if not 1 <= self.rows_per_shard <= 10_000:
            raise ConfigError(f"rows_per_shard is {self.rows_per_shard}; it must be 1 to 10000.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Square:
    """A picture of `side` by `side` pixels."""

    data: bytes
    """A PNG, with alpha where it was drawn."""
    drawer: str
    """`resvg`, `rsvg-convert`, or `pixels` where a file was fitted."""


def draw_svg(svg: str, rules: DrawRules) -> Square | str:
    """Draw an SVG document, or say in a word why it cannot be: `blank` or `not_drawn`."""
    try:
        data = bytes(
            resvg_py.svg_to_bytes(svg_string=svg, width=rules.side, height=rules.side, dpi=DOTS_PER_INCH)
        )
        drawer = "resvg"
    except ValueError:
        found = _draw_with_rsvg(svg, rules.side) if rules.rsvg else None
        if found is None:
            return "not_drawn"
        data, drawer = found, "rsvg-convert"
    try:
        with Image.open(io.BytesIO(data)) as image:
            is_ready = image.mode == "RGBA" and image.size == (rules.side, rules.side)
            square = image.convert("RGBA") if is_ready else _centred(image.convert("RGBA"), rules.side)
    except (OSError, ValueError):
        return "not_drawn"
    if sum(square.getchannel("A").histogram()[_INK_ALPHA:]) < LEAST_INK * rules.side**2:
        return "blank"
    return Square(data=data if is_ready else _as_png(square), drawer=drawer)


def fit_file(path: Path, rules: DrawRules) -> Square | str:
    """Draw an SVG file, or cut any other to its middle square; or say in a word why that cannot be."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            return "too_large"
        data = path.read_bytes()
    except OSError:
        return "not_found"
    if path.suffix.lower() == ".svg":
        return draw_svg(data.decode("utf-8", "replace"), rules)
    kept = keep_image(
        data,
        ImageRules(
            image_size=rules.side,
            resize_mode="center_crop",
            only_if_bigger=False,
            encode_format="png",
            encode_quality=6,
        ),
    )
    return "undecodable" if isinstance(kept, str) else Square(data=kept.data, drawer="pixels")


def _draw_with_rsvg(svg: str, side: int) -> bytes | None:
    """PNG with its longer side of `side` pixels; None where it fails or the program is missing."""
    program = shutil.which("rsvg-convert")
    if program is None:
        return None
    size = ["--width", str(side), "--height", str(side), "--keep-aspect-ratio"]
    try:
        done = subprocess.run(
            [program, *size], input=svg.encode(), capture_output=True, check=True, timeout=DRAW_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _centred(image: Image.Image, side: int) -> Image.Image:
    image.thumbnail((side, side))
    square = Image.new("RGBA", (side, side))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
