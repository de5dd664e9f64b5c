import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encoded, picture, png_header
from PIL import Image, features

from clipworks.errors import ConfigError, InputError
from clipworks.model.decoder import FORMATS
from clipworks.model.preprocess import prepare


def refused(image: Any, code: str, **options: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        prepare(image, 32, **options)
    error = caught.value
    assert error.code == code
    assert error.message.endswith(".") and "\n" not in error.message and error.remedy.endswith(".")
    return error


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    error = refused(tmp_path / "cat.jpg", "not_found")
    assert "cat.jpg" in error.message and "does not exist" in error.message


def test_a_directory_is_named(tmp_path: Path) -> None:
    assert "is a directory" in refused(tmp_path, "invalid_image").message


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert "not a regular file" in refused(tmp_path / "pipe.png", "invalid_image").message


@pytest.mark.parametrize("path", ["a\0b.png", "x" * 5000])
def test_a_path_that_no_file_can_have_is_refused(path: str) -> None:
    assert len(refused(path, "invalid_image").message) < 300


@pytest.mark.parametrize("url", ["https://example.com/cat.jpg", "data:image/png;base64," + "A" * 10_000])
def test_a_url_is_not_a_path(url: str) -> None:
    error = refused(url, "invalid_image")
    assert "is a URL" in error.message and len(error.message) < 200


def test_a_text_file_named_jpg_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("shopping list\n")
    error = refused(tmp_path / "notes.jpg", "invalid_image")
    assert "notes.jpg' is not a readable picture." in error.message and "JPEG" in error.remedy


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    assert "empty.png' is empty (0 bytes)." in refused(tmp_path / "empty.png", "invalid_image").message
    assert refused(b"", "invalid_image").message == "The image is empty (0 bytes)."


def test_a_truncated_jpeg_is_named_by_the_callers_name() -> None:
    file = encoded(picture("RGB", 200, 200), "JPEG")
    error = refused(file[: len(file) // 2], "invalid_image", name="input[2]")
    assert error.message == "Image 'input[2]' is damaged or incomplete: its pixels cannot be decoded."


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind not in ("GIF", "BMP")])
def test_half_a_file_is_refused(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("This Pillow has no AVIF.")
    file = encoded(picture("RGB", 100, 100), kind)
    refused(file[: len(file) // 2], "invalid_image")


@pytest.mark.parametrize(
    ("file", "what"),
    [
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"%PDF-1.7\n", "PDF"),
        pytest.param(
            b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00",
            "HEIC",
            marks=pytest.mark.skipif(find_spec("pi_heif") is not None, reason="the extra heic opens it"),
        ),
        (b"8BPS\x00\x01", "Photoshop"),
        (b"\x00\x00\x01\x00\x01\x00", "ICO"),
    ],
)
def test_a_format_that_is_not_opened_is_named(file: bytes, what: str) -> None:
    error = refused(file, "unsupported_image_format", name="a")
    assert what in error.message and error.remedy.startswith("Convert it to JPEG")


@pytest.mark.parametrize("side", [8_000, 9_900, 20_000])
@pytest.mark.parametrize("mode", ["standard", "reference"])
def test_a_huge_picture_is_refused_by_its_header(side: int, mode: Any) -> None:
    # Only the header promises the size: were the pixels decoded, the error would be another.
    file = png_header(side, side, bits=1, rows=b"")
    error = refused(file, "image_too_large", mode=mode, name="wall.png")
    assert "wall.png" in error.message and "50 million" in error.message


def test_a_real_20000_by_20000_png_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(20_000, 20_000, bits=1, rows=bytes(2_501 * 20_000)))
    assert "huge.png' is too large" in refused(path, "image_too_large").message


def test_a_huge_image_or_array_in_memory_is_refused() -> None:
    wide = np.broadcast_to(np.zeros((1, 1, 3), dtype=np.uint8), (1, 50_000_001, 3))
    assert "50.0 million pixels" in refused(wide, "image_too_large").message


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.zeros((4, 4, 3), dtype=np.float32), "float32"),
        (np.zeros((4, 4, 3), dtype=np.int64), "int64"),
        (np.zeros((4, 4), dtype=np.uint8), r"[4, 4]"),
        (np.zeros((4, 4, 4), dtype=np.uint8), r"[4, 4, 4]"),
        (np.zeros((3, 4, 4), dtype=np.uint8), r"[3, 4, 4]"),
        (np.zeros((2, 4, 4, 3), dtype=np.uint8), r"[2, 4, 4, 3]"),
        (np.zeros((0, 4, 3), dtype=np.uint8), r"[0, 4, 3]"),
    ],
)
def test_a_wrong_array_is_refused_with_its_type_or_shape(array: Any, what: str) -> None:
    assert what in refused(array, "invalid_image").message


