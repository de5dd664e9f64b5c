import base64
import hashlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pictures import encoded, picture
from PIL import Image, features

from clipworks.model import preprocess
from clipworks.model.decoder import FORMATS
from clipworks.model.preprocess import ImageInput, prepare, prepare_rgba

ZOO = json.loads((Path(__file__).parents[1] / "golden" / "pixels.json").read_text())
GOLDEN = ZOO["pictures"]
WHITE = (255, 255, 255)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", GOLDEN, ids=[f"{c['mode']}-{c['width']}x{c['height']}-to-{c['side']}" for c in GOLDEN]
)
def test_reference_pixels_equal_open_clips(case: dict[str, Any]) -> None:
    image = picture(case["mode"], case["width"], case["height"])
    assert digest(image.tobytes()) == case["input_sha256"]
    assert_equals_open_clips(image, case)


@pytest.mark.parametrize("name", ZOO["files"])
def test_reference_pixels_of_files_equal_open_clips(name: str) -> None:
    case = ZOO["files"][name]
    file = base64.b64decode(case["base64"])
    with warnings.catch_warnings(action="ignore"):
        assert digest(Image.open(io.BytesIO(file)).tobytes()) == case["input_sha256"]
    assert_equals_open_clips(file, case)


@pytest.mark.parametrize("name", ZOO["lossy_files"])
def test_reference_pixels_of_lossy_files_equal_open_clips(name: str) -> None:
    case = ZOO["lossy_files"][name]
    file = base64.b64decode(case["base64"])
    if digest(Image.open(io.BytesIO(file)).tobytes()) != case["input_sha256"]:
        pytest.skip("This Pillow decodes the file to other pixels than the one that made the golden file.")
    assert_equals_open_clips(file, case)


