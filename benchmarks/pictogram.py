"""Scores of a model on pictures that `pictogram` never saw: `python -m benchmarks.pictogram`.

emoji3d           822 3-D emoji of npm @lobehub/fluent-emoji-3d (no version of Fluent Emoji is in
                  training): zero-shot over 44 classes, and the name of each among all names
openclipart       500 drawings held out by `recipes/pictogram_drawings.py`: title among titles
photographs       test split of a folder with metadata.jsonl (--photos): zero-shot over its labels

Packages are fetched with npm and apt-get into build/packages unless given; without apt-get the clip
art is left out.
"""

import argparse
import hashlib
import io
import json
import math
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import clipworks
from benchmarks.machine import ROOT, write_result
from clipworks.model.engine import Engine

EMOJI3D = ROOT / "benchmarks" / "emoji3d.jsonl"
"""Code points, class and name of each of the 822 pictures."""

HELD_OUT = ROOT / "benchmarks" / "openclipart_held_out.json"
"""Path, title and sha256 of each of the 500 drawings."""

EMOJI_PACKAGE = "@lobehub/fluent-emoji-3d@1.1.0"
EMOJI_SHA256 = "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"
CLIP_ART_PACKAGE = "openclipart-svg=1:0.18+dfsg-19"

CLASS_TEMPLATES = ("{}", "a picture of a {}", "an icon of a {}", "a drawing of a {}")
PHOTO_TEMPLATES = ("{}", "a photo of a {}")
NAME_TEMPLATES = ("{}",)
SIDE_PIXELS = 224

Scores = dict[str, Any]


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
    if (clip_art := arguments.clip_art or fetch_clip_art()) is not None:
        results |= score_clip_art(engine, clip_art)
    if arguments.photos is not None:
        results |= score_photographs(engine, arguments.photos)
    write_result(arguments.name, results)


def score_emoji3d(engine: Engine, package: Path) -> Scores:
    """Zero-shot accuracy over the classes, and recall of the name among all names.

    Args:
        engine: the model.
        package: the packed npm package, or its unpacked folder.
    """
    rows = [json.loads(line) for line in EMOJI3D.read_text(encoding="utf-8").splitlines()]
    pictures = read_emoji(package)
    vectors = engine.embed_images([pictures[row["code"]] for row in rows])
    classes = sorted({row["class"] for row in rows})
    truth = np.array([classes.index(row["class"]) for row in rows])
    head = engine.label_head(classes, list(CLASS_TEMPLATES))
    names = engine.label_head([row["name"] for row in rows], list(NAME_TEMPLATES))
    return {
        "emoji3d_zero_shot": _accuracy(vectors @ head.T, truth) | {"templates": CLASS_TEMPLATES},
        "emoji3d_name": _recalls(vectors @ names.T) | {"templates": NAME_TEMPLATES},
    }


def score_clip_art(engine: Engine, package: Path) -> Scores:
    """Recall of the title of each held-out drawing among all their titles.

    Args:
        engine: the model.
        package: the Debian package, or its unpacked folder.
    """
    rows = json.loads(HELD_OUT.read_bytes())
    with tempfile.TemporaryDirectory() as scratch:
        folder = package
        if package.is_file():
            subprocess.run(["dpkg-deb", "-x", package, scratch], check=True)
            folder = Path(scratch)
        root = folder / "usr/share/openclipart/svg"
        drawn = [(row["title"], _draw(root / row["path"], row["sha256"])) for row in rows]
    pairs = [(title, image) for title, image in drawn if image is not None]
    vectors = engine.embed_images([image for _, image in pairs])
    titles = engine.label_head([title for title, _ in pairs], list(NAME_TEMPLATES))
    return {"openclipart_title": _recalls(vectors @ titles.T) | {"templates": NAME_TEMPLATES}}


def score_photographs(engine: Engine, folder: Path) -> Scores:
    """Zero-shot accuracy on the test split, over all its labels; flowers are not in training."""
    lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == "test"]
    labels = sorted({row["label"] for row in rows})
    vectors = engine.embed_images([folder / row["file"] for row in rows])
    head = engine.label_head(labels, list(PHOTO_TEMPLATES))
    truth = np.array([labels.index(row["label"]) for row in rows])
    return {"photographs_zero_shot": _accuracy(vectors @ head.T, truth) | {"templates": PHOTO_TEMPLATES}}


def wilson(successes: int, count: int) -> list[float]:
    """95 % interval of a share, in per cent, after Wilson (1927)."""
    z = 1.96
    share = successes / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 100 / (1 + z * z / count)
    return [round((middle - half) * scale, 1), round((middle + half) * scale, 1)]


def _accuracy(cosines: NDArray[np.float32], truth: NDArray[np.intp]) -> Scores:
    """cosines float32 [N, L], truth [N] in 0..L-1."""
    hits = int((cosines.argmax(axis=1) == truth).sum())
    chance = round(100 / cosines.shape[1], 1)
    return {"classes": cosines.shape[1], "chance": chance, "n": len(truth), "top1": _share(hits, len(truth))}


def _recalls(cosines: NDArray[np.float32]) -> Scores:
    """cosines float32 [N, N], the true text of picture i at [i, i]; an equal cosine counts as ahead."""
    ahead = (cosines >= cosines.diagonal()[:, None]).sum(axis=1) - 1
    count = len(ahead)
    return {
        "n": count,
        **{f"recall_at_{k}": _share(int((ahead < k).sum()), count) for k in (1, 10)},
        "median_rank": int(np.median(ahead)) + 1,
    }


def _share(hits: int, count: int) -> Scores:
    return {"unit": "%", "value": round(100 * hits / count, 1), "interval_95": wilson(hits, count)}


def read_emoji(package: Path) -> dict[str, Image.Image]:
    """Pictures on white by code points, `1f98a`."""
    if package.is_dir():
        data = {path.stem: path.read_bytes() for path in sorted((package / "assets").glob("*.webp"))}
    else:
        with tarfile.open(package) as tar:
            files = ((Path(member.name).stem, tar.extractfile(member)) for member in tar if member.isfile())
            data = {stem: file.read() for stem, file in files if file is not None}
    wanted = {json.loads(line)["code"] for line in EMOJI3D.read_text(encoding="utf-8").splitlines()}
    bare = {stem.replace("-fe0f", ""): value for stem, value in data.items()}
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
    parser.add_argument("--name", default="pictogram", help="the result is benchmarks/results/NAME.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
