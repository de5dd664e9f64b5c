import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import encoded, picture, png_header
from PIL import features

from clipworks.model.decoder import FORMATS, begins_like_a_picture, count_pixels


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_that_is_opened_begins_like_a_picture_and_tells_its_pixels(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("This Pillow has no AVIF.")
    file = encoded(picture("RGB", 30, 20), kind)
    assert begins_like_a_picture(file[:64])
    assert count_pixels(file) == 600


@pytest.mark.parametrize(
    "head", [b"", b"<html>", b"<svg ", b"%PDF", b"8BPS", b"SIMPLE  =", b"%!PS", b"\x00\x00\x00\x18ftypisom"]
)
def test_other_files_do_not(head: bytes) -> None:
    assert not begins_like_a_picture(head)


@given(st.binary(max_size=200))
def test_what_cannot_be_read_has_no_pixels(data: bytes) -> None:
    assert count_pixels(b"\x89PNG\r\n\x1a\n" + data) >= 0
    assert count_pixels(b"x" + data) == 0


def test_what_is_too_large_to_be_decoded_needs_no_room() -> None:
    assert count_pixels(png_header(7_000, 7_000, bits=1, rows=b"")) == 49_000_000
    assert count_pixels(png_header(9_000, 9_000, bits=1, rows=b"")) == 0
    assert count_pixels(png_header(60_000, 60_000, bits=1, rows=b"")) == 0