def assert_equals_open_clips(image: ImageInput, case: dict[str, Any]) -> None:
    side = case["side"]
    pixels = prepare(image, side, mode="reference")
    spots = [(0, 0), (0, side - 1), (side // 2, side // 2), (side - 1, 0), (side - 1, side - 1)]
    assert [pixels[y, x].tolist() for y, x in spots] == case["corners_and_centre"]
    assert digest(pixels.tobytes()) == case["sha256"]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@given(st.integers(1, 150), st.integers(1, 150), st.sampled_from([1, 32, 97]))
@settings(max_examples=40, deadline=None)
def test_both_modes_agree_on_upright_rgb(width: int, height: int, side: int) -> None:
    image = picture("RGB", width, height)
    pixels = prepare(image, side)
    assert pixels.shape == (side, side, 3) and pixels.dtype == np.uint8 and pixels.flags.writeable
    assert np.array_equal(pixels, prepare(image, side, mode="reference"))


@given(st.integers(1, 3000), st.integers(1, 3000), st.tuples(*[st.integers(0, 255)] * 3))
@settings(max_examples=30, deadline=None)
@example(1, 3000, (7, 200, 255))
def test_a_plain_colour_stays_that_colour(width: int, height: int, colour: tuple[int, int, int]) -> None:
    assert (prepare(Image.new("RGB", (width, height), colour), 32) == colour).all()


def test_path_bytes_image_and_array_give_the_same_pixels(tmp_path: Path) -> None:
    image = picture("RGB", 70, 50)
    path = tmp_path / "ünïcode 名.png"
    image.save(path)
    expected = prepare(image, 48)
    for source in (
        path,
        str(path),
        path.read_bytes(),
        np.asarray(image),
        np.asarray(image)[:, ::-1][:, ::-1],
    ):
        assert np.array_equal(prepare(source, 48), expected)


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_opens(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("This Pillow has no AVIF.")
    image = Image.linear_gradient("L").resize((60, 40)).convert("RGB")
    got = prepare(encoded(image, kind), 40).astype(int)
    assert abs(got - prepare(image, 40)).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_standard_turns_a_picture_upright(kind: str, orientation: int) -> None:
    upright = Image.new("RGB", (64, 48), (200, 30, 30))
    upright.paste((30, 30, 200), (0, 0, 24, 16))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> Pillow's inverse transpose
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(stored, kind, exif=exif, **({"quality": 95} if kind in ("JPEG", "WEBP") else {}))
    assert abs(prepare(file, 48).astype(int) - prepare(upright, 48)).mean() < 3


def test_reference_ignores_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = picture("RGB", 60, 40)
    file = encoded(image, "PNG", exif=exif)
    assert np.array_equal(prepare(file, 32, mode="reference"), prepare(image, 32))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_unknown_orientation_is_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = picture("RGB", 60, 40)
    assert np.array_equal(prepare(encoded(image, "PNG", exif=exif), 32), prepare(image, 32))


def test_a_broken_exif_block_is_passed_over() -> None:
    file = encoded(
        Image.new("RGB", (40, 30), (9, 99, 199)), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff"
    )
    assert abs(prepare(file, 32).astype(int) - (9, 99, 199)).max() < 6


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_what_is_transparent_is_white(mode: str) -> None:
    if mode == "PA":
        image = Image.new("PA", (20, 20), (3, 0))
        image.putpalette([200, 0, 0] * 4)
    else:
        clear = Image.new("RGBA", (20, 20), (200, 0, 0, 0))
        image = clear.convert("LA").convert("La") if mode == "La" else clear.convert(mode)
    assert image.mode == mode
    assert (prepare(image, 16) == WHITE).all()


def test_half_transparent_is_half_way_to_white() -> None:
    assert (prepare(Image.new("RGBA", (20, 20), (0, 0, 0, 128)), 16) == 127).all()


def test_a_transparent_palette_entry_is_white_in_standard_and_shows_its_colour_in_reference() -> None:
    image = Image.new("P", (20, 20), 3)
    image.putpalette([0, 0, 0, 1, 1, 1, 2, 2, 2, 10, 20, 30])
    for transparency in (3, bytes([255, 255, 255, 0])):
        file = encoded(image, "PNG", transparency=transparency)
        assert (prepare(file, 16) == WHITE).all()
        assert (prepare(file, 16, mode="reference") == (10, 20, 30)).all()
        assert (prepare(encoded(image, "GIF", transparency=3), 16) == WHITE).all()


@pytest.mark.parametrize(("mode", "colour"), [("L", 40), ("RGB", (40, 50, 60))])
def test_a_transparent_key_colour_is_white(mode: str, colour: Any) -> None:
    file = encoded(Image.new(mode, (20, 20), colour), "PNG", transparency=colour)
    assert (prepare(file, 16) == WHITE).all()


@pytest.mark.parametrize("value", [0, 1, 128, 129, 255, 256, 1000, 32768, 65407, 65535])
def test_sixteen_bits_are_scaled_not_clipped(value: int) -> None:
    image = Image.fromarray(np.full((12, 16), value, dtype=np.uint16))
    assert (prepare(encoded(image, "PNG"), 8) == round(value / 257)).all()
    big_endian = Image.frombytes("I;16B", (16, 12), np.full((12, 16), value, dtype=">u2").tobytes())
    assert (prepare(big_endian, 8) == round(value / 257)).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 10.0, 255.0], [0, 10, 255]),
        ([0.0, 257.0, 65535.0], [0, 1, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([0.0, 1e6, 2e6], [0, 128, 255]),
        ([float("nan"), 0.0, 1.0], [0, 0, 255]),
        ([float("nan")] * 3, [0, 0, 0]),
        ([-5.0, -5.0, -5.0], [0, 0, 0]),
        ([-3e38, 0.0, 3e38], [0, 128, 255]),
    ],
)
def test_floats_are_scaled_by_the_range_that_holds_them(values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.repeat(np.array([values], dtype=np.float32), 3, axis=0))
    assert prepare(encoded(image, "TIFF"), 3)[0, :, 0].tolist() == expected


def test_whole_numbers_of_32_bits_are_scaled_by_the_range_that_holds_them() -> None:
    small, large = ([[0, 1, 255]] * 3, [[0, 1285, 65535]] * 3)
    assert prepare(Image.fromarray(np.array(small, dtype=np.int32)), 3)[0, :, 0].tolist() == [0, 1, 255]
    assert prepare(Image.fromarray(np.array(large, dtype=np.int32)), 3)[0, :, 0].tolist() == [0, 5, 255]


def test_a_cmyk_jpeg_keeps_its_colours() -> None:
    rgb = Image.new("RGB", (40, 30), (220, 60, 20))
    file = encoded(rgb.convert("CMYK"), "JPEG", quality=95)
    assert abs(prepare(file, 16).astype(int) - (220, 60, 20)).max() < 8


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "green")]
    for kind in ("GIF", "PNG", "WEBP"):
        file = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert abs(prepare(file, 16).astype(int) - (255, 0, 0)).max() < 4


def test_one_pixel_fills_the_square() -> None:
    assert (prepare(encoded(Image.new("RGB", (1, 1), (1, 2, 3)), "PNG"), 224) == (1, 2, 3)).all()


