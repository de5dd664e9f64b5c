"""Strings that tests and scripts draw to find out where two tokenizers differ."""

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

# Code points that were assigned, or will never be, when Python 3.11 came out: what later versions of
# Unicode change cannot change these strings.
_RANGES = [
    (0x00, 0x7F),
    (0x80, 0xFF),
    (0x100, 0x24F),
    (0x300, 0x36F),
    (0x391, 0x3A1),
    (0x3A3, 0x3C9),
    (0x400, 0x45F),
    (0x5D0, 0x5EA),
    (0x621, 0x669),
    (0x905, 0x939),
    (0xE01, 0xE3A),
    (0x1E00, 0x1EFF),
    (0x2000, 0x2064),
    (0x20A0, 0x20BE),
    (0x2100, 0x2188),
    (0x2190, 0x23F0),
    (0x2460, 0x24FF),
    (0x2600, 0x26FF),
    (0x3000, 0x3029),
    (0x3041, 0x3096),
    (0x30A0, 0x30FF),
    (0x4E00, 0x4F00),
    (0xAC00, 0xAD00),
    (0xD800, 0xD810),
    (0xE000, 0xE010),
    (0xFB00, 0xFB06),
    (0xFEFF, 0xFEFF),
    (0xFF01, 0xFF9F),
    (0xFFFD, 0xFFFF),
    (0x1D400, 0x1D454),
    (0x1D7CE, 0x1D7FF),
    (0x1F1E6, 0x1F1FF),
    (0x1F300, 0x1F53D),
    (0x1F600, 0x1F64F),
]
_WORDS = (
    "a the of Photo CAT dogs don't it's We'll I'VE O'Neil rock'n'roll 3rd 12,345.67 $9.99 x2 #tag @home "
    "U.S.A. e-mail well-known (really?) wow!!! ... -- _under_ C:\\path https://a.example/?b=1&c=2 <b> </w> "
    "naïve café ﬁne “quoted” it’s l’amour — … « » ½ ² Ⅶ ＦＵＬＬ １２ don＇t 漢字 かな 한국어 "
    "שלום مرحبا हिन्दी ไทย Привет ΣΊΣΥΦΟΣ İstanbul ß ẞ ſ K 👩‍👩‍👧 👍🏽 🇫🇷 1️⃣ ❤️ é ạ̈ "
    "<|endoftext|> <|startoftext|> <end_of_text"
).split()
_ENTITIES = (
    "&amp; &lt;b&gt; &quot; &#39; &eacute; &copy &nbsp; &#128512; &#x41; &#0; &#xD800; &#1114112; &amp;amp; "
    "&amp;lt;p&amp;gt; &amp;amp;amp; &AMP; &Eacute; &bogus; & &; &# &#x; AT&T R&D"
).split()
_GAPS = [
    "",
    "",
    " ",
    " ",
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\u00a0",
    "\u3000",
    "\u2028",
    "\x1c",
    "\x85",
    "-",
    "'",
]
_MOST_PIECES = 14
_MOST_CHARACTERS = 8


def random_texts(count: int, *, seed: int) -> list[str]:
    """Words, escapes, mangled words and runs of characters of one script, mixed; the same ones each time."""
    # Only random() itself is promised to give the same numbers in every version of Python.
    draw = random.Random(seed).random
    return [_text(draw) for _ in range(count)]


def _text(draw: Callable[[], float]) -> str:
    pieces = 1 + int(draw() * _MOST_PIECES)
    return "".join(_piece(draw) + _pick(_GAPS, draw) for _ in range(pieces))


def _piece(draw: Callable[[], float]) -> str:
    kind = draw()
    if kind < 0.45:
        return _pick(_WORDS, draw)
    if kind < 0.55:
        return _pick(_ENTITIES, draw)
    if kind < 0.65:  # UTF-8 read as Windows-1252 or Latin-1
        mangled = _pick(_WORDS, draw).encode("utf-8")
        return mangled.decode(_pick(("cp1252", "latin-1"), draw), errors="replace")
    first, last = _pick(_RANGES, draw)
    length = 1 + int(draw() * _MOST_CHARACTERS)
    return "".join(chr(first + int(draw() * (last - first + 1))) for _ in range(length))


def _pick(choices: Sequence[T], draw: Callable[[], float]) -> T:
    return choices[int(draw() * len(choices))]
