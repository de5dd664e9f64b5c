"""The first sense of a word in WordNet 3.0, as `nltk.corpus.wordnet.synsets(word)[0].offset()` gives it in
NLTK 3.8.1, which DataComp used.

Reads the dictionary files of Princeton WordNet (Debian: wordnet-base): index.noun, index.verb, index.adj,
index.adv and the lists of exceptions beside them. DataComp's text_based filter compares such offsets.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from clipworks.errors import DataError, reason_of

PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
"""The order in which senses are asked for."""

_ENDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "noun": (
        ("s", ""),
        ("ses", "s"),
        ("ves", "f"),
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("men", "man"),
        ("ies", "y"),
    ),
    "verb": (
        ("s", ""),
        ("ies", "y"),
        ("es", "e"),
        ("es", ""),
        ("ed", "e"),
        ("ed", ""),
        ("ing", "e"),
        ("ing", ""),
    ),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
    "adv": (),
}
"""Endings that WordNet's morphy takes off, and what it puts there: morphy(7WN)."""


MAX_CHARACTERS = 1000
"""Of a word that is looked up; the longest lemma has 71."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Senses:
    """WordNet's words, by part of speech."""

    offsets: dict[str, dict[str, int]]
    """Part of speech -> lemma -> offset of its first sense."""
    exceptions: dict[str, dict[str, tuple[str, ...]]]
    """Part of speech -> irregular form -> lemmas."""

    def first(self, word: str) -> int | None:
        """Offset of the first sense of a word, of any case; None if WordNet does not know it."""
        if len(word) > MAX_CHARACTERS:
            return None
        lower = word.lower()
        found = (self._first_of(lower, part) for part in PARTS_OF_SPEECH)
        return next((offset for offset in found if offset is not None), None)

    def _first_of(self, word: str, part: str) -> int | None:
        """Of the word or else of its lemmas: from the list of exceptions if it stands there, else by its
        ending, which is taken off again and again until WordNet knows what is left (NLTK before 3.9)."""
        offsets, irregular = self.offsets[part], self.exceptions[part].get(word)
        forms = [word, *(irregular or ())]
        while forms:
            known = next((form for form in forms if form in offsets), None)
            if known is not None or irregular is not None:
                return None if known is None else offsets[known]
            forms = [
                form[: -len(old)] + new for form in forms for old, new in _ENDINGS[part] if form.endswith(old)
            ]
        return None


@lru_cache(maxsize=1)
def read_senses(folder: Path) -> Senses:
    """Read a folder of WordNet's dictionary files.

    Raises:
        DataError: a file is missing or is not in WordNet's form.
    """
    offsets, exceptions = {}, {}
    for part in PARTS_OF_SPEECH:
        offsets[part] = {
            words[0]: int(words[-int(words[2])])
            for words in _lines(folder / f"index.{part}")
            if len(words) > 3
        }
        exceptions[part] = {words[0]: tuple(words[1:]) for words in _lines(folder / f"{part}.exc") if words}
    return Senses(offsets=offsets, exceptions=exceptions)


@lru_cache(maxsize=2)
def read_offsets(path: Path) -> frozenset[int]:
    """Offsets of a list of synset ids such as `n01440764`, a line each.

    DataComp's list is timm's `data/_info/imagenet21k_goog_synsets.txt`: 21,843 nouns. The letter is
    dropped, as DataComp does: a verb of the same offset counts too.

    Raises:
        DataError: the file is missing, empty, or a line is not a letter and digits.
    """
    try:
        offsets = frozenset(int(line.strip()[1:]) for line in path.read_text("utf-8").splitlines() if line)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a list of synset ids: {reason_of(error)}.") from error
    if not offsets:
        raise DataError(f"{path} holds no synset id.")
    return offsets


def _lines(path: Path) -> list[list[str]]:
    """The words of each line but those of the licence, which begin with a space."""
    try:
        text = path.read_text("utf-8")
        lines = [line.split() for line in text.splitlines() if not line.startswith(" ")]
        if path.name.startswith("index.") and not all(
            len(words) > 3 and words[2].isdigit() and words[-1].isdigit() for words in lines if words
        ):
            raise ValueError("a line is not of WordNet's form")
        return lines
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as a file of WordNet: {reason_of(error)}.",
            "Give the folder with index.noun, noun.exc and the others of WordNet 3.0 (Debian: wordnet-base).",
        ) from error
