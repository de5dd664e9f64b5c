"""`clipworks evaluate NAME --verify` for each of the five published shapes, with random weights.

    python -m benchmarks.evaluation_verify --data DIR --suite fashion_mnist,mnist --count 20

The published weights cannot be reached from where this was written. What can be shown is that the path holds
from the name to the verdict: random weights of each shape lie in a cache of the Hub under the published name,
in the published form (open_clip's files for LAION's, transformers' for the others), and the command finds
them there offline. DIR holds what `clipworks evaluate prepare` makes; `count` pictures of each set are taken,
so that a verdict can be no other than "not comparable", or the numbers would be wrong.
Writes benchmarks/results/evaluation_verify.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, write_result
from benchmarks.peers import random_weights
from clipworks.evaluate.pictures import read_tar
from clipworks.evaluate.prepare import Sample, Source, write_layout
from clipworks.evaluate.wording import CLASS_FILE, TEMPLATE_FILE, read_lines
from clipworks.files import read_json
from clipworks.model.catalogue import CatalogueRow, rows
from clipworks.model.weights import write_checkpoint

COMMIT = "0" * 40


def main() -> None:
    arguments = _arguments()
    results: dict[str, Any] = {}
    if arguments.only and (RESULTS / "evaluation_verify.json").is_file():
        results = read_json(RESULTS / "evaluation_verify.json")["results"]
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        for name in arguments.suite.split(","):
            write_small(arguments.data / name, data / name, arguments.count)
        for row in rows():
            if row.source == "hub" and (not arguments.only or arguments.only in row.id):
                results[row.id] = verify(row, data, arguments.suite)
                print(json.dumps({row.id: results[row.id]}), file=sys.stderr, flush=True)
    write_result("evaluation_verify", results)


def verify(row: CatalogueRow, data: Path, suite: str) -> dict[str, Any]:
    """Evaluate random weights under a published name, twice, and make the report."""
    with tempfile.TemporaryDirectory() as scratch:
        home, out = Path(scratch) / "home", Path(scratch) / "out"
        fingerprint = write_cached(row, home)
        environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
        environment["CLIPWORKS_CACHE"] = str(Path(scratch) / "cache")
        command = [sys.executable, "-m", "clipworks", "evaluate", row.id, "--suite", suite]
        command += ["--data", str(data), "--out", str(out), "--verify", "--json"]
        lines, seconds = run_json(command, environment)
        again, seconds_again = run_json(command, environment)
        if again != lines:
            raise SystemExit(f"{row.id}: the second run says something else.")
        report = [sys.executable, "-m", "clipworks", "report", str(out), "--json"]
        (told,), _ = run_json(report, environment)
    found = [line for line in lines if "fingerprint" in line]
    if any(line["fingerprint"] != fingerprint or line["model"] != row.id for line in found):
        raise SystemExit(f"{row.id}: another model was evaluated.")
    verdicts = [line for line in lines if "words" in line]
    if told["models"][0]["verdicts"] != verdicts:
        raise SystemExit(f"{row.id}: the report has other verdicts.")
    return {
        "fingerprint": fingerprint[:16],
        "values": {line["task"]: round(line["value"], 4) for line in found},
        "n": {line["task"]: line["n"] for line in found},
        "verdicts": verdicts,
        "seconds": {"first": round(seconds, 1), "second": round(seconds_again, 1)},
    }


def write_cached(row: CatalogueRow, home: Path) -> str:
    """Random weights where huggingface_hub would have put the published ones; gives their fingerprint."""
    assert row.config is not None
    repository = home / "hub" / f"models--{row.id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    folder, weights = repository / "snapshots" / COMMIT, random_weights(row.config)
    if row.id.startswith("laion/"):
        return write_checkpoint(folder, row.config, weights, family="open_clip")
    return write_checkpoint(folder, row.config, weights, family="hf")


def write_small(prepared: Path, out: Path, count: int) -> None:
    """The first pictures of each class of a prepared set, `count` in all, with its words."""
    classes, samples = read_lines(prepared / CLASS_FILE), list[Sample]()
    counts = Counter[int]()
    for path in sorted((prepared / "test").glob("*.tar"), key=lambda path: int(path.stem)):
        shard = read_tar(path)
        for row, label in enumerate(shard.labels.tolist()):
            if counts[label] < max(1, count // len(classes)):
                counts[label] += 1
                samples.append(Sample(image=next(shard.read([row])), suffix="png", label=label))
    source = Source(classes=classes, splits=(("test", lambda: samples),))
    write_layout(source, out, templates=read_lines(prepared / TEMPLATE_FILE))


def run_json(command: list[str], environment: dict[str, str]) -> tuple[list[Any], float]:
    """The JSON lines that a program prints, and the seconds it takes; it must succeed."""
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()], time.monotonic() - start


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="`evaluate --verify` with random weights of each shape.")
    parser.add_argument("--data", type=Path, required=True, help="folder of `clipworks evaluate prepare`")
    parser.add_argument("--suite", default="fashion_mnist,mnist", help="prepared sets, with commas")
    parser.add_argument("--count", type=int, default=20, help="pictures of each")
    parser.add_argument("--only", default="", help="part of a model's name")
    return parser.parse_args()


if __name__ == "__main__":
    main()
