"""What texts are compared as where case, width and punctuation do not matter: in matching and word lists."""

import sys
import unicodedata
from bisect import bisect_right
from functools import cache

_SPACED_SCRIPTS_END = (
    *((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x19E0, 0x19FF), (0x2E80, 0x2FFF)),
    *((0x3000, 0x312F), (0x31A0, 0x4DBF), (0x4E00, 0x9FFF), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F)),
    *((0xF900, 0xFAFF), (0xFE30, 0xFE4F), (0xFF00, 0xFFEF), (0x1AFF0, 0x1B16F), (0x20000, 0x323AF)),
)
"""First and last code points of Thai, Lao, Tibetan, Burmese, Khmer, and the Chinese and Japanese blocks with
their punctuation; Korean is written with spaces."""

_ASCII_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


def fold(text: str) -> str:
    """A text without what `folded` ignores: words in lower case with a space between each two."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(text.lower().translate(_spaces_for_punctuation()).split())


def joins(letter: str) -> bool:
    """Whether words of this character's kind stand next to each other without spaces."""
    if letter in _ASCII_PUNCTUATION:
        return True
    at = bisect_right(_SPACED_SCRIPTS_END, (ord(letter), sys.maxunicode)) - 1
    return at >= 0 and ord(letter) <= _SPACED_SCRIPTS_END[at][1]


@cache
def _spaces_for_punctuation() -> dict[int, str]:
    """Code point -> " " for what Unicode calls punctuation, the back-tick, and NUL to US."""
    marks = (c for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)).startswith("P"))
    return dict.fromkeys([*marks, ord("`"), *range(32)], " ")
