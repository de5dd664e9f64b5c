"""Write tests/golden/tokens.json with open_clip.

Needs `pip install open_clip_torch` (3.3.0 made the committed file), which nothing else here needs.
Run: python scripts/golden_tokens.py
"""

import gzip
import hashlib
import json
import sys
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import open_clip
from open_clip.tokenizer import SimpleTokenizer, default_bpe

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from strings import random_texts  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
NUM_MERGES = 48_894

TEXTS = {
    "empty": "",
    "white space only": " \t\r\n\u00a0\u3000 ",
    "plain": "a photo of a cat",
    "capitals and marks": "A Photo, of TWO dogs!!! (really?) -- $5.00/each #tag @home 100%",
    "contractions": "Don't we'll I've they're it's I'm he'd 'S 'LL rock'n'roll 'tis",
    "long s contraction": "it'\u017f",
    "single digits": "1234 4.5 3d 2x2",
    "other numerals": "\u00bd \u00b2 \u2166 \u0663 \u2460 \U0001d7d8",
    "emoji": "😀 👩\u200d👩\u200d👧 🇫🇷 ❤\ufe0f 👍🏽",
    "entities": "fish &amp; chips &lt;b&gt; &eacute;t&eacute; &#128512; &#x41;&#0; &nbsp;x",
    "entities twice": "&amp;amp; &amp;lt;p&amp;gt; &amp;quot;",
    "entities three times": "&amp;amp;amp;",
    "bare ampersands": "AT&T R&D a & b &copy &notanentity; &;",
    "mojibake": "schÃ¶n â€œquoteâ€ cafÃ© lâ€™amour",
    "ligatures": "\ufb01ne \ufb02oor \ufb03x \u0153uvre \u0133s",
    "full width": "\uff26\uff35\uff2c\uff2c \uff11\uff12 \uff01\u3000\uff76\uff80\uff76\uff85",
    "curly quotes": "\u201ccurly\u201d \u2018single\u2019 it\u2019s \u00abguillemets\u00bb \u201elow\u201c",
    "dashes": "a\u2014b \u2013 c \u2026 \u2022 d \u2212 1",
    "CJK": "漢字かな交じり文 한국어 中文，标点。",
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u202eabc\u202c \u200fx",
    "combining marks": "e\u0301 a\u0308\u0323 n\u0303 Z\u0351\u036b\u0343\u036a\u0302\u036balgo",
    "other scripts": "Привет हिन्दी ไทย መአ",
    "case mapping": "\u0130STANBUL \u1e9e STRASSE \u03a3\u03a3 \u01c5 \u212a \u212b",
    "control characters": "a\x00b\x01c\x0b\x0cd\x1be\x1c\x1d\x1e\x1ff\x7f\x85g",
    "terminal colours": "\x1b[31mred\x1b[0m",
    "line ends": "one\r\ntwo\rthree\u2028four\u2029five\x85six",
    "joiners and marks of order": "\ufeffa\u200bb\u200cc\u00add\u2060e",
    "lone surrogate": "x\ud800y",
    "replacement and private": "\ufffd \ue000 \U0010ffff \ufffe",
    "markup": "<b>bold</b> &lt;script&gt; </w> a</w>b",
    "other spelling of specials": "<|startoftext|> hello <|endoftext|>",
    "unclosed special": "<start_of_text hello end_of_text>",
    "code": "def f(x): return x**2  # _under_score_ C:\\path\\to https://example.com/?a=1&b=2",
    "repeated words": "buffalo " * 200,
    "one long word": "x" * 10_000,
    "one long mixed word": "abcdefghijklmnopqrstuvwxyz" * 385,
    "10,000 characters": ("The quick brown fox \u2014 jumps over 13 lazy dogs\u2019 backs. " * 190)[:10_000],
    "10,000 emoji": "\U0001f600" * 10_000,
    "curly apostrophes in contractions": "It\u2019s DON\u2019T we\u2019ll I\u2018ve they\u02bcre he\uff07d",
    "mojibake of quotes": "\u00e2\u20ac\u02dcone\u00e2\u20ac\u2122 \u00e2\u20ac\u201ctwo\u00e2\u20ac\u009d",
    "mojibake of emoji": "\u00f0\u0178\u02dc\u20ac \u00f0\u009f\u0098\u0080 \u00ef\u00bb\u00bfstart",
    "entities without semicolons": "&amp &ltb&gt &eacutet &#65 &#x42 &notin; &not in &AMP;",
    "entities out of range": "&#xD800; &#x110000; &#0; &#128; &#x80; &#99999999999;",
    "entities of white space": "a&nbsp;b&#32;c&#9;d&#xa;e&ensp;f&#8203;g",
    "entity makes a ligature": "&#xFB01;ne &fflig;ect",
    "Vietnamese, taken apart": "Vie\u0323\u0302t Nam \u0111o\u0301 la\u0300",
    "Arabic digits": "\u0661\u0662\u0663 \u06f1\u06f2 \u0967\u0968 \u0e51",
    "right to left in a sentence": "the \u05e9\u05dc\u05d5\u05dd sign, \u0645\u0631\u062d\u061f 2 \u200eup",
    "half width": "\uff76\uff80\uff76\uff85 \uffa1 \uffe6100",
    "full width marks": "\uff08hello\uff0cworld\uff01\uff09 \uff06amp\uff1b",
    "keycaps, flags, skin": "1\ufe0f\u20e3 \U0001f1e9\U0001f1ea \U0001f468\U0001f3ff\u200d\U0001f680",
    "tag sequence": "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "mathematical letters": "\U0001d54f\U0001d4ea \U0001d7d9\U0001d7da \u2102",
    "NUL between": "\x00a\x00\x00b c\x00",
    "all C0": "".join(map(chr, range(32))) + "z",
    "all C1": "a" + "".join(map(chr, range(0x7F, 0xA1))) + "z",
    "byte order mark first": "\ufeffa cat",
    "soft hyphens": "photo\u00adgraph\u00ady",
    "underscores and digits": "a_b __c__ 1_000 v2.0-rc1 x86_64",
    "apostrophes": "'' ''s 's's 'T 'tt ' s don''t 'llama",
    "tabs and line ends": "\ta\t\tb\n\nc\n",
    "specials of OpenAI": "<|startoftext|>a<|endoftext|>b <|ENDOFTEXT|> <|endoftext",
    "10,000 CJK": "\u6f22\u5b57" * 5_000,
    "10,000 controls": "\x01\x1f" * 5_000,
    "10,000 entities": "&amp;" * 2_000,
    "10,000 marks": "!?" * 5_000,
    "ill-formed entities": "&amp &ltb&gt &#x110000; &#xD83D;&#xDE00; &#99999999; &#; &#x; &Eacute &hearts",
    "entities of control": "a&#1;b&#8;c&#127;d&#x80;e&#x9f;f&Tab;g&NewLine;h&ZeroWidthSpace;i",
    "entities in mojibake": "caf&Atilde;&copy; &acirc;&euro;&trade;s",
    "mojibake twice": "cafÃƒÂ© naÃƒÂ¯ve",
    "mojibake of two emoji": "ðŸ˜€ ðŸ\x91\x8d",
    "mojibake of Cyrillic": "ÐŸÑ€Ð¸Ð²ÐµÑ‚",
    "mojibake cut short": "l'humanitÃ Ã\xa0 la carte â€",
    "windows bytes": "\x93quoted\x94 it\x92s \x96 \x85 \x80 5",
    "half width and yen": "\uff8a\uff9d\uff76\uff78 \uffe5 \uffe6 \u3000 \uff5e",
    "keycaps and tags": "1\ufe0f\u20e3 #\ufe0f\u20e3 \U0001f3f4\U000e0067\U000e0062\U000e007f",
    "emoji families": "\U0001f468\U0001f3fd\u200d\U0001f4bb \U0001f3f3\ufe0f\u200d\U0001f308 \u263a\ufe0e",
    "regional letters": "\U0001f1e9\U0001f1ea\U0001f1eb \U0001f170 \U0001f130",
    "mathematical letters of more kinds": "\U0001d400\U0001d41b \U0001d4d0 \U0001d552 \u2115 \u212f \u2133",
    "ligatures and digraphs": "\ufb00 \ufb04 \ufb05 \u01c4 \u01f3 \ufdfa \u0132 \u1e9b\u0323",
    "numerals of scripts": "\u0967\u0968 \u0e51\u0e52 \u4e00\u4e8c \u3007 \u2160\u2172 \u2488 \u2153 \u2074",
    "currency": "$5 \u20ac10 \u00a320 \u00a530 \u20b940 \u20bf1 5\u00a2 \u20a9",
    "all apostrophes": "it\u2019s it\u02bcs it\u2018s it`s it\u00b4s it\uff07s DON\u2019T o\u2032clock",
    "contractions run on": "'s'S'll'LL'd'D'm'T're've's''s 'sdog dog's's",
    "contractions and other letters": "it's\u00e9 it's\u0301 it'\u212a it'ſs",
    "Turkish and Greek case": "\u0130\u0131 I\u0307 \u03a3\u03a3. \u039f\u0394\u039f\u03a3 \u1fbc \u1f88",
    "Vietnamese composed and not": "Ti\u1ebfng Vi\u1ec7t Tie\u0302\u0301ng Vie\u0323\u0302t",
    "Hangul composed and not": "\ud55c\uae00 \u1112\u1161\u11ab\u1100\u1173\u11af",
    "Arabic with marks": "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f \u0640\u0640 \ufefc \u061c\u0661",
    "Hebrew with points": "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u2067abc\u2069 \ufb2a",
    "Indic and Thai": "\u0915\u094d\u0937\u093f \u0baf\u0bbe\u0bb4\u0bcd "
    "\u0e01\u0e33 \u0e21\u0e37\u0e2d\u0e07",
    "rare planes": "\U00010400\U00010428 \U00012000 \U00013080 \U00020000 \U0001b000 \U0001e900",
    "every white space": "a\u1680b\u2000c\u2003d\u2007e\u2009f\u200ag\u202fh\u205fi\u3000j\u180ek\u00a0l",
    "every ASCII control": "".join(f"{chr(i)}x" for i in range(32)) + "\x7f",
    "every C1 control": "".join(f"{chr(i)}x" for i in range(128, 160)),
    "escape sequences": "\x1b[1;31mbold\x1b[0m \x1b]0;title\x07 \x9b31m \x1bPdcs\x1b\\",
    "directions and joiners": "\u200ea\u200fb\u202ac\u202bd\u202de\u2066f\u2068g\u2064h\u206fi\u034fj",
    "soft hyphens in a word": "co\u00adop\u00ader\u00ada\u00adtion non\u2011breaking",
    "selectors": "\u845b\U000e0100 \u2764\ufe0e \u2603\ufe0f a\ufe00",
    "surrogates": "\ud83d\ude00 \ud83d x \ude00 y\udfff\ud800",
    "not characters": "\ufdd0 \uffff \U0001fffe \U0010fffe",
    "marks alone": "\u0301 \u0300\u0301\u0302 \u20dd \u093f",
    "many marks": "a" + "\u0301\u0327\u0489" * 30,
    "runs of signs": "!!!??? ...,,, ((())) ---___===+++ ~~~^^^ ***### @@@",
    "signs without spaces": "a!b?c.d,e;f:g'h\"i(j)k[l]m{n}o<p>q/r\\s|t",
    "digits in words": "h2o 4x4 mp3s 1st 2nd 3.14e-10 0x1F 1,000,000 10% #1",
    "addresses": "http://a.b/c?d=e&amp;f=g#h mailto:x.y+z@w.co.uk ftp://[::1]:80/%20%C3%A9",
    "mixed scripts": "Москва\u2014Moskva\u6771\u4eac Tokyo\u0391\u03b8\u03ae\u03bd\u03b1",
    "bracket quotes": "\u300cquote\u300d \u3010b\u3011 \u2039x\u203a \u275dy\u275e \u301ez\u301f",
    "arrows and boxes": "\u2190\u2192\u21d2 \u2500\u2502\u250c \u2588\u2591 \u25cf\u25cb \u2713\u2717 \u2605",
    "Braille and music": "\u2801\u2803 \u266a\u266b \U0001d11e \u2680 \u2654 \u2620",
    "10,000 right to left": "\u05e9\u05dc\u05d5\u05dd " * 2_000,
    "10,000 combining marks": "e\u0301" * 5_000,
    "10,000 NUL, escape, delete": "\x00\x1b\x7f" * 3_333,
    "10,000 digits": "1234567890" * 1_000,
    "exactly fits": "a " * 75,
    "one too many": "a " * 76,
}

