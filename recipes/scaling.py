"""The scaling study behind `pictogram`'s shape: width, depth, patch, pixels and samples, on one curated pool.

`python -m recipes.ablation pictures SHARDS WORK --side 64` and `… suites … --side 64 WORK` come first;
`python -m recipes.scaling WORK --tables SHARDS` then trains and scores what is not there yet, cheapest
first, and writes benchmarks/results/scaling.json and WORK/scaling.svg. `--only NAME` takes one shape.
"""

import argparse
import pickle
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import write_result
from benchmarks.suites import Suite
from clipworks.files import atomic_write, read_json, write_json
from clipworks.model.config import ClipConfig, TextConfig, VisionConfig
from clipworks.plots import Line, draw_lines
from clipworks.train.config import TrainConfig
from clipworks.train.recipes import pictogram
from recipes.ablation import read_entry, train_and_score
from recipes.ablation_report import MEASURES

BATCH_SIZE = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """A model and how its patches are shown."""

    width: int
    layers: int
    patch: int
    dropout: float
    """Share of patches left out in training."""
    side: int = 64
    """Of its pictures, in pixels: a divisor of that of the pool's."""
    text_width: int = 192
    text_layers: int = 4

    @property
    def name(self) -> str:
        """For folders and legends."""
        pixels = "" if self.side == 64 else f"-s{self.side}"
        return f"{self.width}x{self.layers}-p{self.patch}-d{round(100 * self.dropout)}{pixels}"

    def config(self, steps: int, seed: int) -> TrainConfig:
        """`pictogram`'s training with this shape."""
        return replace(
            pictogram(),
            model=ClipConfig(
                vision=_vision(self),
                text=TextConfig(
                    width=self.text_width,
                    layers=self.text_layers,
                    heads=self.text_width // 64,
                    mlp_width=4 * self.text_width,
                ),
                embed_dim=256,
                activation="gelu",
            ),
            steps=steps,
            batch_size=BATCH_SIZE,
            warmup_steps=min(100, steps // 10),
            schedule="cosine",
            cooldown_steps=0,
            ema_decay=0.0,
            patch_dropout=self.dropout,
            unmasked_steps=steps // 12 if self.dropout else 0,
            seed=seed,
        )

    def multiplications(self) -> float:
        """Of the image tower for one picture, forward, by parameters and patches shown."""
        patches = (self.side // self.patch) ** 2
        shown = 1 + round(patches * (1 - self.dropout))
        block = 12 * self.width**2 * shown + 2 * self.width * shown**2
        return float(self.layers * block + 3 * self.patch**2 * self.width * patches)


SHAPES = (
    Shape(width=192, layers=4, patch=16, dropout=0.0),
    Shape(width=192, layers=6, patch=8, dropout=0.5),
    Shape(width=256, layers=6, patch=16, dropout=0.0),
    Shape(width=256, layers=6, patch=8, dropout=0.0, side=32),
    Shape(width=256, layers=6, patch=8, dropout=0.75),
    Shape(width=256, layers=6, patch=8, dropout=0.5),
    Shape(width=256, layers=6, patch=8, dropout=0.0),
    Shape(width=256, layers=10, patch=16, dropout=0.0),
    Shape(width=384, layers=6, patch=16, dropout=0.0),
    Shape(width=384, layers=6, patch=8, dropout=0.5),
)
STEPS = (200, 600, 1800)
"""51 k, 154 k and 461 k samples seen."""


def main() -> None:
    """Train what is missing, then write the results."""
    options = _parse_arguments()
    suites: list[Suite] = pickle.loads((options.work / "suites.pickle").read_bytes())
    todo = [(shape, steps) for steps in STEPS for shape in SHAPES if options.only in (None, shape.name)]
    todo.sort(key=lambda one: one[0].multiplications() * one[1])
    dataset = None
    for shape, steps in todo:
        out = options.work / "shapes" / f"{shape.name}-{steps}-{options.seed}"
        if steps > options.most_steps or (out / "scores.json").exists():
            continue
        config = shape.config(steps, options.seed)
        if dataset is None:
            dataset = read_entry(options.tables, options.work, config, is_weighted=True)
        shown = replace(dataset, pictures=reduce_pictures(dataset.pictures, shape.side))
        train_and_score(f"{shape.name}-{steps}", config, shown, suites, out)
        write_json(out / "shape.json", {"shape": shape.name, "multiplications": shape.multiplications()})
    write_report(options.work)


def reduce_pictures(pictures: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Pictures with fewer pixels: each the mean of those that it stands for, weighted by how opaque they are.

    Args:
        pictures: uint8 [N, S, S, 4], not premultiplied.
        side: S or a divisor of it.

    Returns:
        uint8 [N, side, side, 4]; the argument itself where the size is right already.

    Raises:
        ValueError: S is no multiple of `side`.
    """
    count, old = pictures.shape[:2]
    if old == side:
        return pictures
    if old % side:
        raise ValueError(f"Pictures of {old} pixels cannot be reduced to {side}: it is no divisor.")
    small = np.empty((count, side, side, 4), np.uint8)
    for start in range(0, count, 1024):
        part = pictures[start : start + 1024].astype(np.float32)
        part[..., :3] *= part[..., 3:]
        summed = part.reshape(-1, side, old // side, side, old // side, 4).sum((2, 4))
        small[start : start + 1024, ..., :3] = np.rint(summed[..., :3] / np.maximum(summed[..., 3:], 1))
        small[start : start + 1024, ..., 3] = np.rint(summed[..., 3] / (old // side) ** 2)
    return small


def write_report(work: Path) -> None:
    """The results as JSON and as a plot of the mean of the suites over arithmetic."""
    rows = [_row(path) for path in sorted(work.glob("shapes/*/scores.json")) if _shape(path).exists()]
    if not rows:
        return
    write_result("scaling", {"runs": sorted(rows, key=lambda row: row["arithmetic"])})
    curves: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row["arithmetic"]):
        seed = f", seed {row['seed']}" if row["seed"] else ""
        curves[row["shape"] + seed].append(row)
    lines = [
        Line(
            label=name,
            xs=[row["arithmetic"] / 1e12 for row in some],
            ys=[row["mean"] for row in some],
        )
        for name, some in curves.items()
    ]
    drawing = draw_lines(
        lines,
        title="Mean of five suites by the image tower's arithmetic",
        x_label="million million multiplications in training",
        y_label="%",
    )
    with atomic_write(work / "scaling.svg") as file:
        file.write(drawing.encode())


def _row(path: Path) -> dict[str, Any]:
    found, shape = read_json(path), read_json(_shape(path))
    values = {suite: found["scores"][suite][measure]["value"] for suite, (measure, _) in MEASURES.items()}
    return {
        "shape": shape["shape"],
        "seed": found["seed"],
        "samples_seen": found["samples_seen"],
        "arithmetic": 3 * shape["multiplications"] * found["samples_seen"],
        "core_seconds": found["core_seconds"],
        **values,
        "mean": round(sum(values.values()) / len(values), 2),
    }


def _shape(path: Path) -> Path:
    return path.with_name("shape.json")


def _vision(shape: Shape) -> VisionConfig:
    return VisionConfig(
        image_size=shape.side,
        patch_size=shape.patch,
        width=shape.width,
        layers=shape.layers,
        heads=shape.width // 64,
        mlp_width=4 * shape.width,
    )


def _parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder with pictures.npy, rows.json and suites.pickle")
    parser.add_argument("--tables", type=Path, required=True, help="folder of the shards or their tables")
    parser.add_argument("--only", choices=[shape.name for shape in SHAPES], help="one shape")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most-steps", type=int, default=max(STEPS), help="no longer runs than this")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
