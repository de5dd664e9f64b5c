"""The mode `scaled`: large JPEG files decoded smaller; everything else as in `standard`, to the bit."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pictures import encoded, picture
from PIL import Image

from clipworks.errors import InputError
from clipworks.model.decoder import FORMATS, decode
from clipworks.model.preprocess import prepare

SIDE = 32


def photo(width: int, height: int, **options: Any) -> bytes:
    """A JPEG with detail on every scale, as photographs have it."""
    random = np.random.default_rng(width + height)
    total = np.zeros((height, width, 3), dtype=np.float32)
    for cells in (3, 7, 15, 31, 63):
        noise = random.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        layer = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        total += (np.asarray(layer, dtype=np.float32) - 128) / cells**0.5
    pixels = (128 + 50 * total / total.std()).clip(0, 255).astype(np.uint8)
    return encoded(Image.fromarray(pixels), "JPEG", quality=90, **options)


def differences(file: bytes) -> npt.NDArray[np.int64]:
    scaled, standard = (prepare(file, SIDE, mode=mode).astype(np.int64) for mode in ("scaled", "standard"))
    return abs(scaled - standard)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(256, 192), (257, 199), (191, 300), (513, 511), (130, 64), (128, 1000)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_jpeg_differs_little_whichever_way_it_lies(size: tuple[int, int], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    difference = differences(photo(*size, exif=exif))
    assert difference.mean() < 1
    assert difference.max() <= 8


def test_a_large_jpeg_is_decoded_at_the_smallest_size_that_keeps_twice_the_target() -> None:
    for width, expected in [(127, 127), (128, 64), (255, 128), (256, 64), (512, 64), (1024, 128)]:
        decoded, full = decode(photo(width, width), "The image", shortest=2 * SIDE)
        assert (decoded.size, full) == ((expected, expected), (width, width))


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind not in ("JPEG", "AVIF")])
def test_another_format_gives_the_pixels_of_standard(kind: str) -> None:
    assert not differences(encoded(picture("RGB", 300, 260), kind)).any()


@pytest.mark.parametrize("size", [(1, 1), (40, 30), (127, 400), (63, 63)])
def test_a_small_jpeg_gives_the_pixels_of_standard(size: tuple[int, int]) -> None:
    assert not differences(photo(*size)).any()


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_are_decoded_smaller_too(mode: str) -> None:
    image = Image.open(io.BytesIO(photo(256, 300))).convert(mode)
    difference = differences(encoded(image, "JPEG", quality=95))
    assert 0 < difference.max() <= 8 and difference.mean() < 1


@pytest.mark.parametrize("side", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [(17, 16), (9, 33), (100, 3), (31, 31)])
def test_a_plain_colour_stays_that_colour_at_any_size(side: int, size: tuple[int, int]) -> None:
    file = encoded(Image.new("RGB", size, (9, 200, 100)), "JPEG")
    assert abs(prepare(file, side, mode="scaled").astype(int) - (9, 200, 100)).max() <= 2


def test_a_path_is_decoded_smaller_and_an_open_image_is_left_as_it_was(tmp_path: Path) -> None:
    file = photo(256, 256)
    (tmp_path / "a.jpg").write_bytes(file)
    from_bytes = prepare(file, SIDE, mode="scaled")
    assert np.array_equal(prepare(tmp_path / "a.jpg", SIDE, mode="scaled"), from_bytes)
    image = Image.open(io.BytesIO(file))
    assert np.array_equal(prepare(image, SIDE, mode="scaled"), prepare(file, SIDE))
    assert image.size == (256, 256)


def test_a_truncated_jpeg_is_refused_as_in_standard() -> None:
    file = photo(300, 300)
    messages = []
    for mode in ("standard", "scaled"):
        with pytest.raises(InputError) as caught:
            prepare(file[: len(file) // 2], SIDE, mode=mode, name="a.jpg")  # type: ignore[arg-type]
        messages.append(caught.value.message)
    assert messages == ["Image 'a.jpg' is damaged or incomplete: its pixels cannot be decoded."] * 2
