"""A DataComp of our own: one pool, one model, one number of samples seen; what differs is the curation.

`python -m recipes.ablation pictures POOL WORK` decodes the pool once, `suites … WORK` the suites, `run ENTRY
--tables DIR --seed N WORK` trains and scores one entry, `table WORK` writes results, table and plot.
`recipes/ablation.sh` calls them all. An entry is a folder of tables that `clipworks curate` wrote.
"""

import argparse
import json
import os
import pickle
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import clipworks
from benchmarks.pictogram import clip_art_suite, emoji3d_suites
from benchmarks.suites import Scores, Suite, fashion_suite, is_flower, photograph_suite, score_suite
from clipworks.files import atomic_write, read_manifest, write_json
from clipworks.model.config import ClipConfig, TextConfig, VisionConfig
from clipworks.model.preprocess import prepare, prepare_rgba
from clipworks.model.tokenizer import tokenize
from clipworks.shards import read_shards
from clipworks.tables import read_batches
from clipworks.train.checkpoint import export
from clipworks.train.config import TrainConfig
from clipworks.train.distributed import join_processes
from clipworks.train.loader import Dataset
from clipworks.train.loader import read_batches as read_training_batches
from clipworks.train.probs import probs_of
from clipworks.train.recipes import pictogram
from clipworks.train.step import build_learner, take_step
from recipes.ablation_report import write_report

SIDE = 48
STEPS = 900
BATCH_SIZE = 128
FASHION_PICTURES = 2000

HAND_WEIGHTS = {
    "emoji": 8.0,
    "coloured": 2.0,
    "clip art": 2.0,
    "photograph": 2.0,
    "flag": 0.5,
    "glyph of a thing": 0.8,
    "glyph": 0.15,
}
"""The entry `hand`: how often a picture of a kind is drawn, relative to the others."""