@pytest.mark.parametrize("shape", [(1, 60_000), (60_000, 1), (3, 40_000)])
def test_a_strip_costs_no_more_than_its_crop(shape: tuple[int, int]) -> None:
    half = Image.new("RGB", shape, (250, 0, 0))
    half.paste((0, 0, 250), (0, 0, *[max(1, length // 2) for length in shape]))
    assert prepare(half, 224).shape == (224, 224, 3)


@given(st.integers(1, 6), st.integers(100, 400))
@settings(max_examples=20, deadline=None)
def test_the_short_way_for_strips_shows_what_the_long_way_shows(width: int, height: int) -> None:
    ramp = np.linspace(0, 255, height).astype(np.uint8)
    image = Image.fromarray(np.repeat(ramp[:, None], width, axis=1)).convert("RGB")
    expected = preprocess._resize_and_crop(image, 32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preprocess, "_MAX_RESIZED_PIXELS", 0)
        short_way = preprocess._resize_and_crop(image, 32)
    assert abs(np.asarray(expected).astype(int) - np.asarray(short_way)).max() <= 2


def test_the_callers_image_is_left_as_it_was() -> None:
    image = Image.open(io.BytesIO(encoded(picture("P", 30, 20), "PNG", transparency=3)))
    image.load()
    before = (image.mode, image.size, dict(image.info), image.tobytes())
    for mode in ("standard", "reference"):
        prepare(image, 20, mode=mode)
    assert (image.mode, image.size, dict(image.info), image.tobytes()) == before


def test_a_prepared_square_is_a_copy() -> None:
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    prepare(pixels, 8)[:] = 255
    assert not pixels.any()


OPAQUE_ZOO = ("1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV", "I", "F", "I;16", "16-bit PNG with a key grey")
CLEAR_ZOO = ("RGBA", "LA", "PA", "RGBa", "La", "P with alphas", "L with a key grey", "RGB with a key colour")


def of_the_zoo(kind: str, width: int, height: int, orientation: int) -> Image.Image | bytes:
    """A Pillow image of a mode, or the bytes of a PNG; both know their orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    if kind == "16-bit PNG with a key grey":
        return encoded(picture("I;16", width, height), "PNG", transparency=90 * 257, exif=exif)
    if kind == "P with alphas":
        return encoded(picture("P", width, height), "PNG", transparency=bytes(range(256)), exif=exif)
    if " with " in kind:
        key = {"L": 90, "RGB": (90, 140, 190)}[kind.split()[0]]  # of the pixel in the corner
        return encoded(picture(kind.split()[0], width, height), "PNG", transparency=key, exif=exif)
    if kind in ("PA", "RGBa", "La"):
        mode = {"PA": "P", "RGBa": "RGBA", "La": "LA"}[kind]
        image = picture("RGBA" if kind == "PA" else mode, width, height).convert(mode).convert(kind)
    else:
        image = picture(kind, width, height)
    image.getexif()[0x0112] = orientation
    return image


def composite_on_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


@given(
    st.sampled_from(OPAQUE_ZOO + CLEAR_ZOO),
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(1, 8),
    st.data(),
)
@settings(max_examples=150, deadline=None)
def test_training_sees_what_the_model_will_see_on_white(
    kind: str, width: int, height: int, orientation: int, data: st.DataObject
) -> None:
    image = of_the_zoo(kind, width, height, orientation)
    short = min(width, height)
    size = data.draw(st.sampled_from([short, 1, 24]))
    rgba = prepare_rgba(image, size)
    difference = abs(composite_on_white(rgba) - prepare(image, size))
    if kind in OPAQUE_ZOO:
        assert (rgba[..., 3] == 255).all() and not difference.any()
    elif size == short:
        # Nothing is resampled: what is left is the rounding of colour times alpha.
        assert difference.max() <= 1
    else:
        # A bicubic filter overshoots at edges, and the overshoot of colour and of alpha is cut off at
        # 255 each on its own; on white it is cut off once. Single pixels differ, the picture does not,
        # unless it is blown up from a few pixels, of which each becomes an edge.
        assert difference.mean() <= (3 if size < short else 8)


def test_a_transparent_png_is_turned_upright_for_training() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = picture("RGBA", 48, 32)
    upright = image.transpose(Image.Transpose.ROTATE_270)
    assert np.array_equal(prepare_rgba(encoded(image, "PNG", exif=exif), 32), prepare_rgba(upright, 32))


def test_sixteen_bit_grey_with_a_key_grey_is_scaled_for_training() -> None:
    image = Image.fromarray(np.full((12, 16), 117 * 257, dtype=np.uint16))
    assert (prepare_rgba(encoded(image, "PNG", transparency=5), 8) == (117, 117, 117, 255)).all()
