"""Evaluation beside CLIP_benchmark: `python -m benchmarks.evaluation --fashion DIR --peer-python PYTHON`.

The same checkpoint (the built-in model, as open_clip files for the peer), the same folders, the same machine,
one after the other: a suite of five tasks that share their pictures, the same once more, and a linear probe.
Wall time is that of the whole program, its start included. Every metric of the peer is compared with ours.
--fashion is what `clipworks evaluate prepare` makes of Fashion-MNIST. --memory measures this package alone.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import RESULTS, ROOT, write_result
from clipworks.evaluate.pictures import read_tar
from clipworks.evaluate.prepare import Sample, Source, png_bytes, write_layout
from clipworks.files import read_json

TEMPLATES = (
    ("a photo of a {c}.",),
    ("a {c}.",),
    ("a drawing of a {c}.", "an icon of a {c}."),
    ("a black and white photo of a {c}.", "a product photo of a {c}."),
    tuple(f"a {word} photo of a {{c}}." for word in ("small", "large", "good", "bad", "blurry")),
)
NUM_CLASSES = 10


def main() -> None:
    arguments = _arguments()
    results: dict[str, Any] = {}
    if (RESULTS / "evaluation.json").is_file():
        results = read_json(RESULTS / "evaluation.json")["results"]
    if arguments.memory:
        results["memory"] = [memory_of(count) for count in map(int, arguments.memory.split(","))]
        write_result("evaluation", results)
        return
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        data = write_suite(arguments.fashion, work / "data", arguments.train, arguments.test)
        subprocess.run(
            [sys.executable, "-m", "clipworks", "convert", "pictogram", work / "model", "--to", "open_clip"],
            check=True,
            capture_output=True,
        )
        if "suite" in arguments.parts:
            results["suite"] = measure_suite(arguments.peer_python, data, work, arguments.test)
        if "probe" in arguments.parts:
            results["probe"] = measure_probe(arguments.peer_python, data, work, arguments)
    write_result("evaluation", results)


def measure_suite(peer: Path, data: Path, work: Path, count: int) -> dict[str, Any]:
    """Five tasks, twice; the peer keeps nothing of zero-shot, so that its second run is its first."""
    names = [f"task{number}" for number in range(len(TEMPLATES))]
    environment = {**os.environ, "CLIPWORKS_CACHE": str(work / "cache")}
    ours = [sys.executable, "-m", "clipworks", "evaluate", "pictogram", "--data", str(data)]
    seconds: dict[str, float] = {"ours": 0.0, "ours_again": 0.0}
    command = [*ours, "--suite", ",".join(names), "--out", str(work / "out")]
    seconds["ours"] = timed(command, environment)
    seconds["ours_again"] = timed([*command[:-1], str(work / "again")], environment)
    theirs = [str(peer), "-m", "clip_benchmark.cli", "eval", "--no_amp", "--num_workers", "2"]
    theirs += ["--model", f"local-dir:{work / 'model'}", "--pretrained", "", "--batch_size", "64"]
    theirs += ["--dataset", *(f"wds/{name}" for name in names), "--task", "zeroshot_classification"]
    theirs += ["--dataset_root", str(data / "{dataset_cleaned}")]
    theirs += ["--output", str(work / "peer_{dataset}.json")]
    seconds["peer"] = timed(theirs, dict(os.environ))
    differences = []
    for name in names:
        mine = read_json(next((work / "out").rglob(f"{name}.json")))
        found = read_json(next(work.glob(f"peer_*{name}.json")))["metrics"]
        for metric, value in found.items():
            differences.append(
                {
                    "task": name,
                    "metric": metric,
                    "difference": abs(mine["metrics"][metric]["value"] - value),
                    "pictures": round(abs(mine["metrics"][metric]["value"] - value) * count),
                    "ties": mine["tied_top1"],
                }
            )
    return {
        "tasks": len(names),
        "pictures": count,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "ratio": round(seconds["peer"] / seconds["ours"], 2),
        "ratio_again": round(seconds["peer"] / seconds["ours_again"], 2),
        "metrics_compared": len(differences),
        "largest_difference": max(row["difference"] for row in differences),
        "differences": [row for row in differences if row["difference"] > 1e-6],
    }


def measure_probe(peer: Path, data: Path, work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """A linear probe with everything that goes before it, and again with features that are there."""
    environment = {**os.environ, "CLIPWORKS_CACHE": str(work / "probe-cache")}
    ours = [
        sys.executable,
        "-m",
        "clipworks",
        "evaluate",
        "pictogram",
        "--suite",
        "task0",
        "--data",
        str(data),
    ]
    ours += ["--set", "probe=true", "--out"]
    seconds = {"ours": timed([*ours, str(work / "probe")], environment)}
    seconds["ours_again"] = timed([*ours, str(work / "probe-again")], environment)
    program = [str(peer), str(ROOT / "benchmarks" / "evaluation_peer.py"), f"local-dir:{work / 'model'}"]
    (work / "features").mkdir()
    command = [*program, str(data / "task0"), str(work / "features")]
    start = time.monotonic()
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds["peer"] = time.monotonic() - start
    seconds["peer_again"] = timed(command, dict(os.environ))
    mine = read_json(next((work / "probe").rglob("task0+probe.json")))
    return {
        "train": arguments.train,
        "test": arguments.test,
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "ratio": round(seconds["peer"] / seconds["ours"], 2),
        "ratio_again": round(seconds["peer_again"] / seconds["ours_again"], 2),
        "ours": {"acc1": mine["value"], "interval_95": mine["interval_95"], "c": mine["probe"]["c"]},
        "peer": json.loads(told.splitlines()[-1]),
    }


def memory_of(count: int) -> dict[str, Any]:
    """The most memory of a process that evaluates `count` pictures, with all but the towers."""
    program = "from benchmarks.evaluation import {0}; {0}({1})"
    with tempfile.TemporaryDirectory() as scratch:
        arguments = f"Path({scratch!r}), {count}"
        environment = {**os.environ, "CLIPWORKS_CACHE": scratch, "PYTHONPATH": str(ROOT)}
        found: dict[str, Any] = {"pictures": count}
        for step in ("write_many", "evaluate_many"):
            text = f"from pathlib import Path; {program.format(step, arguments)}"
            start = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-c", text], check=True, capture_output=True, text=True, env=environment
            )
            found |= json.loads(done.stdout)
            found[f"{step}_seconds"] = round(time.monotonic() - start, 1)
    return found


def write_many(folder: Path, count: int) -> None:
    """A data set of many small pictures, each another; prints its peak memory in MiB."""

    def samples() -> Any:
        images = [png_bytes(np.full((2, 2), value, dtype=np.uint8)) for value in range(251)]
        for number in range(count):
            image = images[number % 251] + number.to_bytes(4, "big")  # behind the end: each is another
            yield Sample(image=image, suffix="png", label=number % NUM_CLASSES)

    names = tuple(f"c{number}" for number in range(NUM_CLASSES))
    write_layout(Source(classes=names, splits=(("test", samples),)), folder / "many")
    print(json.dumps({"prepare_peak_mib": _peak_mib()}))


def evaluate_many(folder: Path, count: int) -> None:
    """Plan, list, embed with random vectors, classify, draw intervals, write; prints the peak memory."""
    from clipworks.evaluate.run import RunConfig, evaluate, plan_run

    results: list[dict[str, Any]] = []
    evaluate(
        Noise(),  # type: ignore[arg-type]
        plan_run("many", folder, RunConfig()),
        folder / "out",
        machine="",
        show=lambda *_: None,
        on_result=lambda result, _: results.append(result),
    )
    assert results[0]["n"] == count
    print(json.dumps({"peak_mib": _peak_mib(), "counted": results[0]["n"]}))


def _peak_mib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


class Noise:
    """In the place of a model: unit vectors from random numbers."""

    dim, name, fingerprint, precision, preprocess = 64, "noise", "0" * 64, "f32", "reference"

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)

    def prepare_image(self, image: bytes, name: str = "", *, compiled: bool = False) -> Any:
        return np.zeros((2, 2, 3), dtype=np.uint8)

    def embed_pixels(self, pixels: Any) -> Any:
        return self._vectors(len(pixels))

    def embed_texts(self, texts: Any, *, batch_size: int = 64) -> Any:
        return self._vectors(len(texts))

    def _vectors(self, count: int) -> Any:
        vectors = self._random.standard_normal((count, self.dim)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write_suite(fashion: Path, data: Path, train: int, test: int) -> Path:
    """Five tasks with the same pictures, at even distances; the first has splits to train on as well."""
    names = tuple((fashion / "classnames.txt").read_text().splitlines())
    for number, templates in enumerate(TEMPLATES):
        splits = {"test": _thinned(fashion / "test", test, 0)}
        if number == 0:
            splits["train"] = _thinned(fashion / "train", train, 0)
            splits["val"] = _thinned(fashion / "train", train // 5, 1)
        parts: tuple[tuple[str, Callable[[], list[Sample]]], ...] = tuple(
            (split, partial(list, samples)) for split, samples in splits.items()
        )
        source = Source(classes=names, splits=parts)
        write_layout(source, data / f"task{number}", templates=templates, per_shard=-(-test // 4))
    return data


def _thinned(folder: Path, count: int, first: int) -> list[Sample]:
    """About `count` samples of a split, at even distances from the one called `first`."""
    samples: list[Sample] = []
    shards = [read_tar(path) for path in sorted(folder.glob("*.tar"), key=lambda path: int(path.stem))]
    total = sum(len(shard) for shard in shards)
    step = max(2, total // count)
    start = 0
    for shard in shards:
        rows = [row for row in range(len(shard)) if (start + row) % step == first]
        for row, data in zip(rows, shard.read(rows), strict=True):
            samples.append(Sample(image=data, suffix="png", label=int(shard.labels[row])))
        start += len(shard)
    return samples[:count]


def timed(command: list[str], environment: dict[str, str]) -> float:
    """Seconds of wall time of a program that must succeed."""
    start = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.monotonic() - start


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Evaluation beside CLIP_benchmark.")
    parser.add_argument("--fashion", type=Path, help="folder of `clipworks evaluate prepare`")
    parser.add_argument("--peer-python", type=Path, help="python with clip-benchmark and open_clip")
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--test", type=int, default=1000)
    parser.add_argument("--parts", default="suite,probe")
    parser.add_argument("--memory", default="", help="numbers of pictures with commas; nothing else then")
    return parser.parse_args()


if __name__ == "__main__":
    main()
