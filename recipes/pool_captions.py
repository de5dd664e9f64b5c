"""Captions of a picture of the pool by kind, and how likely each is drawn in training.

Names come first; then names in a phrase that fits the style of the picture ("an icon of", "a photo of"),
tags, synonyms, hypernyms and kinds in plain words, alone and in such a phrase, and for emoji their names in
other languages.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipes.pictogram_captions import Captions, Picture, digest

SHARES = {"name": 0.36, "phrase": 0.16, "tag": 0.12, "synonym": 0.06, "kind": 0.30, "translation": 0.05}
"""How likely a caption of each kind is drawn, relative to the other kinds that a picture has. Translations
are few, since the text tower learns them better from their English names (`pictogram_languages`)."""

MAX_TRANSLATED_TAGS = 2

_STYLES = {
    "emoji": ("an emoji of {}", "an icon of {}", "a drawing of {}"),
    "flag": ("a picture of {}",),
    "clip art": ("a drawing of {}", "clip art of {}", "an illustration of {}"),
    "photograph": ("a photo of {}", "a photograph of {}", "a picture of {}"),
    "coloured": ("a coloured icon of {}", "an icon of {}", "a drawing of {}"),
    "glyph of a thing": ("an icon of {}", "a pictogram of {}", "a black and white drawing of {}"),
    "glyph": ("an icon of {}", "a symbol of {}"),
}
_ANY_STYLE = ("a picture of {}", "an image of {}")

_PLURAL = re.compile(r"(?<=[a-hj-rtv-z])(?<!\blen)s$")
_COUNTED = re.compile("a|an|the|no|my|two|three|four|five|six|seven|eight|nine|ten|all|both|[0-9]+")
_WITHOUT_ARTICLE = frozenset(
    """clothing footwear food seafood furniture equipment stationery music money finance security art
    software hardware jewelry weather lightning rain snow people men women children""".split()
)
_VOWEL_SOUND = re.compile(
    "(?!uni(?![dmn])|us(?!h)|u[kt][aeiru]|ur[aio]|ubi|u[fiv]|u\\b|eu|one|once|uk)[aeiou]"
    "|hour|hono|honest|heir|x(?![aeiouy])|[fhlmnrs]\\b|(8|11|18)(?![0-9])"
)
"""Where `an` goes: a vowel that does not sound as `yu` or `w`, a silent h, letters and numbers as read.
Abbreviations are taken for words: `a html file`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """A true sentence or word about a picture."""

    key: str
    """A key of SHARES."""
    text: str
    prob: float
    """How likely it is drawn; all of a picture add up to 1."""


class Translations:
    """Names and tags of emoji in other languages, from emojibase-data, by their English label.

    Args:
        folder: the unpacked package.
        locales: its folders besides `en`.
    """

    def __init__(self, folder: Path, locales: Sequence[str]) -> None:
        english = {row["hexcode"]: row["label"].lower() for row in _rows(folder, "en")}
        self._by_label: dict[str, dict[str, None]] = {}
        for locale in locales:
            for row in _rows(folder, locale):
                if (label := english.get(row["hexcode"])) is None:
                    continue
                texts = [row["label"], *row.get("tags", ())[:MAX_TRANSLATED_TAGS]]
                found = self._by_label.setdefault(label, {})
                found.update(dict.fromkeys(text for text in texts if not text.isascii() or len(text) > 2))

    def of(self, label: str) -> tuple[str, ...]:
        """All names and tags of an emoji, without those that are the English label."""
        return tuple(text for text in self._by_label.get(label, ()) if text.lower() != label)


def sentences(folder: Path) -> list[tuple[str, str]]:
    """Names of emoji, alone and with tags, in other languages, each with the English one."""
    english = {row["hexcode"]: row for row in _rows(folder, "en") if "group" in row}
    locales = sorted(path.parent.name for path in folder.glob("*/data.json"))
    found = dict[tuple[str, str], None]()
    for row in (row for locale in locales if locale != "en" for row in _rows(folder, locale)):
        if (known := english.get(row["hexcode"])) is not None:
            found[row["label"].lower(), known["label"].lower()] = None
            found[_with_tags(row), _with_tags(known)] = None
    return [(text, name) for text, name in found if text != name]


def captions_of(picture: Picture, captions: Captions, translations: Translations) -> tuple[Caption, ...]:
    """All captions of a picture, the name first."""
    found = {picture.name: "name"}
    kinds = captions.kinds_of(picture.name)
    for phrase in phrases(picture.name, picture.kind):
        found.setdefault(phrase, "phrase")
    for text in picture.texts[1:]:
        found.setdefault(text, kinds.get(text, "tag"))
        if kinds.get(text) == "kind":
            found.setdefault(phrases(text, picture.kind)[0], "kind")
    for text in translations.of(picture.name):
        found.setdefault(text, "translation")
    return with_probs(found.items())


def with_probs(texts: Iterable[tuple[str, str]]) -> tuple[Caption, ...]:
    """Captions of texts and their kinds: the share of a kind is split evenly among its texts."""
    listed = list(texts)
    counts: dict[str, int] = {}
    for _, key in listed:
        counts[key] = counts.get(key, 0) + 1
    total = sum(SHARES[key] for key in counts)
    return tuple(Caption(key=key, text=text, prob=SHARES[key] / counts[key] / total) for text, key in listed)


def phrases(name: str, kind: str) -> tuple[str, ...]:
    """A phrase that fits the style of the picture and one that fits any, chosen by the name."""
    if name.startswith("flag:"):
        return ()
    number = int(digest("phrase", name)[:4], 16)
    thing = with_article(name)
    return tuple(some[number % len(some)].format(thing) for some in (_STYLES[kind], _ANY_STYLE))


def with_article(name: str) -> str:
    """`a fox`, `an umbrella`, `an hourglass`, `a user`; plurals, counted things and `food` have none."""
    words = name.split()
    if _PLURAL.search(name) or _COUNTED.fullmatch(words[0]) or words[-1] in _WITHOUT_ARTICLE:
        return name
    return f"an {name}" if _VOWEL_SOUND.match(name) else f"a {name}"


def _with_tags(row: dict[str, Any]) -> str:
    return ", ".join([row["label"], *row.get("tags", ())[:4]]).lower()


def _rows(folder: Path, locale: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / locale / "data.json").read_bytes())
    return rows