SPECIALS = {
    "end cuts the caption": "a cat <end_of_text> a dog",
    "capitals": "<END_OF_TEXT>",
    "start in the text": "<start_of_text> hello",
}

RANDOM_SEED = 20261122
NUM_RANDOM = 20_000
RANDOM_PER_HASH = 1_000


def main() -> None:
    """Check the shipped merges against open_clip's, then write the file."""
    check_merges()
    tokenizer = SimpleTokenizer()
    write(
        "tokens.json",
        {
            "made_by": made_by("ftfy"),
            "texts": {name: token_case(tokenizer, text) for name, text in TEXTS.items()},
            "specials": {name: token_case(tokenizer, text) for name, text in SPECIALS.items()},
            "random": {"seed": RANDOM_SEED, "texts_per_hash": RANDOM_PER_HASH},
            "random_ids_sha256": random_hashes(tokenizer),
        },
    )


def made_by(library: str) -> str:
    """This script and the versions that decide the values."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("open_clip_torch", library))
    return f"scripts/golden_tokens.py, {versions}"


def check_merges() -> None:
    """The merges in the package are the lines 2 to 48,895 of open_clip's file."""
    packed = resources.files("clipworks.model").joinpath("vocabulary/bpe_merges.txt.gz").read_bytes()
    ours = gzip.decompress(packed).decode().splitlines()
    theirs = gzip.decompress(Path(default_bpe()).read_bytes()).decode().split("\n")[1 : NUM_MERGES + 1]
    if ours != theirs:
        raise SystemExit("clipworks/model/vocabulary/bpe_merges.txt.gz differs from open_clip's merges.")


