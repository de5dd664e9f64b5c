"""Lists of words that mark a text, such as toxic ones. The lists are the user's: none is built in.

A list is a text file, a word or phrase a line; `#` begins a comment. Or a folder of lists, one per language,
each called as its language is (`de` or `de.txt`): a text is then held against the list of its own. Texts are
compared as the matcher's mode `folded` does it: whole words, whatever their case, width and punctuation;
"class" does not hold "ass".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipworks.curate.folding import fold, joins
from clipworks.errors import DataError, reason_of


@dataclass(frozen=True, kw_only=True, slots=True)
class WordList:
    """Words and phrases ready to be found."""

    runs: Mapping[int, frozenset[tuple[str, ...]]]
    """By their number of words: those that stand between spaces."""
    parts: tuple[str, ...]
    """The others, of scripts without spaces, with a space where one must be."""

    def count(self, text: str) -> int:
        """How many different ones a text holds."""
        folded = fold(text)
        words = tuple(folded.split())
        found = 0
        for length, runs in self.runs.items():
            here = {words[start : start + length] for start in range(len(words) - length + 1)}
            found += len(here & runs)
        return found + sum(part in f" {folded} " for part in self.parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class WordLists:
    """One list for all texts, or one for each language."""

    lists: Mapping[str, WordList]
    """By language; "" is for texts of any."""

    @property
    def asks_language(self) -> bool:
        """Whether the language of a text must be known."""
        return any(self.lists)

    def count(self, texts: Sequence[str], languages: Sequence[str] = ()) -> NDArray[np.int64]:
        """How many different words or phrases of its list each text holds, int64 [N].

        Args:
            texts: any.
            languages: a code each; not looked at where one list serves all.
        """
        codes = languages if self.asks_language else [""] * len(texts)
        found = ((self.lists.get(code), text) for code, text in zip(codes, texts, strict=True))
        return np.array([0 if one is None else one.count(text) for one, text in found], np.int64)


@lru_cache(maxsize=4)
def read_words(path: Path) -> WordLists:
    """Read a list, or a folder of lists by language.

    Raises:
        DataError: a file is missing, is not UTF-8 or holds no word, or the folder has none.
    """
    if not path.is_dir():
        return WordLists(lists={"": _list_of(path)})
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    if not files:
        raise DataError(f"{path} holds no list of words.", "Put a file per language into it, such as en.txt.")
    languages = [file.name.removesuffix(".txt") for file in files]
    twice = {one for one in languages if languages.count(one) > 1}
    if twice:
        raise DataError(f"{path} has two lists for {min(twice)}.", "Make one of them.")
    return WordLists(lists=dict(zip(languages, map(_list_of, files), strict=True)))


def _list_of(path: Path) -> WordList:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a list of words: {reason_of(error)}.") from error
    words = {fold(line.partition("#")[0]) for line in lines} - {""}
    if not words:
        raise DataError(f"{path} holds no word.")
    runs: dict[int, set[tuple[str, ...]]] = {}
    parts = []
    for word in words:
        if joins(word[0]) or joins(word[-1]):
            parts.append(f"{'' if joins(word[0]) else ' '}{word}{'' if joins(word[-1]) else ' '}")
        else:
            run = tuple(word.split())
            runs.setdefault(len(run), set()).add(run)
    return WordList(
        runs={length: frozenset(some) for length, some in runs.items()}, parts=tuple(sorted(parts))
    )