@pytest.mark.parametrize("thing", [None, 3, bytearray(b"x"), [1, 2]])
def test_a_wrong_type_is_named(thing: Any) -> None:
    assert type(thing).__name__ in refused(thing, "invalid_image").message


def test_an_image_without_pixels_is_refused() -> None:
    assert "0x5" in refused(Image.new("RGB", (0, 5)), "invalid_image").message


def test_a_closed_image_is_refused(tmp_path: Path) -> None:
    picture("RGB", 9, 9).save(tmp_path / "a.png")
    image = Image.open(tmp_path / "a.png")
    image.close()
    refused(image, "invalid_image")


def test_wrong_settings_are_refused() -> None:
    image = picture("RGB", 9, 9)
    with pytest.raises(ConfigError, match="size is 0"):
        prepare(image, 0)
    with pytest.raises(ConfigError, match="mode is 'fancy'; it must be one of standard, reference, scaled"):
        prepare(image, 8, mode="fancy")  # type: ignore[arg-type]


SEEDS = [
    encoded(picture("RGB", 24, 20), "JPEG"),
    encoded(picture("CMYK", 24, 20), "JPEG"),
    encoded(picture("RGB", 24, 20), "PNG"),
    encoded(picture("P", 24, 20), "PNG", transparency=bytes(range(100, 200))),
    encoded(picture("I;16", 24, 20), "PNG"),
    encoded(picture("RGBA", 24, 20), "WEBP"),
    encoded(picture("P", 24, 20), "GIF", save_all=True, append_images=[picture("P", 24, 20).rotate(90)]),
    encoded(picture("RGB", 24, 20), "BMP"),
    encoded(picture("RGB", 24, 20), "TIFF"),
    encoded(picture("F", 24, 20), "TIFF"),
]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_file_gives_pixels_or_an_input_error(data: st.DataObject) -> None:
    file = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 6))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(file), data.draw(st.integers(0, len(file)))]))
    try:
        pixels = prepare(bytes(file[:end]), 16, mode=data.draw(st.sampled_from(["standard", "reference"])))
    except InputError as error:
        assert error.remedy
    else:
        assert pixels.shape == (16, 16, 3)


def test_pillow_warnings_stay_inside_and_others_come_through(recwarn: pytest.WarningsRecorder) -> None:
    warnings.simplefilter("always")
    before = list(warnings.filters)
    refused(png_header(9_900, 9_900, bits=1, rows=b""), "image_too_large")
    prepare(encoded(picture("P", 24, 20), "PNG", transparency=bytes(range(256))), 16, mode="reference")
    prepare(encoded(picture("RGB", 9, 9), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff"), 16)
    assert not recwarn.list
    assert warnings.filters == before


def test_threads_get_the_same_pixels_and_leave_the_warning_filters_alone() -> None:
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        squares = list(pool.map(lambda i: prepare(SEEDS[i % len(SEEDS)], 16), range(100)))
    for i, square in enumerate(squares):
        assert np.array_equal(square, squares[i % len(SEEDS)])
    assert warnings.filters == before