def small_config(seed: int, *, steps: int = STEPS) -> TrainConfig:
    """The one training recipe: a tower of 16 patches and 0.9 million parameters, 115,200 samples seen."""
    model = ClipConfig(
        vision=VisionConfig(image_size=SIDE, patch_size=12, width=128, layers=4, heads=2, mlp_width=512),
        text=TextConfig(width=128, layers=2, heads=2, mlp_width=512),
        embed_dim=128,
        activation="gelu",
    )
    return replace(
        pictogram(),
        model=model,
        steps=steps,
        batch_size=BATCH_SIZE,
        warmup_steps=min(30, steps // 10),
        schedule="cosine",
        cooldown_steps=0,
        ema_decay=0.0,
        patch_dropout=0.0,
        unmasked_steps=0,
        seed=seed,
    )


def decode_pool(pool: Path, work: Path, side: int = SIDE) -> None:
    """All pictures of a pool as one array, uint8 [N, side, side, 4], and what their json says, in order."""
    count = int(read_manifest(pool)["rows"])
    pictures = np.lib.format.open_memmap(
        work / "pictures.part.npy", mode="w+", dtype=np.uint8, shape=(count, side, side, 4)
    )
    rows: list[dict[str, Any]] = []
    for sample in read_shards(pool):
        pictures[len(rows)] = prepare_rgba(sample.image, side)
        rows.append({name: sample.details[name] for name in ("uid", "mono", "kind", "probs")})
    pictures.flush()
    with atomic_write(work / "rows.json") as file:
        file.write(json.dumps(rows, ensure_ascii=False).encode())
    os.replace(work / "pictures.part.npy", work / "pictures.npy")
    sys.stderr.write(f"{len(rows)} of {count} pictures decoded.\n")


def prepare_suites(options: argparse.Namespace) -> None:
    """The pictures of the suites at the size of the model, once for all runs."""
    suites = [
        *emoji3d_suites(options.emoji),
        clip_art_suite(options.clip_art),
        photograph_suite(options.photos, without=is_flower),
        fashion_suite(options.fashion, FASHION_PICTURES),
    ]
    small = [
        replace(suite, pictures=[prepare(one, options.side) for one in suite.pictures]) for suite in suites
    ]
    with atomic_write(options.work / "suites.pickle") as file:
        pickle.dump(small, file)


def run(options: argparse.Namespace) -> None:
    """Train one entry with some seeds and write the scores of each, as far as they are not there."""
    places = {seed: options.work / "runs" / f"{options.entry}-{seed}" for seed in options.seed}
    left = {seed: out for seed, out in places.items() if not (out / "scores.json").exists()}
    if not left:
        return
    config = small_config(0, steps=options.steps)
    dataset = read_entry(options.tables, options.work, config, is_weighted=options.weights == "hand")
    suites: list[Suite] = pickle.loads((options.work / "suites.pickle").read_bytes())
    for seed, out in left.items():
        train_and_score(options.entry, replace(config, seed=seed), dataset, suites, out)


def train_and_score(
    entry: str, config: TrainConfig, dataset: Dataset, suites: Sequence[Suite], out: Path
) -> None:
    """Train one model into `out`, score it, and write `scores.json`."""
    started = time.process_time()
    last = _train(config, dataset, out)
    engine = clipworks.load(str(out), precision="f32")
    scores: Scores = {}
    for suite in suites:
        scores |= score_suite(engine, suite)
    result = {
        "entry": entry,
        "seed": config.seed,
        "pictures": int((dataset.weights > 0).sum()),
        "texts": sum(map(len, dataset.texts)),
        "samples_seen": config.steps * config.batch_size,
        "loss": last,
        "core_seconds": round(time.process_time() - started, 1),
        "scores": scores,
    }
    write_json(out / "scores.json", result)


def read_entry(tables: Path, work: Path, config: TrainConfig, *, is_weighted: bool) -> Dataset:
    """The decoded pool as an entry sees it: pictures that it dropped have the weight 0."""
    rows = json.loads((work / "rows.json").read_bytes())
    kept = _texts_by_uid(tables)
    numbers: dict[str, int] = {}
    texts: list[tuple[int, ...]] = []
    probs: list[tuple[float, ...]] = []
    weights = np.zeros(len(rows))
    for place, row in enumerate(rows):
        some = kept.get(row["uid"], ())
        texts.append(tuple(numbers.setdefault(text, len(numbers)) for text in some))
        probs.append(tuple(probs_of(some, row, row["uid"]) or [1.0] * len(some)))
        weights[place] = (HAND_WEIGHTS[row["kind"]] if is_weighted else 1.0) if some else 0.0
    tokens = tokenize(list(numbers), context_length=config.model.text.context_length)
    token_rows, places = np.unique(tokens, return_inverse=True)
    return Dataset(
        pictures=np.load(work / "pictures.npy", mmap_mode="r"),
        is_glyph=np.array([row["mono"] for row in rows]),
        weights=weights,
        texts=tuple(texts),
        probs=tuple(probs),
        tokens=places.reshape(tokens.shape),
        token_rows=token_rows,
    )


def _train(config: TrainConfig, dataset: Dataset, out: Path) -> float:
    """Train and export; the mean loss of the last 20 steps."""
    out.mkdir(parents=True, exist_ok=True)
    losses: list[float] = []
    with join_processes() as processes:
        learner = build_learner(config, dataset.token_rows, processes)
        for number, batch in enumerate(read_training_batches(dataset, config)):
            losses.append(take_step(learner, batch, number, time.perf_counter()).loss)
        weights = {name: value.detach().float().cpu().numpy() for name, value in learner.result().items()}
    export(out, weights, config.model, dataset.token_rows, None)
    return round(float(np.mean(losses[-20:])), 3)


def _texts_by_uid(tables: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted(tables.glob("*.parquet")):
        for batch in read_batches(path, ["uid", "texts"]):
            for uid, texts in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                found[uid] = [one["text"] for one in texts]
    return found


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    pictures = commands.add_parser("pictures", help="decode a pool")
    pictures.add_argument("pool", type=Path)
    suites = commands.add_parser("suites", help="prepare the suites")
    for name in ("emoji", "clip-art", "photos", "fashion"):
        suites.add_argument(f"--{name}", type=Path, required=True)
    for command in (pictures, suites):
        command.add_argument("--side", type=int, default=SIDE, help="pixels")
    training = commands.add_parser("run", help="train and score one entry")
    training.add_argument("entry")
    training.add_argument("--tables", type=Path, required=True, help="folder that curate wrote")
    training.add_argument("--seed", type=int, action="append", required=True, help="repeatable")
    training.add_argument("--steps", type=int, default=STEPS)
    training.add_argument("--weights", choices=("none", "hand"), default="none")
    table = commands.add_parser("table", help="write the results, the table and the plot")
    for command in (pictures, suites, training, table):
        command.add_argument("work", type=Path)
    return parser.parse_args()


def main() -> None:
    """Do what the command line says."""
    options = _parse_arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.command == "pictures":
        decode_pool(options.pool, options.work, options.side)
    elif options.command == "suites":
        prepare_suites(options)
    elif options.command == "run":
        run(options)
    else:
        write_report(options.work)


if __name__ == "__main__":
    main()
