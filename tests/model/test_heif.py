"""HEIC pictures are opened where the extra `heic` is installed, and named where it is not."""

import os
import random
from importlib.util import find_spec

import pytest
from cameras import HEIC

from clipworks.errors import InputError
from clipworks.model import decoder
from clipworks.model.decoder import decode
from clipworks.model.preprocess import prepare
from clipworks.search.exif import read_facts, read_time

needs_heif = pytest.mark.skipif(
    find_spec("pi_heif") is None and os.environ.get("CI") != "true", reason="pi-heif is not installed"
)


@needs_heif
def test_a_phones_picture_is_opened_upright() -> None:
    picture, size = decode(HEIC, "it")
    assert size == picture.size == (48, 64)
    square = prepare(HEIC, 24).astype(int)
    assert square[12, 12].max() < 60 < 150 < square[1, 1].min()


@needs_heif
def test_what_it_says_of_itself_is_read() -> None:
    facts = read_facts(HEIC)
    assert (facts.width, facts.height, facts.camera) == (48, 64, "Apple iPhone 15")
    assert facts.taken == read_time("2024-05-17T14:03:59")


@needs_heif
def test_damaged_files_are_an_error_with_words_or_a_picture() -> None:
    numbers = random.Random(0)
    for _ in range(200):
        damaged = bytearray(HEIC[: numbers.randrange(20, len(HEIC) + 1)])
        damaged[numbers.randrange(len(damaged))] = numbers.randrange(256)
        read_facts(bytes(damaged))
        try:
            assert prepare(bytes(damaged), 8).shape == (8, 8, 3)
        except InputError as error:
            assert str(error)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "reads_heif", lambda: False)
    with pytest.raises(InputError, match="is a HEIC picture") as caught:
        prepare(HEIC, 8)
    assert 'pip install "clipworks[heic]"' in caught.value.remedy
    assert caught.value.code == "unsupported_image_format"
