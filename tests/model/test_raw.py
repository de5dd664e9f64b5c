"""RAW files are opened by the picture that the camera put into them."""

import io
import random

import numpy as np
import pytest
from cameras import KINDS, RAW_VALUES, Tiff, cr2, jpeg, nef
from PIL import Image

from clipworks.errors import InputError
from clipworks.model.preprocess import prepare
from clipworks.model.raw import read_raw


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_finished_picture_is_the_preview(kind: str) -> None:
    raw = read_raw(io.BytesIO(KINDS[kind]()))
    assert raw is not None
    with Image.open(io.BytesIO(raw.preview)) as picture:
        assert picture.size == (320, 240)


@pytest.mark.parametrize("order", ["<", ">"])
def test_it_is_turned_as_the_camera_says(order: str) -> None:
    upright = prepare(nef(order=order), 32)
    turned = prepare(nef(orientation=6, order=order), 32)
    assert np.array_equal(np.rot90(upright, -1), turned)
    assert upright[16, 4].min() > 200 and upright[16, 28, 2] < 60
    assert turned[4, 16].min() > 200


def test_a_preview_that_says_itself_how_it_is_turned_is_believed() -> None:
    file = Tiff()
    own = jpeg(320, 240, orientation=1)
    strip = {0x103: 6, 0x111: file.blob(own), 0x117: len(own), 0x106: 32803, 0x112: 6}
    assert prepare(file.done(file.folder(strip)), 32)[16, 4].min() > 200


def test_the_size_is_that_of_the_raw_values() -> None:
    raw = read_raw(io.BytesIO(nef()))
    assert raw is not None and (raw.width, raw.height) == (4000, 3000)


def test_an_ordinary_tiff_is_none() -> None:
    file = io.BytesIO()
    Image.new("RGB", (20, 20), "red").save(file, "TIFF")
    assert read_raw(file) is None
    assert prepare(file.getvalue(), 8)[4, 4].tolist() == [255, 0, 0]


def test_without_a_finished_picture_that_is_said() -> None:
    file = Tiff()
    values = {0x103: 7, 0x106: 32803, 0x111: file.blob(RAW_VALUES), 0x117: 64}
    with pytest.raises(InputError, match="RAW file without a finished picture") as caught:
        prepare(file.done(file.folder(values)), 8)
    assert caught.value.code == "unsupported_image_format"


def test_directories_that_lead_in_circles_or_out_of_the_file_end() -> None:
    file = Tiff()
    first = file.folder({0x106: 32803, 0x14A: (8, 1 << 31, 10), 0x201: 1 << 30, 0x202: 1 << 30}, following=8)
    raw = read_raw(io.BytesIO(file.done(first)))
    assert raw is not None and raw.preview == b""


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_an_error_with_words_or_a_picture(kind: str) -> None:
    whole, numbers = KINDS[kind](), random.Random(kind)
    for _ in range(60):
        damaged = bytearray(whole[: numbers.randrange(20, len(whole))])
        for _ in range(8):
            damaged[numbers.randrange(len(damaged))] = numbers.randrange(256)
        try:
            assert prepare(bytes(damaged), 8).shape == (8, 8, 3)
        except InputError as error:
            assert str(error)


def test_raw_values_of_a_canon_file_are_not_taken_for_a_picture() -> None:
    assert prepare(cr2(), 32).shape == (32, 32, 3)
