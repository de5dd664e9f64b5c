"""Icons and emoji of the npm package `@iconify/json` as `Picture`s.

Which sets may be used, what each icon is called, and its drawing as an SVG document. Names are
cleaned in `pictogram_names`, captions made in `pictogram_captions`.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recipes.pictogram_captions import Captions, Origin, Picture, Tally, picture_key
from recipes.pictogram_names import NameCleaner, plain_words
from recipes.pictogram_words import Emoji

SIDE_PIXELS = 64

PERMISSIVE = frozenset(
    "MIT Apache-2.0 CC-BY-4.0 CC-BY-3.0 CC0-1.0 OFL-1.1 ISC BSD-3-Clause Unlicense".split()
)
"""SPDX ids whose pictures may be used and the result given on, with attribution."""

LEFT_OUT_CATEGORIES = frozenset({"Logos", "Programming"})
KEPT_OF_CATEGORIES = frozenset({"codicon"})
LEFT_OUT_SETS = {
    "fa-brands": "trade marks",
    "fa6-brands": "trade marks",
    "academicons": "trade marks",
    "svg-spinners": "animations",
    "fluent-emoji": "held out as a test style",
    "fluent-emoji-flat": "held out as a test style",
    "fluent-emoji-high-contrast": "held out as a test style",
}
"""Sets left out by name, and why."""

EMOJI_SETS = frozenset("noto noto-v1 twemoji emojione emojione-monotone fxemoji streamline-emojis".split())
FLAG_SETS = frozenset("circle-flags flag flagpack cif".split())
CATEGORISED_SETS = EMOJI_SETS | {"healthicons"}
"""Sets whose categories say what an icon shows."""


def read_icons(
    folder: Path, captions: Captions, tally: Tally, *, only: frozenset[str] = frozenset()
) -> Iterator[Picture]:
    """Every usable icon of the permitted sets, in the order of the package.

    Args:
        folder: the unpacked package.
        captions: makes the captions.
        tally: counts what is left out and notes whom to thank.
        only: ids of the sets wanted; empty for all.
    """
    collections = json.loads((folder / "collections.json").read_bytes())
    brands = _brand_names(folder, collections, captions)
    for name, info in collections.items():
        reason = why_left_out(name, info) or ("not asked for" if only and name not in only else "")
        if reason:
            tally.left_out[f"set: {reason}"] += 1
            continue
        tally.origins[name] = Origin(
            title=info["name"],
            author=info["author"]["name"],
            url=info["author"].get("url", ""),
            licence=info["license"]["spdx"],
        )
        yield from _IconSet(folder / "json" / f"{name}.json", captions, brands).read(tally)


def why_left_out(name: str, info: dict[str, Any]) -> str:
    """Why a set of iconify is not used, or an empty text if it is."""
    licence = info["license"].get("spdx", "unknown")
    if (reason := LEFT_OUT_SETS.get(name)) is not None:
        return reason
    if licence not in PERMISSIVE:
        return f"licence {licence}"
    if info.get("category") in LEFT_OUT_CATEGORIES and name not in KEPT_OF_CATEGORIES:
        return f"category {info['category']}"
    return ""


def draw_icon(data: dict[str, Any], icon_set: dict[str, Any]) -> tuple[str, bool]:
    """An icon as an SVG document of SIDE_PIXELS, and whether it has one colour only.

    Animations are taken off, which leaves the last state; `currentColor` becomes black.
    """
    defaults = {"left": 0, "top": 0, "width": 16, "height": 16}
    box = " ".join(str(data.get(key, icon_set.get(key, default))) for key, default in defaults.items())
    body = re.sub(r"<(animate\w*|set)\b[^>]*?(/>|>.*?</\1>)", "", data["body"], flags=re.DOTALL)
    seen = re.sub("<mask.*?</mask>", "", body, flags=re.DOTALL)
    paint = r"""(?:fill|stroke|stop-color|flood-color|color)\s*[=:]\s*["']?\s*([^"';\s>]+)"""
    colours = {colour.lower() for colour in re.findall(paint, seen)}
    is_mono = colours <= {"currentcolor", "none", "#000", "#000000", "black"} and "<image" not in body
    body = body.replace("currentColor", "#000")
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    side = f'width="{SIDE_PIXELS}" height="{SIDE_PIXELS}"'
    return f'<svg {names} {side} viewBox="{box}">{body}</svg>', is_mono


class _IconSet:
    """One set of iconify: its JSON file and how its icons are named."""

    def __init__(self, path: Path, captions: Captions, brands: frozenset[str]) -> None:
        self._set: dict[str, Any] = json.loads(path.read_bytes())
        self._name = path.stem
        self._captions = captions
        self._codes = {icon: code for code, icon in self._set.get("chars", {}).items()}
        self._is_emoji = self._name in EMOJI_SETS
        self._cleaner = NameCleaner(
            self._set["icons"],
            suffixes=self._set.get("suffixes") or (),
            prefixes=self._set.get("prefixes") or (),
            brands=brands,
        )
        self._categories = self._read_categories() if self._name in CATEGORISED_SETS else {}

    def read(self, tally: Tally) -> Iterator[Picture]:
        for icon, data in self._set["icons"].items():
            if data.get("hidden") or "skin-tone" in icon:
                tally.left_out["icon: hidden, or a skin tone"] += 1
                continue
            svg, is_mono = draw_icon(data, self._set)
            texts, kind = self._describe(icon, is_mono)
            if not texts:
                tally.left_out["icon: name of no meaning, or a trade mark"] += 1
                continue
            yield Picture(
                key=picture_key(self._name, icon),
                texts=texts,
                source=self._name,
                licence=tally.origins[self._name].licence,
                kind=kind,
                is_mono=is_mono,
                form="svg",
                content=svg,
            )

    def _describe(self, icon: str, is_mono: bool) -> tuple[tuple[str, ...], str]:
        """Captions and kind of an icon; no captions if its name says nothing."""
        if (emoji := self._find_emoji(icon)) is not None:
            kind = "flag" if emoji.is_flag else "coloured" if is_mono else "emoji"
            return self._captions.of_emoji(emoji), kind
        name = self._read_name(icon)
        if not name:
            return (), ""
        texts = self._captions.of_name(name, self._categories.get(icon, ()))
        if self._is_emoji and icon.startswith("flag-for-"):
            return texts, "flag"
        if not is_mono:
            return texts, "coloured"
        return texts, "glyph of a thing" if self._captions.is_thing(name) else "glyph"

    def _read_name(self, icon: str) -> str:
        if self._name in FLAG_SETS:
            return ""
        if not self._is_emoji:
            return self._cleaner.clean(icon)
        name = plain_words(icon)
        is_said = " " in name or self._captions.is_noun(name)  # unlike `blackrightpointingbackhand`
        return name if is_said else ""

    def _find_emoji(self, icon: str) -> Emoji | None:
        table = self._captions.emojibase
        if self._name in FLAG_SETS:
            return table.flag(re.sub("-(1x1|4x3)$", "", icon))
        if not self._is_emoji:
            return None
        found = table.by_code(self._codes[icon]) if icon in self._codes else None
        return found or table.by_name(_emoji_names(icon))

    def _read_categories(self) -> dict[str, tuple[str, ...]]:
        """For each icon the categories that are kinds of things, in plain words."""
        result = dict[str, tuple[str, ...]]()
        for category, icons in (self._set.get("categories") or {}).items():
            text = re.sub("(?<=[a-z])(?=[A-Z])", " ", category).lower().replace("-", " ")
            if self._captions.is_thing(text):
                for icon in icons:
                    result[icon] = (*result.get(icon, ()), text)
        return result


def _brand_names(folder: Path, collections: dict[str, Any], captions: Captions) -> frozenset[str]:
    """Names in the sets of trade marks, without those that end in an ordinary noun.

    Arcticons is passed over: a set of launcher icons, full of everyday words.
    """
    names = set[str]()
    for name, info in collections.items():
        path = folder / "json" / f"{name}.json"
        if info.get("category") == "Logos" and name != "arcticons" and path.is_file():
            names |= {icon.replace("-", " ") for icon in json.loads(path.read_bytes())["icons"]}
    return frozenset(name for name in names if not captions.is_noun(name.split()[-1]))


def _emoji_names(icon: str) -> tuple[str, ...]:
    """Spellings under which older sets keep an emoji: `flag-for-fiji`, `cat-face-with-wry-smile`."""
    plain = icon.replace("flag-for-", "flag-")
    cat = plain.replace("cat-face", "cat")
    return icon, plain, cat, re.sub(r"-\d$", "", plain), plain.removesuffix("-face"), f"{plain}-face"
