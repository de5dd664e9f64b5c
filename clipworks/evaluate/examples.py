"""Pictures that a model got wrong, of the classes it does worst on: small PNG files beside a result."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clipworks.evaluate.pictures import Pictures
from clipworks.evaluate.prepare import png_bytes
from clipworks.files import atomic_write
from clipworks.model.engine import Engine

CLASSES, PER_CLASS, SIDE_PIXELS = 4, 3, 96


def write_examples(
    engine: Engine,
    shards: Iterable[Pictures],
    units: Mapping[str, Any],
    classes: tuple[str, ...],
    folder: Path,
    name: str,
) -> list[dict[str, Any]]:
    """Write some pictures of the worst classes.

    Args:
        engine: prepares pictures as the model sees them.
        shards: of the task, in order.
        units: columns `label` and `prediction` of its pictures.
        classes: names by number.
        folder: of the results.
        name: of the task's files.

    Returns:
        File, class, what was said and name of each picture.
    """
    labels, said = units["label"], units["prediction"]
    counts = np.bincount(labels, minlength=len(classes))
    hits = np.bincount(labels[labels == said], minlength=len(classes))
    recalls = np.where(counts > 0, hits / np.maximum(counts, 1), np.inf)
    worst = [int(number) for number in np.argsort(recalls, kind="stable")[:CLASSES] if recalls[number] < 1]
    wanted = [
        int(row)
        for number in worst
        for row in np.flatnonzero((labels == number) & (said != number))[:PER_CLASS]
    ]
    found: dict[int, dict[str, Any]] = {}
    start = 0
    for shard in shards:
        rows = [row for row in wanted if start <= row < start + len(shard)]
        for row, data in zip(rows, shard.read([row - start for row in rows]), strict=True):
            pixels = engine.prepare_image(data, shard.keys[row - start])
            step = -(-len(pixels) // SIDE_PIXELS)
            file = f"{name}-{row}.png"
            with atomic_write(folder / file) as target:
                target.write(png_bytes(np.ascontiguousarray(pixels[::step, ::step])))
            found[row] = {
                "file": file,
                "class": classes[int(labels[row])],
                "said": classes[int(said[row])],
                "picture": shard.keys[row - start],
            }
        start += len(shard)
    return [found[row] for row in wanted]
