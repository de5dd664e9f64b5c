"""A made-up set of packages: a dozen icons, five emoji, nine nouns of WordNet, a few drawings."""

import json
from pathlib import Path
from typing import Any

import pytest

from recipes.pictogram_captions import Captions
from recipes.pictogram_tags import read_tags
from recipes.pictogram_words import Emojibase, WordNet

NOUNS = (
    # offset, lexicographer file, lemmas, offset of the hypernym
    (1, 3, ("entity",), None),
    (2, 5, ("animal", "beast"), 1),
    (3, 5, ("mammal",), 2),
    (4, 5, ("fox",), 3),
    (5, 6, ("turtleneck", "turtle"), 1),
    (6, 5, ("turtle",), 2),
    (7, 18, ("person",), 1),
    (8, 18, ("speaker", "talker"), 7),
    (9, 18, ("nurse",), 7),
    (10, 6, ("umbrella",), 1),
    (11, 9, ("shoes",), 1),
    (12, 6, ("shoe",), 1),
    (13, 6, ("lamp",), 1),
)
SENSES = {"turtle": (5, 6)}

EMOJI = (
    ("1F98A", "fox", ["animal", "face"], 3, 34),
    ("2602-FE0F", "umbrella", ["rain", "uv"], 5, 59),
    ("1F1EE-1F1F9", "flag: Italy", ["IT", "flag"], 9, 98),
    ("1F9D1-200D-2695-FE0F", "health worker", ["nurse", "doctor"], 1, 25),
)
META = {
    "groups": {"1": "people-body", "3": "animals-nature", "5": "travel-places", "9": "flags"},
    "subgroups": {"25": "person-role", "34": "animal-mammal", "59": "sky-weather", "98": "country-flag"},
}

GLYPH = '<path fill="currentColor" d="M2 2h20v{0}H2z"/>'
PAINTING = '<path fill="#f80" d="M2 2h20v{0}H2z"/>'


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture(scope="session")
def wordnet_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files in WordNet's format."""
    folder = tmp_path_factory.mktemp("wordnet")
    data = ["  1 a licence"]
    index = dict[str, list[int]]()
    for offset, file, lemmas, parent in NOUNS:
        words = " ".join(f"{lemma} 0" for lemma in lemmas)
        pointers = f"001 @ {parent:08d} n 0000" if parent else "000"
        data.append(f"{offset:08d} {file:02d} n {len(lemmas):02x} {words} {pointers} | a gloss")
        for lemma in lemmas:
            index.setdefault(lemma, []).append(offset)
    lines = ["  1 a licence"]
    for lemma, offsets in sorted(index.items()):
        offsets = list(SENSES.get(lemma, offsets))
        senses = " ".join(f"{offset:08d}" for offset in offsets)
        lines.append(f"{lemma} n {len(offsets)} 1 @ {len(offsets)} 0 {senses}  ")
    (folder / "data.noun").write_text("\n".join(data) + "\n")
    (folder / "index.noun").write_text("\n".join(lines) + "\n")
    (folder / "noun.exc").write_text("vixens fox\n")
    return folder


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as recipes/pictogram.sh makes it."""
    root = tmp_path_factory.mktemp("packages")
    _write_emojibase(root / "emojibase-data")
    _write_icons(root / "iconify-json")
    write_json(root / "tags/lucide/tags.json", {"umbrella": ["rain", "UI", "protection"]})
    _write_drawings(root / "openclipart/usr/share/openclipart/svg")
    return root


@pytest.fixture(scope="session")
def captions(wordnet_folder: Path, packages: Path) -> Captions:
    """Captions from the made-up word lists."""
    emojibase = Emojibase(packages / "emojibase-data")
    return Captions(WordNet(wordnet_folder), emojibase, read_tags(packages / "tags"))


def _write_emojibase(folder: Path) -> None:
    rows = [
        {"hexcode": code, "label": label, "tags": tags, "group": group, "subgroup": subgroup}
        for code, label, tags, group, subgroup in EMOJI
    ]
    write_json(folder / "en/data.json", [*rows, {"hexcode": "1F1E6", "label": "regional indicator A"}])
    write_json(folder / "en/shortcodes/github.json", {"2602": ["brolly"]})
    write_json(folder / "meta/groups.json", META)


def _write_icons(folder: Path) -> None:
    sets: dict[str, tuple[str, str, dict[str, Any]]] = {
        "lines": (
            "MIT",
            "UI 24px",
            {
                "suffixes": {"": "Line", "fill": "Fill"},
                "icons": {
                    "umbrella": {"body": GLYPH.format(1)},
                    "umbrella-fill": {"body": GLYPH.format(2)},
                    "brand-tabler": {"body": GLYPH.format(3)},
                    "copy-of-umbrella": {"body": GLYPH.format(1)},
                    "empty-lamp": {"body": '<path fill="none" d="M2 2h20"/>'},
                    "old-lamp": {"body": GLYPH.format(4), "hidden": True},
                    "lamp": {"body": PAINTING.format(4)},
                },
            },
        ),
        "noto": (
            "Apache-2.0",
            "Emoji",
            {
                "chars": {"1f98a": "fox-face"},
                "icons": {
                    "fox-face": {"body": PAINTING.format(5)},
                    "nurse-dark-skin-tone": {"body": PAINTING.format(6)},
                },
            },
        ),
        "flag": ("MIT", "Flags / Maps", {"icons": {"it-4x3": {"body": PAINTING.format(7)}}}),
        "fluent-emoji": ("MIT", "Emoji", {"icons": {"fox": {"body": PAINTING.format(8)}}}),
        "shared-alike": ("CC-BY-SA-4.0", "UI 24px", {"icons": {"fox": {"body": PAINTING.format(9)}}}),
        "brands": ("CC0-1.0", "Logos", {"icons": {"acme-tool": {"body": PAINTING.format(10)}}}),
    }
    collections = {}
    for name, (licence, category, content) in sets.items():
        collections[name] = {
            "name": name.title(),
            "author": {"name": f"The {name} people", "url": f"https://{name}.example"},
            "license": {"spdx": licence},
            "category": category,
        }
        write_json(folder / "json" / f"{name}.json", {"prefix": name, "width": 24, "height": 24, **content})
    write_json(folder / "collections.json", collections)


def _write_drawings(folder: Path) -> None:
    folder.mkdir(parents=True)
    for i in range(8):
        write_drawing(
            folder / f"animal_{i}.svg", title=f"Fox of kind {'abcdefgh'[i]}", keywords=("animal", "unsorted")
        )
    for i in range(13):
        write_drawing(folder / f"umbrella_{i:02d}.svg", title="My collection", keywords=())
    write_drawing(
        folder / "gpl.svg", title="Lamp", keywords=(), more="http://creativecommons.org/licenses/GPL/2.0/"
    )
    write_drawing(folder / "untitled.svg", title="untitled", keywords=())


def write_drawing(path: Path, *, title: str, keywords: tuple[str, ...], more: str = "") -> None:
    items = "".join(f"<rdf:li>{word}</rdf:li>" for word in keywords)
    path.write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:dc="dc" xmlns:rdf="rdf" width="40" height="20">'
        f"<metadata><dc:title>{title}</dc:title>{items}{more}</metadata>"
        f'<rect width="40" height="20" fill="red"/><!-- {path.name} --></svg>'
    )
