"""Scores of a model on pictures that `pictogram` never saw: `python -m benchmarks.pictogram`.

emoji3d           822 3-D emoji of npm @lobehub/fluent-emoji-3d (no version of Fluent Emoji is in
                  training): zero-shot over 44 classes, and the name of each among all names
openclipart       500 drawings held out by `recipes/pictogram_drawings.py`: title among titles
photographs       test split of a folder with metadata.jsonl (--photos): zero-shot over its labels, with and
                  without the five flowers, which are in no training
fashion_mnist     10,000 pictures of clothes (--fashion): zero-shot over 10 classes
emoji_all_name    every 3-D emoji without a skin tone, its name among all of a language (--emojibase)

Packages are fetched with npm and apt-get into build/packages unless given; without apt-get the clip
art is left out.
"""

import argparse
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import clipworks
from benchmarks.machine import ROOT, write_result
from benchmarks.suites import (
    LANGUAGES,
    NAME_TEMPLATES,
    Scores,
    Suite,
    emoji_names,
    fashion_suite,
    is_flower,
    photograph_suite,
    score_suite,
)
from clipworks.model.engine import Engine

EMOJI3D = ROOT / "benchmarks" / "emoji3d.jsonl"
"""Code points, class and name of each of the 822 pictures."""

HELD_OUT = ROOT / "benchmarks" / "openclipart_held_out.json"
"""Path, title and sha256 of each of the 500 drawings."""

EMOJI_PACKAGE = "@lobehub/fluent-emoji-3d@1.1.0"
EMOJI_SHA256 = "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"
CLIP_ART_PACKAGE = "openclipart-svg=1:0.18+dfsg-19"

CLASS_TEMPLATES = ("{}", "a picture of a {}", "an icon of a {}", "a drawing of a {}")
SIDE_PIXELS = 224
_SKIN_TONE = re.compile("1f3f[b-f]")


def main() -> None:
    arguments = _arguments()
    engine = clipworks.load(arguments.model, precision=arguments.precision)
    results: Scores = {
        "model": engine.name,
        "fingerprint": engine.fingerprint,
        "precision": engine.precision,
        "image_size": engine.image_size,
    }
    results |= score_emoji3d(engine, arguments.emoji or fetch_emoji())
    if shutil.which("rsvg-convert") is None:
        sys.stderr.write("The clip art is left out: rsvg-convert (librsvg2-bin) is not installed.\n")
    elif (clip_art := arguments.clip_art or fetch_clip_art()) is not None:
        results |= score_clip_art(engine, clip_art)
    if arguments.photos is not None:
        results |= score_suite(engine, photograph_suite(arguments.photos))
        results |= score_suite(engine, photograph_suite(arguments.photos, without=is_flower))
    if arguments.fashion is not None:
        results |= score_suite(engine, fashion_suite(arguments.fashion))
    if arguments.emojibase is not None:
        results |= score_languages(engine, arguments.emoji or fetch_emoji(), arguments.emojibase)
    write_result(arguments.name, results)


def score_emoji3d(engine: Engine, package: Path) -> Scores:
    """Zero-shot accuracy over the classes, and recall of the name among all names.

    Args:
        engine: the model.
        package: the packed npm package, or its unpacked folder.
    """
    by_class, by_name = emoji3d_suites(package)
    vectors = engine.embed_images(list(by_class.pictures))
    return score_suite(engine, by_class, vectors) | score_suite(engine, by_name, vectors)


def emoji3d_suites(package: Path) -> tuple[Suite, Suite]:
    """The 822 pictures and which class, and which name, each has."""
    rows = [json.loads(line) for line in EMOJI3D.read_text(encoding="utf-8").splitlines()]
    pictures = read_emoji(package, [row["code"] for row in rows])
    drawn = [pictures[row["code"]] for row in rows]
    classes = sorted({row["class"] for row in rows})
    return (
        Suite(
            name="emoji3d_zero_shot",
            kind="classes",
            pictures=drawn,
            texts=tuple(classes),
            truth=np.array([classes.index(row["class"]) for row in rows]),
            templates=CLASS_TEMPLATES,
        ),
        Suite(
            name="emoji3d_name",
            kind="names",
            pictures=drawn,
            texts=tuple(row["name"] for row in rows),
            truth=np.arange(len(rows)),
            templates=NAME_TEMPLATES,
        ),
    )


def score_languages(engine: Engine, package: Path, emojibase: Path) -> Scores:
    """Recall of the name of every 3-D emoji without a skin tone, among all names of a language.

    Args:
        engine: the model.
        package: the packed npm package of the 3-D emoji, or its unpacked folder.
        emojibase: the unpacked emojibase-data.
    """
    pictures = read_emoji(package)
    codes = [code for code in pictures if not _SKIN_TONE.search(code)]
    known = sorted(emoji_names(emojibase, codes, "en"))
    vectors = engine.embed_images([pictures[code] for code in known])
    results: Scores = {}
    for language in LANGUAGES:
        names = emoji_names(emojibase, known, language)
        places = [place for place, code in enumerate(known) if code in names]
        suite = Suite(
            name=f"emoji_all_name_{language}",
            kind="names",
            pictures=(),
            texts=tuple(names[known[place]] for place in places),
            truth=np.arange(len(places)),
            templates=NAME_TEMPLATES,
        )
        results |= score_suite(engine, suite, vectors[places])
    others = [results[f"emoji_all_name_{language}"]["recall_at_10"]["value"] for language in LANGUAGES[1:]]
    return results | {"emoji_all_name_recall_at_10_of_others": round(sum(others) / len(others), 1)}


