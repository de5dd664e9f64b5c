"""Write tests/golden/tokens.json and tests/golden/pixels.json with open_clip.

Needs `pip install open_clip_torch` (3.3.0 made the committed files), which nothing else here needs.
Run: python scripts/golden_tokens.py
"""

import base64
import gzip
import hashlib
import io
import json
import sys
import warnings
from collections.abc import Iterator
from importlib import metadata, resources
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import open_clip
from open_clip.tokenizer import SimpleTokenizer, default_bpe
from open_clip.transform import image_transform
from PIL import Image

TESTS = Path(__file__).resolve().parents[1] / "tests"
GOLDEN = TESTS / "golden"
NUM_MERGES = 48_894

sys.path.insert(0, str(TESTS))

from pictures import picture  # noqa: E402

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
    "ill-formed entities": "&amp &ltb&gt &#x110000; &#xD83D;&#xDE00; &#99999999; &#; &#x; &Eacute &hearts",
    "entities of control": "a&#1;b&#8;c&#127;d&#x80;e&#x9f;f&Tab;g&NewLine;h&ZeroWidthSpace;i",
    "entities in mojibake": "caf&Atilde;&copy; &acirc;&euro;&trade;s",
    "mojibake twice": "cafÃƒÂ© naÃƒÂ¯ve",
    "mojibake of emoji": "ðŸ˜€ ðŸ\x91\x8d",
    "mojibake of Cyrillic": "ÐŸÑ€Ð¸Ð²ÐµÑ‚",
    "mojibake cut short": "l'humanitÃ Ã\xa0 la carte â€",
    "windows bytes": "\x93quoted\x94 it\x92s \x96 \x85 \x80 5",
    "half width": "\uff8a\uff9d\uff76\uff78 \uffe5 \uffe6 \u3000 \uff5e",
    "keycaps and tags": "1\ufe0f\u20e3 #\ufe0f\u20e3 \U0001f3f4\U000e0067\U000e0062\U000e007f",
    "emoji families": "\U0001f468\U0001f3fd\u200d\U0001f4bb \U0001f3f3\ufe0f\u200d\U0001f308 \u263a\ufe0e",
    "regional letters": "\U0001f1e9\U0001f1ea\U0001f1eb \U0001f170 \U0001f130",
    "mathematical letters": "\U0001d400\U0001d41b \U0001d4d0 \U0001d552 \u2115 \u212f \u2133",
    "ligatures and digraphs": "\ufb00 \ufb04 \ufb05 \u01c4 \u01f3 \ufdfa \u0132 \u1e9b\u0323",
    "numerals of scripts": "\u0967\u0968 \u0e51\u0e52 \u4e00\u4e8c \u3007 \u2160\u2172 \u2488 \u2153 \u2074",
    "currency": "$5 \u20ac10 \u00a320 \u00a530 \u20b940 \u20bf1 5\u00a2 \u20a9",
    "apostrophes": "it\u2019s it\u02bcs it\u2018s it`s it\u00b4s it\uff07s DON\u2019T o\u2032clock",
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
    "soft hyphens": "co\u00adop\u00ader\u00ada\u00adtion non\u2011breaking",
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
    "10,000 entities": "&amp;" * 2_000,
    "10,000 CJK": "\u6f22\u5b57" * 5_000,
    "10,000 right to left": "\u05e9\u05dc\u05d5\u05dd " * 2_000,
    "10,000 marks": "e\u0301" * 5_000,
    "10,000 control": "\x00\x1b\x7f" * 3_333,
    "10,000 signs": "!?" * 5_000,
    "10,000 digits": "1234567890" * 1_000,
    "exactly fits": "a " * 75,
    "one too many": "a " * 76,
}

RANDOM_SEED = 20212
RANDOM_TEXTS = 120
RANDOM_BLOCKS = (
    (0x20, 0x7F), (0x20, 0x7F), (0x20, 0x7F), (0xA0, 0x250), (0x2B0, 0x370), (0x370, 0x530), (0x590, 0x6F0),
    (0x900, 0x980), (0xE00, 0xE60), (0x1100, 0x11A0), (0x1E00, 0x2000), (0x2000, 0x2070), (0x2070, 0x20C0),
    (0x2100, 0x2190), (0x2190, 0x2700), (0x3000, 0x3100), (0x4E00, 0x9FA6), (0xAC00, 0xD7A4),
    (0xFB00, 0xFB50), (0xFE00, 0xFE10), (0xFF00, 0xFFF0), (0x1D400, 0x1D7FF), (0x1F300, 0x1F650),
)  # fmt: skip
"""Ranges of code points that the random texts draw from; ASCII more often."""

RANDOM_PIECES = (
    "&amp;",
    "&eacute;",
    "&lt;",
    "&#39;",
    "Ã©",
    "â€™",
    "'s",
    "'LL",
    " ",
    " ",
    "\u2019s",
    "\ufb01",
    "ＡＢ",
)

SPECIALS = {
    "end cuts the caption": "a cat <end_of_text> a dog",
    "capitals": "<END_OF_TEXT>",
    "start in the text": "<start_of_text> hello",
}

