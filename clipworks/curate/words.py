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
import pyarrow as pa
from numpy.typing import NDArray

from clipworks.curate.match import Matcher, build_matcher, fold, match_texts
from clipworks.errors import DataError

MODE = "folded"


@dataclass(frozen=True, kw_only=True, slots=True)
class WordLists:
    """Words ready to be found."""

    matchers: Mapping[str, Matcher]
    """By language; "" is for texts of any."""

    @property
    def asks_language(self) -> bool:
        """Whether the language of a text must be known."""
        return any(self.matchers)

    def count(self, texts: Sequence[str], languages: Sequence[str] = ()) -> NDArray[np.int64]:
        """How many different words or phrases of its list each text holds, int64 [N].

        Args:
            texts: any.
            languages: a code each; not looked at where one list serves all.
        """
        counts = np.zeros(len(texts), np.int64)
        for language, matcher in self.matchers.items():
            rows = np.array([not language or code == language for code in languages or [""] * len(texts)])
            chosen = np.flatnonzero(rows)
            if len(chosen):
                ends, _ = match_texts(matcher, pa.array([texts[row] for row in chosen], pa.large_string()))
                counts[chosen] = np.diff(ends)
        return counts


@lru_cache(maxsize=4)
def read_words(path: Path) -> WordLists:
    """Read a list, or a folder of lists by language.

    Raises:
        DataError: a file is missing, is not UTF-8 or holds no word, or the folder has none.
    """
    if not path.is_dir():
        return WordLists(matchers={"": _matcher_of(path)})
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    if not files:
        raise DataError(f"{path} holds no list of words.", "Put a file per language into it, such as en.txt.")
    languages = [file.name.removesuffix(".txt") for file in files]
    twice = {one for one in languages if languages.count(one) > 1}
    if twice:
        raise DataError(f"{path} has two lists for {min(twice)}.", "Make one of them.")
    return WordLists(matchers=dict(zip(languages, map(_matcher_of, files), strict=True)))


def _matcher_of(path: Path) -> Matcher:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a list of words: {error}.") from error
    words = list(dict.fromkeys(fold(line.partition("#")[0]) for line in lines))
    if not any(words):
        raise DataError(f"{path} holds no word.")
    return build_matcher([word for word in words if word], mode=MODE)
