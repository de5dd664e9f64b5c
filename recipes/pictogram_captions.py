"""A picture before rendering, and the true captions of a name.

The main caption is the name; further ones are tags, synonyms, hypernyms and kinds in plain words. The
readers `pictogram_icons` and `pictogram_drawings` make `Picture`s with them.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from recipes.pictogram_words import Emoji, Emojibase, Meaning, WordNet

MAX_EMOJI_TAGS = 6
_EMPTY_TAGS = frozenset(
    "and the with not one two three done off for out yes whoa yolo major slay lol omg".split()
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One picture before rendering."""

    key: str
    """Sorts the data set into its fixed random order; 20 hex digits."""
    texts: tuple[str, ...]
    """All captions, the main one first."""
    source: str
    """Set id: `tabler`, `openclipart`, `caltech-101`."""
    licence: str
    """SPDX id."""
    kind: str
    """`emoji`, `flag`, `clip art`, `photograph`, `coloured`, `glyph` or `glyph of a thing`."""
    is_mono: bool = False
    """One-colour glyph: black ink, the shape in the alpha channel."""
    form: Literal["svg", "svg file", "photograph"]
    content: str
    """SVG text, or a path."""

    @property
    def name(self) -> str:
        """The main caption."""
        return self.texts[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """Whom to thank for a set of pictures."""

    title: str
    author: str
    url: str
    licence: str
    """SPDX id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """What was left out, by reason, and where the rest comes from."""

    left_out: Counter[str] = field(default_factory=Counter)
    origins: dict[str, Origin] = field(default_factory=dict)


class Captions:
    """Lists of true captions.

    Args:
        wordnet: nouns, for synonyms and hypernyms.
        emojibase: the emoji table.
        tags: further captions by plain name, see `pictogram_tags`.
    """

    def __init__(self, wordnet: WordNet, emojibase: Emojibase, tags: dict[str, tuple[str, ...]]) -> None:
        self._wordnet = wordnet
        self._tags = tags
        self._people_words = emojibase.people_words()
        self.emojibase = emojibase

    def of_name(self, name: str, more: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Captions of an ordinary name; `more` comes from the picture's own set."""
        tags = (*more, *self._tags.get(name, ()))
        meaning = self._meaning(name)
        if meaning is None:
            return _unique(name, *tags)
        emoji = self.emojibase.by_name((name,))
        kinds = emoji.kinds if emoji is not None and not emoji.is_flag else ()
        return _unique(name, *tags, *meaning.synonyms, *meaning.hypernyms, *kinds)

    def of_emoji(self, emoji: Emoji) -> tuple[str, ...]:
        """Captions of an emoji: label, label with tags, tags, subgroup in plain words, hypernyms."""
        if emoji.is_flag:
            country = emoji.label.removeprefix("flag: ")
            return _unique(emoji.label, f"flag of {country}", f"{country} flag", "flag", country)
        tags = [tag for tag in emoji.tags if tag != emoji.label and len(tag) > 2 and tag not in _EMPTY_TAGS]
        joined = f"{emoji.label}, {', '.join(tags[:4])}" if tags else ""
        noun = emoji.label.removesuffix(" face")
        meaning = self._wordnet.look_up(noun, emoji.senses) if emoji.senses else None
        hypernyms = meaning.hypernyms if meaning is not None and meaning.is_concrete else ()
        return _unique(emoji.label, joined, *tags[:MAX_EMOJI_TAGS], *emoji.kinds, *hypernyms)

    def kinds_of(self, name: str) -> dict[str, str]:
        """Which captions of a name are synonyms (`synonym`) and which kinds of thing it is (`kind`)."""
        meaning = self._meaning(name)
        emoji = self.emojibase.by_name((name,))
        kinds = dict.fromkeys(emoji.kinds, "kind") if emoji is not None else {}
        if meaning is not None:
            kinds |= dict.fromkeys(meaning.hypernyms, "kind") | dict.fromkeys(meaning.synonyms, "synonym")
        return kinds

    def is_thing(self, name: str) -> bool:
        """Whether the head noun of a name is a thing one can draw."""
        return self._meaning(name) is not None

    def is_noun(self, name: str) -> bool:
        """Whether the whole name is an entry of WordNet."""
        return self._wordnet.lemma(name.replace(" ", "_")) is not None

    def _meaning(self, name: str) -> Meaning | None:
        """WordNet on the head noun, if that is a thing; a person only if the name speaks of people.

        A `speaker` or `browser` among icons is not the person that WordNet has in mind.
        """
        meaning = self._wordnet.look_up(name)
        if meaning is None or not meaning.is_concrete:
            return None
        if meaning.is_person and not set(name.split()) & self._people_words:
            return None
        return meaning


def digest(*parts: str) -> str:
    """Hex sha256 of texts: the source of every fixed random choice in this recipe."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def picture_key(source: str, name: str) -> str:
    """Key of a picture from its set and its name there."""
    return digest(source, name)[:20]


def _unique(*texts: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))
