import io
import json

import pytest
from PIL import Image

from clipworks.collect.images import ImageRules, Kept, ResizeMode, begins_like_a_picture, keep_image
from clipworks.errors import ConfigError


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def plain(width: int, height: int, kind: str = "JPEG") -> bytes:
    return encoded(Image.linear_gradient("L").resize((width, height)).convert("RGB"), kind)


def kept(data: bytes, rules: ImageRules) -> Kept:
    found = keep_image(data, rules)
    assert isinstance(found, Kept), found
    return found


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize(
    ("mode", "size", "expected"),
    [
        ("no", (400, 200), (400, 200)),
        ("keep_ratio", (400, 200), (200, 100)),
        ("keep_ratio", (200, 400), (100, 200)),
        ("keep_ratio", (50, 40), (125, 100)),
        ("keep_ratio_largest", (400, 200), (100, 50)),
        ("keep_ratio_largest", (1000, 3), (100, 1)),
        ("center_crop", (400, 200), (100, 100)),
        ("center_crop", (401, 203), (100, 100)),
        ("border", (400, 200), (100, 100)),
        ("border", (30, 90), (100, 100)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_pictures_get_the_size_of_img2datasets_modes(
    mode: ResizeMode, size: tuple[int, int], expected: tuple[int, int], kind: str
) -> None:
    rules = ImageRules(image_size=100, resize_mode=mode, only_if_bigger=False)
    found = kept(plain(*size, kind), rules)
    assert (found.width, found.height) == expected == opened(found.data).size
    assert (found.original_width, found.original_height) == size
    assert opened(found.data).format == "JPEG"


@pytest.mark.parametrize("mode", ["keep_ratio", "keep_ratio_largest", "center_crop", "border"])
def test_only_if_bigger_leaves_small_pictures_alone(mode: ResizeMode) -> None:
    data = plain(90, 60)
    found = kept(data, ImageRules(image_size=100, resize_mode=mode))
    assert found.data == data and (found.width, found.height) == (90, 60)


def test_a_file_that_nothing_changes_is_kept_byte_for_byte() -> None:
    data = plain(90, 60)
    assert kept(data, ImageRules()).data == data
    assert kept(data, ImageRules(skip_reencode=False)).data != data
    assert opened(kept(plain(90, 60, "PNG"), ImageRules()).data).format == "JPEG"
    png = plain(90, 60, "PNG")
    assert kept(png, ImageRules(encode_format="png", encode_quality=6)).data == png


@pytest.mark.parametrize(("name", "quality"), [("jpg", 90), ("png", 3), ("webp", 80)])
def test_pictures_are_encoded_as_asked(name: str, quality: int) -> None:
    rules = ImageRules(image_size=20, encode_format=name, encode_quality=quality)  # type: ignore[arg-type]
    assert opened(kept(plain(90, 60), rules).data).format == {"jpg": "JPEG"}.get(name, name.upper())


def test_what_is_transparent_becomes_white() -> None:
    clear = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    palette = Image.new("P", (40, 40), 0)
    for data in (
        encoded(clear, "PNG"),
        encoded(clear, "WEBP", lossless=True),
        encoded(palette, "GIF", transparency=0),
        encoded(Image.new("LA", (40, 40), (0, 0)), "PNG"),
    ):
        pixels = opened(kept(data, ImageRules()).data).convert("RGB")
        assert min(low for low, _ in pixels.getextrema()) >= 250


def test_sixteen_bits_become_eight_by_their_upper_byte() -> None:
    deep = Image.new("I;16", (40, 40), 128 * 257)
    assert opened(kept(encoded(deep, "PNG"), ImageRules()).data).getpixel((5, 5)) in (127, 128, 129)


@pytest.mark.parametrize(
    ("orientation", "size"), [(1, (60, 40)), (3, (60, 40)), (6, (40, 60)), (8, (40, 60)), (9, (60, 40))]
)
def test_a_picture_that_exif_turns_is_turned_before_the_mark_is_lost(
    orientation: int, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.linear_gradient("L").resize((600, 400)), "JPEG", exif=exif)
    found = kept(data, ImageRules(image_size=40))
    assert (found.width, found.height) == size and (found.original_width, found.original_height) == (600, 400)
    # The picture is dark above and light below; turned, the light is below, above, left or right.
    pixels = opened(found.data).convert("L")
    edges = {1: (20, 38), 3: (20, 1), 6: (1, 20), 8: (38, 20), 9: (20, 38)}
    light = pixels.getpixel(edges[orientation])
    assert isinstance(light, int) and light > 200


def test_exif_becomes_a_row_and_its_long_parts_do_not() -> None:
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    exif[0x9C9B] = "x" * 5000
    found = kept(encoded(Image.new("RGB", (40, 40)), "JPEG", exif=exif), ImageRules())
    values = json.loads(found.exif)
    assert values["Make"] == "A camera" and len(found.exif) <= 4000


@pytest.mark.parametrize(
    ("rules", "size", "words"),
    [
        (ImageRules(min_image_size=50), (400, 49), "image too small"),
        (ImageRules(max_image_area=400), (21, 20), "image area too large"),
        (ImageRules(max_aspect_ratio=3), (100, 33), "aspect ratio too large"),
    ],
)
def test_pictures_out_of_bounds_are_told(rules: ImageRules, size: tuple[int, int], words: str) -> None:
    assert keep_image(plain(*size), rules) == words


def test_a_small_file_that_unpacks_to_a_large_picture_is_not_unpacked() -> None:
    head = plain(8, 8, "PNG")
    bomb = head[:16] + (60_000).to_bytes(4, "big") * 2 + head[24:]
    found = keep_image(bomb, ImageRules())
    assert found == "image area too large" or (isinstance(found, str) and "decoding" in found)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"<svg></svg>", plain(90, 60)[:300], plain(90, 60, "PNG")[:60], b"GIF89a"]
)
def test_what_is_no_picture_is_told(data: bytes) -> None:
    found = keep_image(data, ImageRules())
    assert isinstance(found, str) and found.startswith("Image decoding error")


def test_damaged_pictures_never_raise() -> None:
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "ICO"):
        data = bytearray(plain(48, 32, kind))
        for at in range(8, len(data), max(1, len(data) // 60)):
            damaged = bytes(data[:at]) + bytes([data[at] ^ 0xFF]) + bytes(data[at + 1 :])
            assert isinstance(keep_image(damaged, ImageRules(image_size=16)), Kept | str)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "ICO"])
