"""Drawings and files become squares; what cannot is told in a word."""

import io
import shutil
from pathlib import Path

import pytest
from PIL import Image

from clipworks.collect.drawings import DrawRules, Square, draw_svg, fit_file
from clipworks.errors import ConfigError

RULES = DrawRules(side=16)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" {0}>{1}</svg>'
RED = SVG.format('width="40" height="20"', '<rect width="40" height="20" fill="red"/>')


def opened(square: Square | str) -> Image.Image:
    assert isinstance(square, Square), square
    image = Image.open(io.BytesIO(square.data))
    assert image.size == (16, 16)
    return image


def test_a_wide_drawing_is_centred_and_keeps_its_transparency() -> None:
    image = opened(draw_svg(RED, RULES))
    assert image.getchannel("A").getbbox() == (0, 4, 16, 12)
    assert image.getpixel((8, 8)) == (255, 0, 0, 255)


def test_a_drawing_without_ink_is_blank() -> None:
    assert draw_svg(SVG.format('width="4" height="4"', ""), RULES) == "blank"


def test_what_nobody_can_draw_is_told() -> None:
    assert draw_svg("<svg", RULES) == "not_drawn"
    assert draw_svg("<svg", DrawRules(side=16, rsvg=False)) == "not_drawn"


@pytest.mark.skipif(shutil.which("rsvg-convert") is None, reason="rsvg-convert is not installed")
def test_what_resvg_refuses_is_drawn_by_rsvg_convert() -> None:
    odd = SVG.format('width="40" height="-4"', '<rect width="40" height="20" fill="red"/>')
    assert draw_svg(odd, DrawRules(side=16, rsvg=False)) == "not_drawn"
    found = draw_svg(odd, RULES)
    assert isinstance(found, Square) and found.drawer == "rsvg-convert"
    assert opened(found).getchannel("A").getbbox() is not None


def test_sizes_in_millimetres_are_sizes() -> None:
    svg = RED.replace('width="40" height="20"', 'width="40mm" height="20mm" viewBox="0 0 40 20"', 1)
    found = draw_svg(svg, RULES)
    assert isinstance(found, Square) and found.drawer == "resvg"


def test_without_rsvg_convert_nothing_else_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert draw_svg("<svg", RULES) == "not_drawn"


def test_a_photograph_is_cut_to_its_middle_square(tmp_path: Path) -> None:
    Image.new("RGB", (64, 32), "blue").save(tmp_path / "a.jpg")
    image = opened(fit_file(tmp_path / "a.jpg", RULES))
    assert image.mode == "RGB" and image.getpixel((0, 0))[2] > 250


def test_a_small_picture_is_enlarged(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), "blue").save(tmp_path / "a.png")
    assert opened(fit_file(tmp_path / "a.png", RULES)).getpixel((9, 9)) == (0, 0, 255)


def test_files_that_are_missing_or_no_picture_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert fit_file(tmp_path / "a.png", RULES) == "undecodable"
    assert fit_file(tmp_path / "b.png", RULES) == "not_found"
    with (tmp_path / "c.svg").open("wb") as file:
        file.truncate(50_000_001)
    assert fit_file(tmp_path / "c.svg", RULES) == "too_large"


def test_an_svg_file_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "a.SVG").write_text(RED)
    assert opened(fit_file(tmp_path / "a.SVG", RULES)).mode == "RGBA"


@pytest.mark.parametrize("settings", [{"side": 7}, {"side": 5000}, {"rows_per_shard": 0}])
def test_settings_out_of_range_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        DrawRules(**settings)  # type: ignore[arg-type]
