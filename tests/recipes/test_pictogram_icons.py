from pathlib import Path

import pytest

from recipes.pictogram_captions import Captions, Picture, Tally
from recipes.pictogram_icons import draw_icon, read_icons, why_left_out


@pytest.fixture(scope="module")
def read(packages: Path, captions: Captions) -> tuple[dict[str, Picture], Tally]:
    tally = Tally()
    pictures = read_icons(packages / "iconify-json", captions, tally)
    return {f"{picture.source}:{i}": picture for i, picture in enumerate(pictures)}, tally


def test_only_permissive_sets_without_trade_marks_are_read(read: tuple[dict[str, Picture], Tally]) -> None:
    pictures, tally = read
    assert {picture.source for picture in pictures.values()} == {"lines", "noto", "flag"}
    assert tally.left_out["set: held out as a test style"] == 1
    assert tally.left_out["set: licence CC-BY-SA-4.0"] == 1
    assert tally.left_out["set: category Logos"] == 1


def test_names_become_captions_and_kinds(read: tuple[dict[str, Picture], Tally]) -> None:
    pictures, _ = read
    assert [(picture.name, picture.kind) for picture in pictures.values()] == [
        ("umbrella", "glyph of a thing"),
        ("umbrella", "glyph of a thing"),
        ("copy of umbrella", "glyph"),
        ("empty lamp", "glyph of a thing"),
        ("lamp", "coloured"),
        ("fox", "emoji"),
        ("flag: italy", "flag"),
    ]


def test_hidden_icons_skin_tones_and_trade_marks_are_counted(read: tuple[dict[str, Picture], Tally]) -> None:
    _, tally = read
    assert tally.left_out["icon: hidden, or a skin tone"] == 2
    assert tally.left_out["icon: name of no meaning, or a trade mark"] == 1


def test_origins_say_whom_to_thank(read: tuple[dict[str, Picture], Tally]) -> None:
    _, tally = read
    assert tally.origins["lines"].author == "The lines people" and tally.origins["lines"].licence == "MIT"


def test_chosen_sets_only(packages: Path, captions: Captions) -> None:
    pictures = read_icons(packages / "iconify-json", captions, Tally(), only=frozenset({"flag"}))
    assert [picture.source for picture in pictures] == ["flag"]


@pytest.mark.parametrize(
    "licence", ["CC-BY-NC-4.0", "CC-BY-SA-4.0", "GPL-3.0", "LGPL-3.0", "MPL-2.0", "unknown"]
)
def test_other_licences_are_left_out(licence: str) -> None:
    assert why_left_out("some", {"license": {"spdx": licence}}) == f"licence {licence}"


@pytest.mark.parametrize("name", ["fluent-emoji", "fluent-emoji-flat", "fluent-emoji-high-contrast"])
def test_every_version_of_the_test_style_is_held_out(name: str) -> None:
    assert why_left_out(name, {"license": {"spdx": "MIT"}}) == "held out as a test style"


@pytest.mark.parametrize(
    ("body", "is_mono"),
    [
        ('<path fill="currentColor" d="M0 0"/>', True),
        ('<path d="M0 0"/>', True),
        ('<path stroke="#000" fill="none"/>', True),
        ('<path fill="#f80"/><path stroke="currentColor"/>', False),
        ('<path style="fill: red"/>', False),
        ('<mask id="a"><path fill="#fff"/></mask><path mask="url(#a)" fill="currentColor"/>', True),
    ],
)
def test_one_colour_glyphs_are_recognised(body: str, is_mono: bool) -> None:
    assert draw_icon({"body": body}, {"width": 24, "height": 24})[1] is is_mono


def test_an_icon_keeps_its_own_box_and_loses_its_animation() -> None:
    data = {
        "body": '<path d="M0 0"><animate attributeName="d" values="a;b"/></path>',
        "width": 10,
        "left": -1,
    }
    svg, _ = draw_icon(data, {"width": 24, "height": 20})
    assert 'viewBox="-1 0 10 20"' in svg and "animate" not in svg
