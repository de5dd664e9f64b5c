"""Make the training shards of the built-in model from icon, emoji and clip art packages.

`python -m recipes.pictogram_shards --packages DIR --out DIR`; `recipes/pictogram.sh` downloads the
packages and calls it. The same packages give the same bytes, whatever the number of workers.
"""

import argparse
import io
import json
import multiprocessing
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import resvg_py
from PIL import Image, ImageOps

from clipworks.files import atomic_write, sha256_file, write_json
from clipworks.shards import Sample, finish_shards, write_tars
from recipes.pictogram_captions import WEIGHTS, Captions, Picture, Tally
from recipes.pictogram_drawings import HeldOut, read_clip_art, read_photographs
from recipes.pictogram_icons import SIDE_PIXELS, read_icons
from recipes.pictogram_tags import read_tags
from recipes.pictogram_words import Emojibase, WordNet

MAX_PER_NAME = {"glyph of a thing": 8, "glyph": 2, "clip art": 4}
"""By kind: pictures of one name that are kept. Other kinds are kept whole."""

LEAST_INK = 0.005
"""Share of the square that a drawing covers at least; less is blank."""

RENDER_SECONDS = 20
SAMPLES_PER_SHARD = 5000


def main() -> None:
    """Read the packages, choose, render, and write shards, manifests, held-out list and attribution."""
    options = _parse_arguments()
    started = time.monotonic()
    tally = Tally()
    pictures, held_out = collect(options, tally)
    chosen = choose(pictures, tally)[: options.limit]
    _say(f"{len(chosen)} of {len(pictures)} pictures chosen after {time.monotonic() - started:.0f} s")
    if options.dry_run:
        _say(json.dumps({"kinds": Counter(p.kind for p in chosen), "left out": tally.left_out}, indent=1))
        return
    counts: dict[str, Counter[str]] = {"kind": Counter(), "licence": Counter(), "set": Counter()}
    manifest = write_tars(
        render_all(chosen, tally, counts, num_workers=options.workers),
        options.out,
        samples_per_shard=SAMPLES_PER_SHARD,
    )
    manifest |= describe(options, tally, counts)
    write_json(options.out / "held_out.json", [row.to_json() for row in held_out])
    write_json(options.out / "data_manifest.json", manifest)
    with atomic_write(options.out / "ATTRIBUTION.md") as file:
        file.write(attribution(tally, counts["set"]).encode())
    finish_shards(options.out, manifest)
    _say(f"{manifest['samples']} pictures written after {time.monotonic() - started:.0f} s")


def collect(options: argparse.Namespace, tally: Tally) -> tuple[list[Picture], list[HeldOut]]:
    """Every usable picture of the packages and folders that are there, and the drawings held out."""
    packages: Path = options.packages
    captions = Captions(
        WordNet(options.wordnet), Emojibase(packages / "emojibase-data"), read_tags(packages / "tags")
    )
    only = frozenset(options.sets.split(",")) if options.sets else frozenset[str]()
    pictures = list(read_icons(packages / "iconify-json", captions, tally, only=only))
    held_out: list[HeldOut] = []
    clip_art = packages / "openclipart/usr/share/openclipart/svg"
    if clip_art.is_dir() and not only:
        drawings, held_out = read_clip_art(clip_art, captions, tally)
        pictures.extend(drawings)
    if options.photos is not None:
        pictures.extend(read_photographs(options.photos, captions, tally))
    return pictures, held_out


def choose(pictures: Iterable[Picture], tally: Tally) -> list[Picture]:
    """Leave out copies, and more than MAX_PER_NAME pictures of one name; the result is in key order.

    Of the pictures of one name, each set gives one before any set gives its second.
    """
    drawn = set[str]()
    chosen = list[Picture]()
    by_name: dict[tuple[str, str], list[Picture]] = defaultdict(list)
    for picture in sorted(pictures, key=lambda picture: picture.key):
        if picture.content in drawn:
            tally.left_out["picture: same drawing"] += 1
            continue
        drawn.add(picture.content)
        if picture.kind in MAX_PER_NAME:
            by_name[picture.kind, picture.name].append(picture)
        else:
            chosen.append(picture)
    for (kind, _), group in by_name.items():
        kept = _in_turns(group)[: MAX_PER_NAME[kind]]
        tally.left_out["picture: enough of this name"] += len(group) - len(kept)
        chosen.extend(kept)
    return sorted(chosen, key=lambda picture: picture.key)


