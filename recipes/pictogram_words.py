"""What words mean: WordNet nouns and the emoji table of emojibase, read from their own files.

`WordNet` gives synonyms and hypernyms of a name's head noun; `Emojibase` gives label, tags and
groups of an emoji by its name or code points. Called by `pictogram_captions`.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from recipes.pictogram_vocabulary import (
    ANIMAL_FILE,
    BASIC_CATEGORIES,
    CONCRETE_FILES,
    PERSON_FILE,
    POLYSEMOUS,
    PREPOSITIONS,
    SENSES,
    SUBGROUPS,
    UNAMBIGUOUS_ALONE,
    VAGUE,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Meaning:
    """What WordNet says of a head noun in its first sense."""

    is_concrete: bool
    """A thing that can be drawn."""
    is_person: bool = False
    synonyms: tuple[str, ...] = ()
    hypernyms: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Emoji:
    """One emoji of the emojibase table."""

    label: str
    """In lower case, `fox` or `flag: italy`."""
    tags: tuple[str, ...]
    kinds: tuple[str, ...]
    """Subgroup in plain words."""
    group: str
    """For example `animals and nature`."""
    is_flag: bool
    senses: frozenset[int]
    """Lexicographer files in which the label's head noun is to be looked up; none for faces and symbols."""


class WordNet:
    """Noun senses of WordNet 3.0, from `index.noun`, `data.noun` and `noun.exc`."""

    def __init__(self, folder: Path) -> None:
        self._senses = dict[str, tuple[int, ...]]()
        for line in (folder / "index.noun").read_text("ascii").splitlines():
            if line[:1] != " ":
                parts = line.split()
                self._senses[parts[0]] = tuple(int(offset) for offset in parts[-int(parts[2]) :])
        self._synsets = dict[int, tuple[int, tuple[str, ...], tuple[int, ...]]]()
        for line in (folder / "data.noun").read_text("latin-1").splitlines():
            if line[:1] != " ":
                self._add_synset(line.split("|")[0].split())
        self._exceptions = dict(
            line.split()[:2] for line in (folder / "noun.exc").read_text("ascii").splitlines()
        )

    def look_up(self, name: str, senses: frozenset[int] = frozenset()) -> Meaning | None:
        """The sense of a name's head noun: of the longest end of the name that is an entry.

        Args:
            name: plain words; what follows a preposition is passed over.
            senses: lexicographer files to prefer among the first four senses. Without them it is the
                first sense, or the second if that is an animal (the first `turtle` is a sweater).
        """
        words = name.split()
        if self.lemma("_".join(words)) is None:
            words = words[: next((i for i, word in enumerate(words) if i and word in PREPOSITIONS), None)]
        if words and words[-1] in POLYSEMOUS and (len(words) > 1 or words[0] not in UNAMBIGUOUS_ALONE):
            return None
        for start in range(len(words)):
            lemma = self.lemma("_".join(words[start:]))
            if lemma is not None:
                return self._meaning(lemma, senses)
        return None

    def lemma(self, word: str) -> str | None:
        """The dictionary form of a noun, spaces as underscores, or None if there is no such noun."""
        if word in self._senses:
            return word
        if word in self._exceptions:
            return self._exceptions[word]
        for ending, base in (
            ("ies", "y"),
            ("ches", "ch"),
            ("shes", "sh"),
            ("xes", "x"),
            ("ses", "s"),
            ("s", ""),
        ):
            if word.endswith(ending) and len(word) > len(ending) + 1:
                candidate = word[: -len(ending)] + base
                if candidate in self._senses:
                    return candidate
        return None

    def compounds(self) -> Iterator[tuple[str, str]]:
        """Entries of several words whose last word names a kind of which they are, each with that word."""
        for entry, offsets in self._senses.items():
            head = entry.rpartition("_")[2]
            if head != entry and set(self._senses.get(head, ())) & self._ancestors(offsets[0]):
                yield _plain(entry), head

    def _ancestors(self, offset: int) -> set[int]:
        found, waiting = set[int](), [offset]
        while waiting:
            above = set(self._synsets[waiting.pop()][2]) - found
            found |= above
            waiting.extend(above)
        return found

    def _meaning(self, lemma: str, senses: frozenset[int]) -> Meaning:
        offsets = self._senses.get(lemma, ())
        singular = lemma.removesuffix("s")
        if offsets and self._synsets[offsets[0]][0] not in CONCRETE_FILES and singular in self._senses:
            offsets = self._senses[singular]  # WordNet's first `shoes` is the situation of somebody
        if not offsets:
            return Meaning(is_concrete=False)
        fitting = [offset for offset in offsets[:4] if self._synsets[offset][0] in senses]
        if not senses and len(offsets) > 1 and self._synsets[offsets[1]][0] == ANIMAL_FILE:
            fitting = [offsets[1]]
        offset = (fitting or offsets)[0]
        lexical_file, lemmas, _ = self._synsets[offset]
        synonyms = tuple(_plain(other) for other in lemmas if other.lower() != lemma)[:2]
        return Meaning(
            is_concrete=lexical_file in CONCRETE_FILES,
            is_person=lexical_file == PERSON_FILE,
            synonyms=synonyms,
            hypernyms=self._hypernyms(offset, lemmas),
        )

    def _hypernyms(self, offset: int, own: tuple[str, ...]) -> tuple[str, ...]:
        """The nearest hypernym that says something, then up to two basic categories above it."""
        nearest, basic = list[str](), list[str]()
        parents = self._synsets[offset][2]
        while parents:
            _, lemmas, above = self._synsets[parents[0]]
            known = [lemma for lemma in lemmas[:2] if lemma in BASIC_CATEGORIES]
            if known and known[0] not in own:
                basic.append(known[0])
            elif not nearest and not basic and not set(lemmas) & VAGUE:
                nearest.append(lemmas[0])
            parents = above
        return tuple(_plain(lemma) for lemma in dict.fromkeys([*nearest, *basic[:2]]))

    def _add_synset(self, parts: list[str]) -> None:
        num_words = int(parts[3], 16)
        lemmas = tuple(parts[4 + 2 * i] for i in range(num_words))
        first = 4 + 2 * num_words
        pointers = [parts[first + 1 + 4 * i : first + 5 + 4 * i] for i in range(int(parts[first]))]
        parents = tuple(int(p[1]) for p in pointers if p[0] in ("@", "@i"))
        self._synsets[int(parts[0])] = (int(parts[1]), lemmas, parents)


