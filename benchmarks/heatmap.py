"""Whether heat maps point at the right half of a picture; writes benchmarks/results/heatmap.json.

Two gallery pictures of different captions are pasted side by side on white, and each caption is asked for:
does the highest cosine lie in its half? Guessing is right in half of the cases. `patch values` are what
`Engine.heat_maps` reads; `last layer` are the patches as the whole last block leaves them, which is what one
would take without thinking. `pictures apart` is how often the model tells the two pictures from each other
by the caption when it sees each alone: more than that cannot be asked of a map.
"""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import clipworks
from benchmarks.machine import write_result
from clipworks.model.engine import Engine

NUM_PAIRS = 500
SIDE = 128
SEED = 10
GALLERY = Path(clipworks.__file__).parent / "gallery"

Row = dict[str, Any]


def main() -> None:
    engine = clipworks.load("pictogram", precision="f32")
    lines = (GALLERY / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    results: dict[str, Any] = {"chance": 0.5}
    for kind in sorted({row["kind"] for row in rows}):
        pairs = choose_pairs([row for row in rows if row["kind"] == kind], NUM_PAIRS)
        results[kind] = measure(engine, pairs)
    write_result("heatmap", results)


def choose_pairs(rows: Sequence[Row], count: int) -> list[tuple[Row, Row]]:
    """Rows of the gallery's metadata, two and two, of different captions; always the same."""
    chance, pairs = random.Random(SEED), list[tuple[Row, Row]]()
    while len(pairs) < count:
        one, other = chance.sample(rows, 2)
        if one["caption"] != other["caption"]:
            pairs.append((one, other))
    return pairs


def measure(engine: Engine, pairs: Sequence[tuple[Row, Row]]) -> dict[str, Any]:
    """Shares with their 95 % intervals, and n, the number of questions."""
    texts = [engine.embed_texts([pair[side]["caption"] for pair in pairs]) for side in (0, 1)]
    alone = [engine.embed_images([GALLERY / pair[side]["file"] for pair in pairs]) for side in (0, 1)]
    pixels = [engine.prepare_image(_side_by_side(*pair)) for pair in pairs]
    grid, width = engine.config.vision.grid, engine.dim
    values = np.concatenate([engine.embed_patches(np.stack(part)) for part in _parts(pixels)])
    last = engine.features.patch_features(
        [Image.fromarray(one) for one in pixels], is_projected=True
    ).reshape(-1, grid, grid, width)
    last /= np.linalg.norm(last, axis=-1, keepdims=True)
    apart = [(alone[s] * texts[s]).sum(-1) > (alone[1 - s] * texts[s]).sum(-1) for s in (0, 1)]
    return {
        "n": 2 * len(pairs),
        "patch_values": _share([_is_right(values, texts[s], s) for s in (0, 1)]),
        "last_layer": _share([_is_right(last, texts[s], s) for s in (0, 1)]),
        "pictures_apart": _share(apart),
    }


def _parts(pixels: Sequence[npt.NDArray[np.uint8]]) -> list[Sequence[npt.NDArray[np.uint8]]]:
    return [pixels[start : start + 50] for start in range(0, len(pixels), 50)]


def _side_by_side(left: Row, right: Row) -> Image.Image:
    """Both pictures in the middle row of a white square."""
    canvas = Image.new("RGB", (2 * SIDE, 2 * SIDE), "white")
    for place, row in enumerate((left, right)):
        image = Image.open(GALLERY / row["file"]).convert("RGBA")
        image.thumbnail((SIDE, SIDE))
        corner = (place * SIDE + (SIDE - image.width) // 2, SIDE // 2 + (SIDE - image.height) // 2)
        canvas.paste(image, corner, image)
    return canvas


def _is_right(
    patches: npt.NDArray[np.float32], texts: npt.NDArray[np.float32], side: int
) -> npt.NDArray[np.bool_]:
    grid = patches.shape[1]
    columns = np.einsum("nrcd,nd->nrc", patches, texts).reshape(len(patches), -1).argmax(axis=1) % grid
    found: npt.NDArray[np.bool_] = (columns >= grid // 2) == bool(side)
    return found


def _share(flags: Sequence[npt.NDArray[np.bool_]]) -> dict[str, float | list[float]]:
    """The share that is true, and its 95 % interval: the two questions of a pair count as one draw."""
    by_pair = np.stack(flags).mean(axis=0)
    spread = 1.96 * float(by_pair.std(ddof=1)) / len(by_pair) ** 0.5
    mean = float(by_pair.mean())
    return {"share": round(mean, 3), "interval": [round(mean - spread, 3), round(mean + spread, 3)]}


if __name__ == "__main__":
    main()