def render_all(
    pictures: list[Picture], tally: Tally, counts: dict[str, Counter[str]], *, num_workers: int
) -> Iterator[Sample]:
    """Render in worker processes, in order; pictures that fail or are blank are counted and left out."""
    with multiprocessing.Pool(num_workers) as pool:
        for picture, image in zip(pictures, pool.imap(render, pictures, chunksize=50), strict=True):
            if isinstance(image, str):
                tally.left_out[f"picture: {image}"] += 1
                continue
            counts["kind"][picture.kind] += 1
            counts["licence"][picture.licence] += 1
            counts["set"][picture.source] += 1
            details = {
                "mono": picture.is_mono,
                "weight": WEIGHTS[picture.kind],
                "source": picture.source,
                "licence": picture.licence,
            }
            yield Sample(key=picture.key, image=image, extension="png", texts=picture.texts, details=details)


def render(picture: Picture) -> bytes | str:
    """One picture as a PNG of SIDE_PIXELS, transparent around a drawing, or why there is none."""
    if picture.form == "photograph":
        with Image.open(picture.content) as photograph:
            return _png(ImageOps.fit(photograph.convert("RGB"), (SIDE_PIXELS, SIDE_PIXELS)))
    try:
        data = _draw_file(picture.content) if picture.form == "svg file" else _draw_text(picture.content)
        with Image.open(io.BytesIO(data)) as image:
            is_ready = image.mode == "RGBA" and image.size == (SIDE_PIXELS, SIDE_PIXELS)
            square = image.convert("RGBA") if is_ready else _centre(image.convert("RGBA"))
    except (ValueError, OSError, subprocess.SubprocessError):
        return "cannot be rendered"
    if sum(square.getchannel("A").histogram()[64:]) < LEAST_INK * SIDE_PIXELS**2:
        return "blank"
    return data if is_ready else _png(square)


def describe(options: argparse.Namespace, tally: Tally, counts: dict[str, Counter[str]]) -> dict[str, Any]:
    """What the shards were made from and how: entries for the manifest."""
    inputs = options.packages / "packages.jsonl"
    photographs = options.photos / "metadata.jsonl" if options.photos is not None else None
    return {
        "inputs": [json.loads(line) for line in inputs.read_text().splitlines()] if inputs.is_file() else [],
        "photographs_sha256": sha256_file(photographs) if photographs is not None else None,
        "side_pixels": SIDE_PIXELS,
        "weights": WEIGHTS,
        "max_per_name": MAX_PER_NAME,
        "counts": {name: dict(counter.most_common()) for name, counter in counts.items()},
        "left_out": dict(tally.left_out.most_common()),
    }


def attribution(tally: Tally, num_pictures: Counter[str]) -> str:
    """The credits that CC BY and the other licences ask for, as a page of Markdown."""
    head = (
        "# Pictures that `pictogram` was trained on\n\n"
        "They were rendered at 64 pixels; this folder holds what the model learned, not the pictures.\n"
        "Captions were made from names and tags of the sets, emojibase-data 17 (MIT) and WordNet 3.0\n"
        "(Copyright 2006 by Princeton University, all rights reserved).\n\n"
        "| set | title | author | licence | address | pictures |\n|---|---|---|---|---|---|\n"
    )
    rows = [
        f"| {name} | {origin.title} | {origin.author} | {origin.licence} | {origin.url} | {count} |"
        for name, origin in sorted(tally.origins.items())
        if (count := num_pictures[name])
    ]
    return head + "\n".join(rows) + "\n"


def _in_turns(pictures: list[Picture]) -> list[Picture]:
    """The first picture of each set, then the second of each, and so on."""
    turns = Counter[str]()
    ranks = list[int]()
    for picture in pictures:
        ranks.append(turns[picture.source])
        turns[picture.source] += 1
    return [pictures[i] for i in sorted(range(len(pictures)), key=lambda i: ranks[i])]


def _draw_text(svg: str) -> bytes:
    return bytes(resvg_py.svg_to_bytes(svg_string=svg))


def _draw_file(path: str) -> bytes:
    """Draw with rsvg-convert: resvg refuses 44 % of the clip art."""
    side = str(SIDE_PIXELS)
    command = ["rsvg-convert", "--width", side, "--height", side, "--keep-aspect-ratio", path]
    return subprocess.run(command, capture_output=True, check=True, timeout=RENDER_SECONDS).stdout


def _centre(image: Image.Image) -> Image.Image:
    square = Image.new("RGBA", (SIDE_PIXELS, SIDE_PIXELS))
    square.paste(image, ((SIDE_PIXELS - image.width) // 2, (SIDE_PIXELS - image.height) // 2))
    return square


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, required=True, help="folder of the unpacked packages")
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="WordNet's database")
    parser.add_argument("--photos", type=Path, help="folder of photographs with metadata.jsonl")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--sets", default="", help="only these icon sets, comma-separated; no clip art")
    parser.add_argument("--limit", type=int, help="at most so many pictures")
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    parser.add_argument("--dry-run", action="store_true", help="say what would be chosen and stop")
    return parser.parse_args()


if __name__ == "__main__":
    main()
