"""The baseline that asks pixels."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.pictogram_nearest import describe, read_pool, score
from benchmarks.suites import Suite
from clipworks.files import atomic_write
from clipworks.shards import Sample, write_shards


def half(first: str, second: str) -> Image.Image:
    picture = Image.new("RGB", (32, 32), first)
    picture.paste(Image.new("RGB", (16, 32), second), (16, 0))
    return picture


def png(picture: Image.Image, path: Path) -> bytes:
    with atomic_write(path) as file:
        picture.save(file, "PNG")
    return path.read_bytes()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    rows = (("fox", "emoji", half("red", "blue")), ("owl", "emoji", half("blue", "red")))
    glyph = ("fox", "glyph", half("white", "black"))
    samples = [
        Sample(
            key=str(number),
            image=png(picture, tmp_path / f"{number}.png"),
            extension="png",
            texts=(name, "an animal"),
            details={"kind": kind},
        )
        for number, (name, kind, picture) in enumerate((*rows, glyph))
    ]
    write_shards(samples, tmp_path / "shards")
    return tmp_path / "shards"


def test_a_picture_has_the_name_of_the_nearest_one_and_unknown_names_come_last(shards: Path) -> None:
    pool, names = read_pool(shards)
    assert names == ["fox", "owl"] and pool.shape == (2, 768)
    pictures = (half("darkred", "darkblue"), half("navy", "maroon"), half("red", "green"))
    texts = ("fox", "owl", "yak")
    suite = Suite(
        name="names", kind="names", pictures=pictures, texts=texts, truth=np.arange(3), templates=()
    )
    found = score(suite, pool, names, {text: {text} for text in texts})["names"]
    assert found["recall_at_1"]["value"] == 66.7 and found["n"] == 3


def test_a_class_is_as_near_as_its_nearest_name(shards: Path) -> None:
    pool, names = read_pool(shards)
    suite = Suite(
        name="kinds",
        kind="classes",
        pictures=(half("blue", "red"),),
        texts=("bird", "mammal"),
        truth=np.array([0]),
        templates=(),
    )
    assert score(suite, pool, names, {"bird": {"owl"}, "mammal": {"fox"}})["kinds"]["top1"]["value"] == 100.0


def test_an_even_grey_is_near_to_nothing() -> None:
    assert not describe([Image.new("RGB", (8, 8), "grey")]).any()
