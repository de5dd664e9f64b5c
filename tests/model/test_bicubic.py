"""The compiled resize gives Pillow's pixels."""

import numpy as np
import pytest
from PIL import Image

from clipworks.files import cache_folder
from clipworks.model import bicubic
from clipworks.model.preprocess import prepare

pytest.importorskip("numba", reason="numba is not installed")
SIZES = [(640, 480), (480, 640), (300, 600), (100, 50), (224, 224), (225, 224), (1000, 31), (7, 9), (1, 1)]


def _noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_pixel_of_noise_is_pillows(width: int, height: int) -> None:
    picture = _noise(width, height)
    for side in (32, 224):
        np.testing.assert_array_equal(prepare(picture, side, compiled=True), prepare(picture, side))


def test_a_part_of_a_larger_picture_is_what_a_crop_of_the_whole_is() -> None:
    resample = bicubic.compiled_resample(cache_folder)
    assert resample is not None
    picture = _noise(90, 70)
    whole = Image.fromarray(picture).resize((45, 35), Image.Resampling.BICUBIC)
    part = resample(picture, bicubic.Crop((45, 35), (11, 3), 20))
    np.testing.assert_array_equal(part, np.asarray(whole.crop((11, 3, 31, 23))))


def test_a_view_of_other_memory_order_is_read_as_it_looks() -> None:
    picture = _noise(64, 48)
    np.testing.assert_array_equal(
        prepare(np.asfortranarray(picture[:, ::-1]), 32, compiled=True), prepare(picture[:, ::-1].copy(), 32)
    )


def test_tall_and_huge_pictures_are_left_to_pillow() -> None:
    assert bicubic.takes(300, 600)
    assert not bicubic.takes(300, 601)
    assert not bicubic.takes(8000, 4000)
    picture = _noise(30, 90)
    np.testing.assert_array_equal(prepare(picture, 16, compiled=True), prepare(picture, 16))


def test_without_numba_pillow_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bicubic, "find_spec", lambda _: None)
    assert bicubic.compiled_resample.__wrapped__(cache_folder) is None
