"""Lists of words that a text must not hold. The lists are the user's: none is built in.

A list is a text file, a word or phrase a line; `#` begins a comment. Case does not count, and only whole
words match: "class" does not hold "ass".
"""

import re
from functools import lru_cache
from pathlib import Path

from clipworks.errors import DataError

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")

Words = frozenset[tuple[str, ...]]
"""Phrases, each the words it is made of, in folded case."""


@lru_cache(maxsize=4)
def read_words(path: Path) -> Words:
    """Read a list.

    Raises:
        DataError: the file is missing, is not UTF-8, or holds no word.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a list of words: {error}.") from error
    words = frozenset(split_words(line.partition("#")[0]) for line in lines) - {()}
    if not words:
        raise DataError(f"{path} holds no word.")
    return words


def holds_word(text: str, words: Words) -> bool:
    """Whether a text holds a word or phrase of the list, word by word."""
    parts = split_words(text)
    lengths = {len(phrase) for phrase in words}
    return any(
        parts[start : start + length] in words
        for length in lengths
        for start in range(len(parts) - length + 1)
    )


def split_words(text: str) -> tuple[str, ...]:
    """The words of a text in folded case: letters and digits, with apostrophes between them."""
    return tuple(_WORD.findall(text.casefold().replace("’", "'")))