# Files that are no plain pixels once they are open: kind, mode of the drawing, how it is written. All are
# lossless, so that their pixels do not depend on a decoder's version.
FILES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "PNG turned by its EXIF tag": ("PNG", "RGB", {"orientation": 6}),
    "PNG mirrored by its EXIF tag": ("PNG", "L", {"orientation": 5}),
    "PNG with a transparent palette entry": ("PNG", "P", {"transparency": 3}),
    "PNG with alpha per palette entry": ("PNG", "P", {"transparency": bytes(range(0, 256, 2))}),
    "PNG with a transparent key colour": ("PNG", "RGB", {"transparency": (0, 50, 100)}),
    "grey PNG with a transparent key": ("PNG", "L", {"transparency": 60}),
    "PNG of 16 bits": ("PNG", "I;16", {}),
    "PNG of 1 bit": ("PNG", "1", {}),
    "PNG with grey and alpha": ("PNG", "LA", {}),
    "PNG with a colour profile": ("PNG", "RGB", {"icc_profile": b"not a profile"}),
    "animated GIF": ("GIF", "P", {"has_two_frames": True}),
    "GIF with a transparent entry": ("GIF", "P", {"transparency": 7}),
    "animated PNG": ("PNG", "RGBA", {"has_two_frames": True}),
    "TIFF of floats": ("TIFF", "F", {}),
    "TIFF of four inks": ("TIFF", "CMYK", {"compression": "tiff_lzw"}),
    "TIFF of two pages": ("TIFF", "RGB", {"has_two_frames": True}),
    "BMP with a palette": ("BMP", "P", {}),
    "lossless WebP with alpha": ("WEBP", "RGBA", {"lossless": True, "exact": True}),
}

# Mode, width, height. The shapes try rounding: odd margins, equal sides, enlarging, one pixel.
PICTURES = [
    ("RGB", 64, 64),
    ("RGB", 97, 64),
    ("RGB", 64, 131),
    ("RGB", 333, 200),
    ("RGB", 7, 5),
    ("RGB", 1, 1),
    ("RGB", 500, 3),
    ("L", 100, 77),
    ("1", 90, 70),
    ("P", 100, 77),
    ("RGBA", 100, 77),
    ("LA", 77, 100),
    ("CMYK", 100, 77),
    ("YCbCr", 100, 77),
    ("I;16", 100, 77),
    ("F", 100, 77),
    ("I", 100, 77),
    ("PA", 100, 77),
    ("RGBa", 100, 77),
    ("RGBX", 100, 77),
    ("HSV", 100, 77),
    ("LAB", 100, 77),
    ("RGB", 223, 225),
    ("RGB", 225, 448),
    ("RGB", 449, 224),
    ("RGB", 1, 300),
    ("RGB", 1000, 64),
    ("L", 331, 97),
    ("1", 640, 480),
    ("P", 640, 480),
    ("RGBA", 640, 480),
    ("CMYK", 223, 500),
    ("I;16", 500, 223),
]
SIDES = [64, 224]


def main() -> None:
    """Check the shipped merges against open_clip's, then write both files."""
    check_merges()
    tokenizer = SimpleTokenizer()
    write(
        "tokens.json",
        {
            "made_by": made_by("ftfy"),
            "texts": {name: token_case(tokenizer, text) for name, text in TEXTS.items()},
            "random": {f"{i:03}": token_case(tokenizer, text) for i, text in enumerate(random_texts())},
            "specials": {name: token_case(tokenizer, text) for name, text in SPECIALS.items()},
        },
    )
    write(
        "pixels.json",
        {
            "made_by": made_by("pillow"),
            "pictures": [
                {
                    "mode": mode,
                    "width": width,
                    "height": height,
                    **pixel_case(picture(mode, width, height), side),
                }
                for mode, width, height in PICTURES
                for side in SIDES
            ],
            "files": {name: file_case(*case) for name, case in FILES.items()},
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


def random_texts() -> Iterator[str]:
    """Texts without sense: characters of all scripts, entities, mojibake and contractions in any order."""
    random = Random(RANDOM_SEED)
    for _ in range(RANDOM_TEXTS):
        parts = []
        for _ in range(random.randint(3, 9)):
            first, last = random.choice(RANDOM_BLOCKS)
            parts.append("".join(chr(random.randrange(first, last)) for _ in range(random.randint(1, 4))))
            parts.append(random.choice(RANDOM_PIECES))
        yield "".join(parts)


def pixel_case(image: Image.Image, side: int) -> dict[str, Any]:
    """What open_clip's transform makes of a picture: five pixels to look at, a hash for all."""
    transform = image_transform(side, is_train=False)
    steps = transform.transforms[:3]  # resize, centre crop, RGB: all before the conversion to floats
    before = hashlib.sha256(image.tobytes()).hexdigest()[:16]
    for step in steps:
        image = step(image)
    pixels = np.asarray(image)
    spots = [(0, 0), (0, side - 1), (side // 2, side // 2), (side - 1, 0), (side - 1, side - 1)]
    return {
        "side": side,
        "input_sha256": before,
        "corners_and_centre": [pixels[y, x].tolist() for y, x in spots],
        "sha256": hashlib.sha256(pixels.tobytes()).hexdigest()[:16],
    }


def file_case(kind: str, mode: str, options: dict[str, Any]) -> dict[str, Any]:
    """The file itself and what open_clip makes of it at 48 pixels."""
    options = dict(options)
    if orientation := options.pop("orientation", None):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    drawn = picture(mode, 37, 29)
    if options.pop("has_two_frames", False):
        options |= {"save_all": True, "append_images": [drawn.rotate(180)]}
    buffer = io.BytesIO()
    drawn.save(buffer, kind, **options)
    file = buffer.getvalue()
    with warnings.catch_warnings(action="ignore"):
        case = pixel_case(Image.open(io.BytesIO(file)), 48)
    return {**case, "base64": base64.b64encode(file).decode()}


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
