"""Lists of the pictures of icon, emoji and clip art packages, for `clipworks collect pictures`.

`python -m recipes.pool_lists --packages DIR --wordnet DIR --out DIR`; `recipes/pool.sh` downloads the
packages and calls it. A row has the drawing or its file, all captions with the kind of each, how likely each
is drawn in training, the set, its licence and author. `held_out/evaluation.jsonl` names the pictures that
must not be in the pool.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from clipworks.files import atomic_write, write_json
from recipes.pictogram_captions import Captions, Picture, Tally
from recipes.pictogram_drawings import HeldOut, read_clip_art, read_photographs
from recipes.pictogram_icons import read_icons
from recipes.pictogram_tags import read_tags
from recipes.pictogram_words import Emojibase, WordNet
from recipes.pool_captions import Translations, captions_of

Row = dict[str, Any]

WEIGHTS = {
    "emoji": 8.0,
    "coloured": 2.0,
    "clip art": 3.0,
    "photograph": 3.0,
    "flag": 0.5,
    "glyph of a thing": 0.4,
    "glyph": 0.1,
}
"""How often a picture of a kind is drawn in training, relative to the others."""

LISTS = {
    "emoji": "emoji",
    "flag": "flags",
    "clip art": "clip_art",
    "photograph": "photographs",
    "coloured": "coloured",
    "glyph": "glyphs",
    "glyph of a thing": "glyphs",
}
"""The list that a kind of picture stands in."""


def main() -> None:
    """Read the packages and write a list for each kind of picture, and what was left out."""
    options = _parse_arguments()
    tally = Tally()
    options.packages = packages = options.packages.resolve()  # a list names files for whoever reads it
    emojibase = Emojibase(packages / "emojibase-data")
    captions = Captions(WordNet(options.wordnet), emojibase, read_tags(packages / "tags"))
    locales = find_locales(options.locales, packages / "emojibase-data")
    translations = Translations(packages / "emojibase-data", locales)
    pictures, held_out = collect(options, captions, tally)
    lists = defaultdict[str, list[Row]](list)
    for picture in sorted(pictures, key=lambda picture: picture.key):
        lists[LISTS[picture.kind]].append(
            row_of(picture, tally, captions, translations, is_weighted=options.weights == "hand")
        )
    glyphs_there = len(lists["glyphs"])
    if options.glyphs is not None:
        lists["glyphs"] = lists["glyphs"][: options.glyphs]
    evaluation = list(evaluation_rows(options, held_out))
    (options.out / "held_out").mkdir(parents=True, exist_ok=True)
    write_rows(options.out / "held_out/evaluation.jsonl", evaluation)
    for name, rows in lists.items():
        write_rows(options.out / f"{name}.jsonl", rows)
    write_json(options.out / "held_out/clip_art.json", [row.to_json() for row in held_out])
    counts = {name: len(rows) for name, rows in lists.items()}
    write_json(
        options.out / "lists.json",
        {"rows": counts, "glyphs_there": glyphs_there, "left_out": dict(tally.left_out.most_common())},
    )
    sys.stderr.write(f"{counts}\n")


def find_locales(wanted: str, folder: Path) -> list[str]:
    """The folders of languages besides English; `all` for every one."""
    if wanted == "all":
        return sorted(path.parent.name for path in folder.glob("*/data.json") if path.parent.name != "en")
    return [locale for locale in wanted.split(",") if locale]


def collect(
    options: argparse.Namespace, captions: Captions, tally: Tally
) -> tuple[list[Picture], list[HeldOut]]:
    """Every usable picture of the packages and folders that are there, and the drawings held out."""
    packages: Path = options.packages
    pictures = list(read_icons(packages / "iconify-json", captions, tally))
    held_out: list[HeldOut] = []
    clip_art = packages / "openclipart/usr/share/openclipart/svg"
    if clip_art.is_dir():
        drawings, held_out = read_clip_art(clip_art, captions, tally)
        pictures.extend(drawings)
    if options.photos is not None:
        pictures.extend(read_photographs(options.photos, captions, tally))
    return pictures, held_out


def row_of(
    picture: Picture, tally: Tally, captions: Captions, translations: Translations, *, is_weighted: bool
) -> Row:
    """A picture as a row of a list."""
    texts = captions_of(picture, captions, translations)
    origin = tally.origins[picture.source]
    place = "svg" if picture.form == "svg" else "file"
    row: Row = {
        place: picture.content,
        "url": f"{picture.source}/{picture.key}",
        "texts": [{"key": one.key, "text": one.text} for one in texts],
        "probs": [{"text": one.text, "prob": round(one.prob, 4)} for one in texts],
        "kind": picture.kind,
        "mono": picture.is_mono,
        "source": picture.source,
        "licence": picture.licence,
        "title": origin.title,
        "author": origin.author,
        "home": origin.url,
    }
    return row | ({"weight": WEIGHTS[picture.kind]} if is_weighted else {})


def evaluation_rows(options: argparse.Namespace, held_out: Iterable[HeldOut]) -> Iterator[Row]:
    """The pictures that models are scored on: 3-D emoji, held-out clip art, test photographs."""
    packages: Path = options.packages
    emoji = sorted((packages / "fluent-emoji-3d/assets").glob("*.webp"))
    clip_art = packages / "openclipart/usr/share/openclipart/svg"
    photographs: list[Path] = []
    if options.photos is not None:
        rows = map(json.loads, (options.photos / "metadata.jsonl").read_text(encoding="utf-8").splitlines())
        photographs = [options.photos / row["file"] for row in rows if row["split"] == "test"]
    drawings = [clip_art / row.path for row in held_out]
    for path in chain(emoji, drawings, photographs):
        yield {"file": str(path), "texts": ["held out"]}


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """One JSON object a line."""
    with atomic_write(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode(errors="surrogatepass") + b"\n")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="folder of the unpacked packages")
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="WordNet's database")
    parser.add_argument("--photos", type=Path, help="folder of photographs with metadata.jsonl")
    parser.add_argument("--out", type=Path, required=True, help="folder for the lists")
    parser.add_argument(
        "--locales", default="", help="languages of emoji besides English, comma-separated, or all"
    )
    parser.add_argument(
        "--weights", choices=("hand", "none"), default="none", help="weights by kind, or none"
    )
    parser.add_argument("--glyphs", type=int, help="at most so many one-colour icons, drawn by hash")
    return parser.parse_args()


if __name__ == "__main__":
    main()
