"""The mistakes that ports of CLIP are known to make with pixels, one test each.

As in test_known_mistakes.py: what this package computes is right, and the mistake would be noticed. That the
pixels of `reference` mode are open_clip's to the bit is shown in test_preprocess.py; here they are written
out with Pillow once more, the right way and the wrong one.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import encoded, picture
from PIL import Image
from plain_clip import plain_images, unit
from tiny_clip import TinyClip, tiny_pixels

from clipworks.model.config import PreprocessConfig
from clipworks.model.engine import Engine
from clipworks.model.loading import load
from clipworks.model.preprocess import PreprocessMode, prepare
from clipworks.model.weights import write_checkpoint

pytestmark = pytest.mark.slow

SIDE = 32
NOTICED = 1e-3
"""A hundred times the tolerance of features."""

Pixels = NDArray[np.uint8]
MODES: tuple[PreprocessMode, ...] = ("standard", "reference")

both_modes = pytest.mark.parametrize("mode", MODES)


@pytest.fixture(scope="module")
def engine(tiny_clip: TinyClip) -> Engine:
    return load(tiny_clip.native, precision="f32")


@pytest.fixture
def photo() -> Image.Image:
    """640x480 with detail at every scale, as the picture behind the published differences."""
    random = np.random.default_rng(7)
    coarse = random.integers(0, 256, (12, 16, 3)).repeat(40, axis=0).repeat(40, axis=1)
    noisy = coarse // 2 + random.integers(0, 128, (480, 640, 3))
    return Image.fromarray(noisy.astype(np.uint8))


def by_hand(image: Image.Image, *, resample: Image.Resampling = Image.Resampling.BICUBIC) -> Pixels:
    """Short side to SIDE, centre crop."""
    width, height = image.size
    short = min(image.size)
    size = int(SIDE * width / short), int(SIDE * height / short)
    left, top = round((size[0] - SIDE) / 2), round((size[1] - SIDE) / 2)
    return np.asarray(image.resize(size, resample).crop((left, top, left + SIDE, top + SIDE)))


def distance(engine: Engine, one: Pixels, other: Pixels) -> float:
    """Of the vectors of two pictures, the largest difference of a number."""
    first, second = engine.embed_pixels(np.stack([one, other]))
    return float(np.abs(first - second).max())


def check(engine: Engine, found: Pixels, right: Pixels, wrong: Pixels) -> None:
    assert np.array_equal(found, right)
    assert distance(engine, right, wrong) > NOTICED


@both_modes
def test_shrinking_takes_every_pixel_into_account(
    engine: Engine, photo: Image.Image, mode: PreprocessMode
) -> None:
    size = int(SIDE * 640 / 480), SIDE
    left = round((size[0] - SIDE) / 2)
    # Pillow's transform looks at four points for each pixel of the result, however far apart they lie.
    sampled = photo.transform(size, Image.Transform.EXTENT, (0, 0, *photo.size), Image.Resampling.BICUBIC)
    wrong = np.asarray(sampled.crop((left, 0, left + SIDE, SIDE)))
    check(engine, prepare(photo, SIDE, mode=mode), by_hand(photo), wrong)
    assert np.abs(by_hand(photo).astype(int) - wrong).mean() > 5


@both_modes
def test_the_filter_is_bicubic(engine: Engine, photo: Image.Image, mode: PreprocessMode) -> None:
    for resample in (Image.Resampling.BILINEAR, Image.Resampling.LANCZOS, Image.Resampling.NEAREST):
        wrong = by_hand(photo, resample=resample)
        check(engine, prepare(photo, SIDE, mode=mode), by_hand(photo), wrong)


@both_modes
def test_the_short_side_is_fitted_and_the_long_one_cropped_not_squashed(
    engine: Engine, photo: Image.Image, mode: PreprocessMode
) -> None:
    squashed = np.asarray(photo.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    check(engine, prepare(photo, SIDE, mode=mode), by_hand(photo), squashed)
    padded = Image.new("RGB", (640, 640))
    padded.paste(photo, (0, 80))
    check(engine, prepare(photo, SIDE, mode=mode), by_hand(photo), by_hand(padded))


@both_modes
def test_channels_come_in_the_order_red_green_blue(
    engine: Engine, photo: Image.Image, mode: PreprocessMode
) -> None:
    right = by_hand(photo)
    check(engine, prepare(photo, SIDE, mode=mode), right, np.ascontiguousarray(right[..., ::-1]))
    assert prepare(Image.new("RGB", (40, 40), (200, 100, 50)), SIDE, mode=mode)[0, 0].tolist() == [
        200,
        100,
        50,
    ]


def test_a_palette_is_resolved_before_the_resize_and_in_reference_mode_behind_it(engine: Engine) -> None:
    image = picture("P", 300, 200)
    first = by_hand(image.convert("RGB"))
    behind = Image.fromarray(by_hand(image))  # indices, picked without any mixing
    behind.putpalette(image.getpalette() or [])
    check(engine, prepare(image, SIDE), first, np.asarray(behind.convert("RGB")))
    assert np.array_equal(prepare(image, SIDE, mode="reference"), np.asarray(behind.convert("RGB")))


def test_black_and_white_drawings_keep_their_greys(engine: Engine) -> None:
    image = picture("1", 300, 200)
    first, behind = by_hand(image.convert("RGB")), prepare(image, SIDE, mode="reference")
    check(engine, prepare(image, SIDE), first, behind)
    assert set(np.unique(behind)) == {0, 255}


def test_transparency_is_laid_on_white_and_in_reference_mode_dropped(engine: Engine) -> None:
    image = picture("RGBA", 300, 200)
    ground = Image.new("RGB", image.size, "white")
    ground.paste(image, mask=image.getchannel("A"))
    dropped = np.asarray(Image.fromarray(by_hand(image)).convert("RGB"))
    check(engine, prepare(image, SIDE), by_hand(ground), dropped)
    assert np.array_equal(prepare(image, SIDE, mode="reference"), dropped)
    on_black = Image.new("RGB", image.size)
    on_black.paste(image, mask=image.getchannel("A"))
    assert distance(engine, by_hand(ground), by_hand(on_black)) > NOTICED


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_picture_is_turned_by_its_exif_tag_and_in_reference_mode_left(
    engine: Engine, photo: Image.Image, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    small = photo.resize((160, 120))
    file = encoded(small, "PNG", exif=exif)
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}[orientation]  # orientation -> Pillow's transpose
    upright = small.transpose(Image.Transpose(turn))
    check(engine, prepare(file, SIDE), by_hand(upright), by_hand(small))
    assert np.array_equal(prepare(file, SIDE, mode="reference"), by_hand(small))


@pytest.mark.parametrize("device", ["cpu", "torch-cpu"])
def test_pixels_are_normalised_with_the_models_own_mean_and_std(
    tiny_clip: TinyClip, tmp_path: Path, device: str
) -> None:
    if device == "torch-cpu":
        pytest.importorskip("torch", reason="PyTorch comes with clipworks[train]")
    pixels = tiny_pixels()
    wrong: tuple[Any, ...] = (
        PreprocessConfig(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        PreprocessConfig(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),  # ImageNet's
        PreprocessConfig(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        PreprocessConfig(mean=(0.40821073, 0.4578275, 0.48145466)),  # blue first
    )
    right = unit(plain_images(tiny_clip.config, tiny_clip.weights, pixels))
    found = load(tiny_clip.native, precision="f32", device=device).embed_pixels(pixels)
    np.testing.assert_allclose(found, right, atol=1e-5)
    for number, preprocess in enumerate(wrong):
        config = replace(tiny_clip.config, preprocess=preprocess)
        other = unit(plain_images(config, tiny_clip.weights, pixels))
        assert np.abs(other - right).max(axis=1).min() > NOTICED
        folder = tmp_path / str(number)
        write_checkpoint(folder, config, tiny_clip.weights)
        found = load(str(folder), precision="f32", device=device).embed_pixels(pixels)
        np.testing.assert_allclose(found, other, atol=1e-5)


def test_pixels_are_divided_by_255_before_they_are_normalised(tiny_clip: TinyClip, engine: Engine) -> None:
    pixels, preprocess = tiny_pixels(), tiny_clip.config.preprocess
    right = unit(plain_images(tiny_clip.config, tiny_clip.weights, pixels))
    np.testing.assert_allclose(engine.embed_pixels(pixels), right, atol=1e-5)
    mean, std = np.array(preprocess.mean), np.array(preprocess.std)
    for numbers in ((pixels - mean) / std, pixels / 255, pixels / 127.5 - 1):
        wrong = unit(plain_images(tiny_clip.config, tiny_clip.weights, numbers))
        assert np.abs(wrong - right).max(axis=1).min() > NOTICED