def token_case(tokenizer: SimpleTokenizer, text: str) -> dict[str, Any]:
    """The text (as a piece and a count where it repeats), its 77 ids without padding, and how many uncut."""
    row = tokenizer([text])[0].tolist()
    piece = next((text[:n] for n in range(1, 60) if text[:n] * (len(text) // n) == text), text)
    shown = {"text": piece, "times": len(text) // len(piece)} if len(text) > 120 else {"text": text}
    ids = tokenizer.encode(text)
    digest = hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest()[:16]
    return {**shown, "row": row[: row.index(49407) + 1], "num_ids": len(ids), "ids_sha256": digest}


def random_hashes(tokenizer: SimpleTokenizer) -> list[str]:
    """A hash for each thousand of the random texts, over their uncut ids, a line each."""
    lines = [" ".join(map(str, tokenizer.encode(t))) for t in random_texts(NUM_RANDOM, seed=RANDOM_SEED)]
    blocks = [lines[n : n + RANDOM_PER_HASH] for n in range(0, NUM_RANDOM, RANDOM_PER_HASH)]
    return [hashlib.sha256("\n".join(block).encode()).hexdigest()[:16] for block in blocks]


def write(name: str, content: dict[str, Any]) -> None:
    """One case a line, ASCII only: control characters and right-to-left text stay legible."""
    lines = []
    for key, value in content.items():
        if isinstance(value, dict):
            cases = [f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()]
            lines.append(f"  {json.dumps(key)}: {{\n" + ",\n".join(cases) + "\n  }")
        elif isinstance(value, list):
            lines.append(
                f"  {json.dumps(key)}: [\n" + ",\n".join(f"    {json.dumps(v)}" for v in value) + "\n  ]"
            )
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(value)}")
    GOLDEN.mkdir(parents=True, exist_ok=True)
    (GOLDEN / name).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="ascii")
    print(f"{GOLDEN / name}: written with open_clip {open_clip.__version__}")


if __name__ == "__main__":
    main()
