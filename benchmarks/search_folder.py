"""How fast a folder is indexed, beside the model alone and beside rclip; parts of `search.py`.

What is compared. `engine` is `Engine.embed_images` on the same files: they are read, decoded, resized and
sent through the image tower, and the vectors returned. `index` is `build_index` on them: besides, files are
hashed, their EXIF, XMP and IPTC read, everything written to the disk, and thresholds measured. `tower` is the
image tower alone, on pixels that lie ready. All run in one process that has run them before, in turns.
rclip and clipworks are compared as programs, from their start to the answer to a first question, with random
weights of one shape (rclip's model, ViT-B/32 at 256 pixels), both with what they keep between runs in place.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import clipworks
from benchmarks.machine import summarise
from clipworks.errors import ConfigError
from clipworks.model.pipeline import computed_ahead
from clipworks.search.build import build_index

GALLERY = Path(clipworks.__file__).parent / "gallery" / "images"
BATCH = 32
SQUARES = 1024
"""Pixels that lie ready in memory; the tower reads them again and again."""


def folder(arguments: argparse.Namespace) -> dict[str, Any]:
    """Pictures as JPEG files: the tower alone, the engine alone, and an index of them."""
    engine = clipworks.load(arguments.model)
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "pictures"
        paths = jpeg_files(source, arguments.pictures, arguments.photos)
        squares = np.stack([engine.prepare_image(path) for path in paths[:SQUARES]])

        def batches() -> Iterator[Any]:
            for start in range(0, len(paths), BATCH):
                first = start % max(1, len(squares) - BATCH)
                yield squares[first : first + min(BATCH, len(paths) - start)]

        def tower() -> None:
            with computed_ahead(batches(), engine.embed_pixels) as computed:
                for _ in computed:
                    pass

        def build() -> None:
            shutil.rmtree(Path(place) / "index", ignore_errors=True)
            build_index(source, Path(place) / "index", engine)

        calls: dict[str, Callable[[], Any]] = {
            "engine": lambda: engine.embed_images(paths),
            "index": build,
            "tower": tower,
        }
        rows = in_turns(calls, arguments.rounds, "s")
        size = sum(path.stat().st_size for path in paths)
    share = rows["index"]["times_as_fast"]
    return {
        "pictures": len(paths),
        "mb": round(size / 1e6, 1),
        "model": engine.name,
        "precision": engine.precision,
        "seconds": rows,
        "share_of_engine_rate": share,
        "share_of_engine_rate_by_processor_time": round(1 / rows["index"]["processor_ratio_to_engine"], 3),
        "share_of_tower_rate": round(share / rows["tower"]["times_as_fast"], 3),
    }


def rclip(arguments: argparse.Namespace) -> dict[str, Any]:
    """Both programs from their start to the answer to a first question; their models are of one shape.

    Raises:
        ConfigError: the program or its model are not named.
    """
    if not arguments.rclip or "RCLIP_DATADIR" not in os.environ:
        raise ConfigError("Name the program with --rclip, and its model's folder with RCLIP_DATADIR.")
    own = [sys.executable, "-m", "clipworks"]
    with tempfile.TemporaryDirectory() as place:
        source, out = Path(place) / "pictures", Path(place) / "index"
        paths = jpeg_files(source, arguments.pictures, arguments.photos)

        def theirs() -> None:
            for path in Path(os.environ["RCLIP_DATADIR"]).glob("db.sqlite3*"):
                path.unlink()
            command = [arguments.rclip, "--filepath-only", "a dog"]
            done = subprocess.run(command, cwd=source, check=True, capture_output=True, text=True)
            assert source.name in done.stdout, done.stderr

        def ours() -> None:
            shutil.rmtree(out, ignore_errors=True)
            build = [*own, "index", str(source), "--out", str(out), "--model", arguments.model]
            for command in (build, [*own, "search", str(out), "a dog"]):
                subprocess.run(command, check=True, capture_output=True)

        calls = {"rclip": theirs, "clipworks": ours}
        rows = in_turns(calls, arguments.rounds, "s", is_warm=True)
    return {"pictures": len(paths), "model": Path(arguments.model).name, "seconds": rows}


def in_turns(
    calls: dict[str, Callable[[], Any]], rounds: int, unit: str = "ms", *, is_warm: bool = False
) -> dict[str, Any]:
    """Each call once a round; the first one is the peer that ratios are to.

    A round before does not count, unless everything is warm already.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for number in range(rounds + (not is_warm)):
        for name, call in calls.items():
            start, processor = time.perf_counter(), time.process_time()
            call()
            if number or is_warm:
                times[name].append((time.perf_counter() - start, time.process_time() - processor))
    peer = next(iter(calls))
    found: dict[str, Any] = {}
    for name, own in times.items():
        ratios = [
            [mine / theirs for mine, theirs in zip(*pair, strict=True)]
            for pair in zip(own, times[peer], strict=True)
        ]
        ratio, processor_ratio = (statistics.median(some) for some in zip(*ratios, strict=True))
        factor = 1000 if unit == "ms" else 1
        found[name] = {
            **summarise([factor * seconds for seconds, _ in own], unit),
            f"ratio_to_{peer}": round(ratio, 3),
        }
        found[name]["times_as_fast"] = round(1 / ratio, 3 if unit == "s" else 2)
        found[name][f"processor_ratio_to_{peer}"] = round(processor_ratio, 3)
    return found


def jpeg_files(folder: Path, most: int = 10_000, photos: Path | None = None) -> list[Path]:
    """The gallery's pictures at 640 x 480, as photographs have them after a phone's mail; between them other
    photographs, as they are."""
    folder.mkdir(parents=True)
    gallery = sorted(GALLERY.iterdir())
    further = sorted(photos.rglob("*.jpg")) if photos is not None else []
    both = chain.from_iterable(zip_longest(gallery, further[:: max(1, len(further) // len(gallery))]))
    paths = []
    for number, path in enumerate([path for path in both if path is not None][:most]):
        target = folder / f"{number:05d}.jpg"
        if path.suffix == ".jpg":
            shutil.copy(path, target)
        else:
            with Image.open(path) as picture:
                picture.convert("RGB").resize((640, 480)).save(target, quality=85)
        paths.append(target)
    return paths
