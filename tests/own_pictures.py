"""Small pictures of coloured squares on noise: a data set of one's own, in the forms that `--data` takes."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 60, 220)}


def drawn(colour: str, number: int) -> bytes:
    """A PNG of 32 pixels: a square of the colour, a little different for every number."""
    random = np.random.default_rng([number, *COLOURS[colour]])
    pixels = random.integers(60, 200, (32, 32, 3))
    top, left = random.integers(2, 12, 2)
    pixels[top : top + 16, left : left + 16] = np.array(COLOURS[colour]) + random.integers(-30, 30, 3)
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_classes(folder: Path, per_class: int = 10, colours: tuple[str, ...] = tuple(COLOURS)) -> Path:
    """`folder/COLOUR/NN.png`."""
    for colour in colours:
        (folder / colour).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            (folder / colour / f"{number:02d}.png").write_bytes(drawn(colour, number))
    return folder


def write_captions(folder: Path, per_class: int = 8) -> Path:
    """`folder/captions.jsonl` beside the pictures, several with one caption and some with two."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for colour in COLOURS:
        for number in range(per_class):
            name = f"{colour}-{number}.png"
            (folder / name).write_bytes(drawn(colour, number))
            rows.append({"file": name, "captions": [f"a {colour} square", f"{colour} number {number}"]})
    write_list(folder / "captions.jsonl", rows)
    return folder


def write_list(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
