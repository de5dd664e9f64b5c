"""Small real shards: drawings made on the fly, with two captions each."""

import io
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from clipworks.shards import Sample, write_shards

COLOURS = ("red", "green", "blue", "orange", "purple", "black", "pink", "brown")
SHAPES = ("circle", "square", "triangle", "bar", "cross")


def draw(colour: str, shape: str) -> bytes:
    """A PNG of 32 pixels with a transparent ground."""
    image = Image.new("RGBA", (32, 32))
    pen = ImageDraw.Draw(image)
    if shape == "circle":
        pen.ellipse((4, 4, 28, 28), fill=colour)
    elif shape == "square":
        pen.rectangle((6, 6, 26, 26), fill=colour)
    elif shape == "triangle":
        pen.polygon(((16, 4), (28, 28), (4, 28)), fill=colour)
    else:
        pen.rectangle((13, 3, 19, 29), fill=colour)
        if shape == "cross":
            pen.rectangle((3, 13, 29, 19), fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def drawings() -> list[Sample]:
    """All colours and shapes, 40 samples."""
    return [
        Sample(
            key=f"{colour}-{shape}",
            image=draw(colour, shape),
            extension="png",
            texts=(f"{colour} {shape}", shape),
            details={"mono": colour == "black", "weight": 2.0 if colour == "red" else 1.0},
        )
        for colour in COLOURS
        for shape in SHAPES
    ]


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two shards with 40 samples."""
    folder = tmp_path_factory.mktemp("data") / "shards"
    write_shards(drawings(), folder, samples_per_shard=25)
    return folder