def score_clip_art(engine: Engine, package: Path) -> Scores:
    """Recall of the title of each held-out drawing among all their titles.

    Args:
        engine: the model.
        package: the Debian package, or its unpacked folder.
    """
    return score_suite(engine, clip_art_suite(package))


def clip_art_suite(package: Path) -> Suite:
    """The held-out drawings that rsvg-convert can draw, and their titles."""
    rows = json.loads(HELD_OUT.read_bytes())
    with tempfile.TemporaryDirectory() as scratch:
        folder = package
        if package.is_file():
            subprocess.run(["dpkg-deb", "-x", package, scratch], check=True)
            folder = Path(scratch)
        root = folder / "usr/share/openclipart/svg"
        drawn = [(row["title"], _draw(root / row["path"], row["sha256"])) for row in rows]
    pairs = [(title, image) for title, image in drawn if image is not None]
    return Suite(
        name="openclipart_title",
        kind="names",
        pictures=[image for _, image in pairs],
        texts=tuple(title for title, _ in pairs),
        truth=np.arange(len(pairs)),
        templates=NAME_TEMPLATES,
    )


def read_emoji(package: Path, codes: Sequence[str] | None = None) -> dict[str, Image.Image]:
    """Pictures on white by code points, `1f98a`, without those that only ask for colours; None is all."""
    if package.is_dir():
        data = {path.stem: path.read_bytes() for path in sorted((package / "assets").glob("*.webp"))}
    else:
        with tarfile.open(package) as tar:
            files = ((Path(member.name), tar.extractfile(member)) for member in tar if member.isfile())
            data = {
                path.stem: file.read() for path, file in files if file is not None and path.suffix == ".webp"
            }
    bare = {stem.replace("-fe0f", ""): value for stem, value in data.items()}
    wanted = set(bare if codes is None else codes)
    if missing := sorted(wanted - bare.keys()):
        sys.exit(f"{package} lacks {len(missing)} of the pictures, the first is {missing[0]}.")
    return {code: _on_white(bare[code]) for code in sorted(wanted)}


def _draw(path: Path, sha256: str) -> Image.Image | None:
    """A drawing on white, or None if rsvg-convert cannot draw it."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        sys.exit(f"{path} is not the file of the held-out list; use {CLIP_ART_PACKAGE}.")
    side = str(SIDE_PIXELS)
    command = ["rsvg-convert", "--width", side, "--height", side, "--keep-aspect-ratio", str(path)]
    done = subprocess.run(command, capture_output=True, timeout=60)
    if done.returncode != 0:
        return None
    drawing = _on_white(done.stdout)
    square = Image.new("RGB", (SIDE_PIXELS, SIDE_PIXELS), "white")
    square.paste(drawing, ((SIDE_PIXELS - drawing.width) // 2, (SIDE_PIXELS - drawing.height) // 2))
    return square


def _on_white(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        picture = image.convert("RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(ground, picture).convert("RGB")


def fetch_emoji() -> Path:
    """The packed npm package in build/packages, fetched if it is not there."""
    folder = ROOT / "build" / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lobehub-fluent-emoji-3d-1.1.0.tgz"
    if not path.is_file():
        subprocess.run(["npm", "pack", "--silent", EMOJI_PACKAGE], cwd=folder, check=True, stdout=sys.stderr)
    if hashlib.sha256(path.read_bytes()).hexdigest() != EMOJI_SHA256:
        sys.exit(f"{path} is not the package it should be; delete it and try again.")
    return path


def fetch_clip_art() -> Path | None:
    """The Debian package in build/packages, fetched if it is not there; None where apt-get has it not."""
    folder = ROOT / "build" / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    command = ["apt-get", "download", "-qq", CLIP_ART_PACKAGE]
    try:
        if not list(folder.glob("openclipart-svg_*.deb")):
            subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError):
        sys.stderr.write(f"The clip art is left out: {' '.join(command)} failed.\n")
        return None
    return next(folder.glob("openclipart-svg_*.deb"))


def _arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Score a model on pictures that pictogram never saw.")
    parser.add_argument("--model", default="pictogram", help="name or folder of a model")
    parser.add_argument("--precision", default="auto", help="auto, f32, bf16 or int8")
    parser.add_argument("--emoji", type=Path, help=f"npm package {EMOJI_PACKAGE}, packed or unpacked")
    parser.add_argument(
        "--clip-art", type=Path, help=f"Debian package {CLIP_ART_PACKAGE}, packed or unpacked"
    )
    parser.add_argument("--photos", type=Path, help="folder of photographs with metadata.jsonl")
    parser.add_argument("--fashion", type=Path, help="folder of Debian's dataset-fashion-mnist, unpacked")
    parser.add_argument("--emojibase", type=Path, help="folder of npm's emojibase-data, unpacked")
    parser.add_argument("--name", default="pictogram", help="the result is benchmarks/results/NAME.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