def test_the_first_bytes_tell_pictures(kind: str) -> None:
    assert begins_like_a_picture(plain(48, 32, kind)[:64])


@pytest.mark.parametrize("head", [b"", b"<html>", b"RIFF....WAVE", b"%PDF-1.7", b"\0\0\0\x1cftypmp42"])
def test_the_first_bytes_tell_what_is_no_picture(head: bytes) -> None:
    assert not begins_like_a_picture(head)


@pytest.mark.parametrize(
    "wrong",
    [
        {"resize_mode": "stretch"},
        {"encode_format": "gif"},
        {"encode_quality": 0},
        {"encode_format": "png", "encode_quality": 95},
        {"image_size": 0},
        {"max_image_area": 10**10},
        {"min_image_size": -1},
        {"max_aspect_ratio": 0.5},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"|".join(wrong)):
        ImageRules(**wrong)  # type: ignore[arg-type]


def test_a_mark_in_exif_of_another_type_than_its_name_says_is_damage_like_any_other() -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "hello", 6  # a description, and lying on its side
    data = encoded(Image.linear_gradient("L"), "JPEG", exif=exif)
    width_as_text = data.replace(b"\x01\x0e\x00\x02", b"\x01\x00\x00\x02", 1)
    assert width_as_text != data
    assert keep_image(width_as_text, ImageRules()) == "Image decoding error: error"
