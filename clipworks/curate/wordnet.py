"""Names of WordNet's synsets, read from the dictionary files of WordNet 3.0 (Debian: wordnet-base)."""

import re
from collections.abc import Iterator
from pathlib import Path

from clipworks.errors import DataError, reason_of

FILES = ("data.noun", "data.verb", "data.adj", "data.adv")

_MARKER = re.compile(r"\((?:a|p|ip)\)$")
"""Where an adjective may stand: after, before or only right after its noun."""


def synset_names(folder: Path) -> Iterator[str]:
    """The name of each synset: its first lemma in lower case up to the first full stop, with spaces.

    Of the 117,659 synsets of WordNet 3.0 this gives 86,555 different names, the empty one among them.

    Args:
        folder: holds the dictionary files, such as /usr/share/wordnet.

    Raises:
        DataError: a file is missing, or a line is not of WordNet's form.
    """
    for name in FILES:
        path = folder / name
        try:
            with path.open(encoding="latin-1", newline="\n") as file:
                for number, line in enumerate(file, 1):
                    if not line.startswith("  "):  # the licence
                        yield _name_in(line, path, number)
        except OSError as error:
            raise DataError(
                f"{path} cannot be read: {reason_of(error)}.",
                "Name the folder with WordNet's data.noun; Debian: apt-get install wordnet-base.",
            ) from error


def _name_in(line: str, path: Path, number: int) -> str:
    """A line begins: offset, file, part of speech, number of words, first word."""
    words = line.split(" ", 5)
    if len(words) < 6 or len(words[0]) != 8 or not words[0].isdigit():
        raise DataError(f"{path}, line {number} is not a line of WordNet: {line[:40]!r}.")
    lemma = _MARKER.sub("", words[4].lower())
    return lemma.split(".")[0].replace("_", " ")