class Emojibase:
    """The English emoji table of emojibase-data, found by code points or by any of its names."""

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / "meta/groups.json").read_bytes())
        self._by_code = dict[str, Emoji]()
        self._by_name = dict[str, Emoji]()
        names = dict[str, list[str]]()
        for path in sorted((folder / "en/shortcodes").glob("*.json")):
            for code, value in json.loads(path.read_bytes()).items():
                names.setdefault(code, []).extend([value] if isinstance(value, str) else value)
        for row in json.loads((folder / "en/data.json").read_bytes()):
            if "group" not in row:
                continue
            emoji = _emoji(row, meta)
            self._by_code[_code(row["hexcode"])] = emoji
            self._by_name.setdefault(_key(emoji.label), emoji)
        for code, aliases in names.items():
            if (found := self._by_code.get(_code(code))) is not None:
                for alias in aliases:
                    if len(_key(alias)) > 2:
                        self._by_name.setdefault(_key(alias), found)

    def by_code(self, code: str) -> Emoji | None:
        """Find by code points, `1f98a` or `1F1EE-1F1F9`; variation selectors do not matter."""
        return self._by_code.get(_code(code))

    def by_name(self, names: Iterable[str]) -> Emoji | None:
        """Find by the first name that is a label or short code; spaces, hyphens and case do not matter."""
        return next((self._by_name[_key(name)] for name in names if _key(name) in self._by_name), None)

    def people_words(self) -> frozenset[str]:
        """Words for people: of their labels, and of the tags of professions (`king`, `nurse`)."""
        people = [emoji for emoji in self._by_code.values() if emoji.group == "people and body"]
        workers = [tag for emoji in people if PERSON_FILE in emoji.senses for tag in emoji.tags]
        return frozenset(re.findall("[a-z]+", " ".join([*(emoji.label for emoji in people), *workers])))

    def flag(self, country: str) -> Emoji | None:
        """The flag of a country, by its ISO 3166 code of two letters."""
        if not re.fullmatch("[a-z]{2}", country):
            return None
        return self.by_code("-".join(f"{0x1F1E6 + ord(letter) - ord('a'):X}" for letter in country))


def _emoji(row: dict[str, object], meta: dict[str, dict[str, str]]) -> Emoji:
    label = str(row["label"]).lower()
    tags = row.get("tags")
    assert isinstance(tags, list)
    subgroup = meta["subgroups"].get(str(row.get("subgroup")), "")
    group = meta["groups"][str(row["group"])]
    return Emoji(
        label=label,
        tags=tuple(str(tag).lower() for tag in tags),
        kinds=SUBGROUPS.get(subgroup, ()),
        group=group.replace("-", " and "),
        is_flag=group == "flags",
        senses=next((senses for start, senses in SENSES.items() if subgroup.startswith(start)), SENSES[""]),
    )


def _code(code: str) -> str:
    return "-".join(part for part in code.upper().split("-") if part not in ("FE0F", "FE0E"))


def _key(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _plain(lemma: str) -> str:
    return lemma.replace("_", " ").lower()
