"""Tags that four icon packages publish beside their pictures, by icon name.

lucide, Tabler, Material Design Icons and Phosphor. A tag is a further caption of every icon of that
name, whatever its set. Called by `pool_lists`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

MAX_TAGS = 4
"""Tags kept for each name."""

CATEGORIES = {
    "Food / Drink": "food and drink",
    "Food": "food",
    "Animal": "animal",
    "Animals": "animal",
    "Weather": "weather",
    "Sport": "sport",
    "Music": "music",
    "Nature": "nature",
    "Medical / Hospital": "medicine",
    "Health": "health",
    "Clothing": "clothing",
    "Religion": "religion",
    "Holiday": "holiday",
    "Hardware / Tools": "tool",
    "Transportation + Road": "road vehicle",
    "Transportation + Flying": "aircraft",
    "Transportation + Water": "water transport",
    "Transportation + Other": "transport",
    "Vehicles": "vehicle",
    "Buildings": "building",
    "Places": "place",
    "Agriculture": "farming",
    "Gaming / RPG": "game",
    "Games": "game",
    "Currency": "currency",
    "Currencies": "currency",
    "Zodiac": "zodiac",
    "Gestures": "gesture",
    "Science": "science",
    "Health / Beauty": "health and beauty",
    "Photography": "photography",
    "Device / Tech": "device",
    "Devices": "device",
    "Computers": "computer",
    "Shape": "shape",
    "Shapes": "shape",
    "Arrow": "arrow",
    "Arrows": "arrow",
    "Mood": "face",
    "Emoji": "face",
    "Math": "mathematics",
    "People / Family": "people",
    "Laundry": "laundry symbol",
    "Charts": "chart",
    "Drawing / Art": "art",
    "Battery": "battery",
    "WEATHER": "weather",
    "NATURE": "nature",
    "HEALTH": "health",
    "GAMES": "game",
    "PEOPLE": "people",
}
"""Categories of the packages that say what a picture shows, in plain words; the others are left out."""

_LOOSE_TAGS = frozenset("new icon symbol sign design web app digital object element ui graphic".split())


def read_tags(folder: Path) -> dict[str, tuple[str, ...]]:
    """Categories and tags by plain icon name, at most MAX_TAGS each; a package not there is passed over.

    Args:
        folder: holds `lucide/tags.json`, `tabler/icons.json`, `mdi/meta.json` and `phosphor/index.mjs`.
    """
    found = dict[str, list[str]]()
    for name, tags in _rows(folder):
        plain = re.sub("[-_]+", " ", re.sub("-outline$", "", name))
        found.setdefault(plain, []).extend(tag for tag in _good(tags) if tag != plain)
    return {name: tuple(dict.fromkeys(tags))[:MAX_TAGS] for name, tags in found.items() if tags}


def _rows(folder: Path) -> Iterator[tuple[str, list[str]]]:
    if (path := folder / "mdi/meta.json").is_file():
        for row in json.loads(path.read_bytes()):
            yield row["name"], _kinds(row["tags"])
    if (path := folder / "tabler/icons.json").is_file():
        for name, row in json.loads(path.read_bytes()).items():
            yield name, [*_kinds([row["category"]]), *(str(tag) for tag in row["tags"])]
    if (path := folder / "lucide/tags.json").is_file():
        yield from json.loads(path.read_bytes()).items()
    if (path := folder / "phosphor/index.mjs").is_file():
        yield from _phosphor_rows(path.read_text())
    if (path := folder / "mdi/meta.json").is_file():
        for row in json.loads(path.read_bytes()):
            yield row["name"], [alias for alias in row["aliases"] if not alias.startswith("emo")]


def _phosphor_rows(text: str) -> Iterator[tuple[str, list[str]]]:
    entry = r'name: "([^"]+)",.*?categories: \[([^\]]*)\],.*?tags: \[([^\]]*)\]'
    for name, categories, tags in re.findall(entry, text, re.DOTALL):
        yield name, [*_kinds(re.findall("[A-Z]+", categories)), *re.findall('"([^"]+)"', tags)]


def _kinds(categories: Iterable[str]) -> list[str]:
    return [CATEGORIES[category] for category in categories if category in CATEGORIES]


def _good(tags: Iterable[str]) -> list[str]:
    plain = (re.sub("[-_ ]+", " ", tag.lower()).strip() for tag in tags)
    return [tag for tag in plain if re.fullmatch("[a-z' ]{3,30}", tag) and tag not in _LOOSE_TAGS]
