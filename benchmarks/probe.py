"""What one's own pictures gain over class names alone: `python -m benchmarks.probe --photos DIR --emoji DIR`.

Zero-shot, linear probes before and after the projection, whole fine-tuning, LoRA, each with its WiSE-FT
interpolation, of the built-in model on small sets. Fashion-MNIST is the folder of shards that
`python -m recipes.fashion_shards` writes. Some pictures per class train, so that two cores do it in minutes;
every number has its n and interval, and nothing but validation decided anything.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import clipworks
from benchmarks.machine import RESULTS, write_result
from clipworks.files import read_json
from clipworks.model.loading import open_checkpoint
from clipworks.model.weights import Checkpoint
from clipworks.train.examples import Example, read_examples
from clipworks.train.finetune import finetune
from clipworks.train.probe import ProbeConfig, probe
from clipworks.train.tuning import TuneConfig

DRAWS = 3


def main() -> None:
    arguments = _arguments()
    results: dict[str, Any] = {}
    if (RESULTS / "probe.json").is_file():  # methods and sets may be measured one after the other
        results = read_json(RESULTS / "probe.json")["results"]
    results["model"] = arguments.model
    for name in ("emoji", "photos", "fashion"):
        folder = getattr(arguments, name)
        if folder is None:
            continue
        examples = thinned(read_examples(folder), arguments.train_per_class, arguments.test_per_class)
        for method in arguments.methods.split(","):
            print(f"{name}: {method}, {len(examples)} pictures", file=sys.stderr, flush=True)
            found = measure(arguments.model, examples, method, arguments.epochs)
            results[name] = {**results.get(name, {}), **found}
            write_result("probe", results)


def measure(model: str, examples: Sequence[Example], method: str, epochs: int) -> dict[str, Any]:
    """One method on one set; `probe` gives zero-shot as well."""
    checkpoint = open_checkpoint(model)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / method
        if method == "probe":
            return _probe(model, checkpoint, examples, out)
        rank = 8 if method == "lora" else 0
        tune = TuneConfig(lora_rank=rank, epochs=epochs, batch_size=64, num_alphas=6)
        tuned = finetune(checkpoint, examples, out, tune, name=model)
    by_names = tuned["test"].get("exported_by_names", tuned["test"]["exported"])
    return {
        method: {
            "tuned": tuned["test"]["tuned"]["top1"],
            "wise_ft": {"alpha": tuned["alpha"], **tuned["test"]["exported"]["top1"]},
            "wise_ft_by_names": by_names["top1"],
            "learning_rate": tuned["learning_rate"],
            "epochs": tuned["epochs"],
            "interpolation": tuned["interpolation"],
            "words": tuned["words"],
        }
    }


def _probe(model: str, checkpoint: Checkpoint, examples: Sequence[Example], out: Path) -> dict[str, Any]:
    engine = clipworks.load(model, precision="f32")
    projection = checkpoint.tensors["vision.projection.weight"]
    probed = probe(engine, projection, examples, out, ProbeConfig(draws=DRAWS))
    taps = probed["taps"]
    return {
        "data": {key: probed["data"][key] for key in ("sha256", "train", "val", "test")},
        "classes": len(probed["data"]["classes"]),
        "fingerprint": engine.fingerprint,
        "zero_shot": probed["zero_shot"]["test"]["top1"],
        "probe_before": taps["before"]["full"]["test"],
        "probe_after": taps["after"]["full"]["test"],
        "few_shot_before": taps["before"]["few"],
        "few_shot_after": taps["after"]["few"],
        "probe_words": probed["words"],
    }


def thinned(examples: Sequence[Example], train_per_class: int, test_per_class: int) -> list[Example]:
    """Some pictures of each class, at even distances: so many that train or validate, so many that test."""
    totals = Counter((e.label, e.split == "test") for e in examples)
    has_test = any(is_test for _, is_test in totals)
    seen: Counter[tuple[str, bool]] = Counter()
    kept: list[Example] = []
    for example in examples:
        key = (example.label, example.split == "test")
        most = test_per_class if key[1] else train_per_class if has_test else train_per_class + test_per_class
        step = max(1, totals[key] // most)
        if seen[key] % step == 0 and seen[key] // step < most:
            kept.append(example)
        seen[key] += 1
    return kept


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What one's own pictures gain over class names alone.")
    parser.add_argument("--model", default="pictogram")
    parser.add_argument("--emoji", type=Path, help="folder of 3-D emoji with labels.jsonl")
    parser.add_argument("--photos", type=Path, help="folder of photographs with metadata.jsonl")
    parser.add_argument("--fashion", type=Path, help="folder of shards of Fashion-MNIST")
    parser.add_argument("--methods", default="probe,finetune,lora")
    parser.add_argument("--train-per-class", type=int, default=20, help="validation included")
    parser.add_argument("--test-per-class", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=6)
    return parser.parse_args()


if __name__ == "__main__":
    main()
