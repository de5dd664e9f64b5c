"""Linear probe of `pictogram` on Fashion-MNIST: `python -m benchmarks.pictogram_probe --fashion DIR`.

A logistic regression on what stands before the projection, and on the vectors behind it; C is chosen on a
tenth of the training pictures, the 10,000 test pictures are looked at once.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import clipworks
from benchmarks.machine import write_result
from benchmarks.suites import FASHION_CLASSES, Scores, accuracy, read_fashion
from clipworks.model.engine import Engine
from clipworks.model.logistic import fit_logistic
from clipworks.model.sweep import Part, search_c

MAX_ITERATIONS = 1000
TAPS = ("before", "after")
"""The projection."""


def main() -> None:
    """Measure and write benchmarks/results/pictogram_probe.json."""
    options = _parse_arguments()
    engine = clipworks.load(options.model)
    pictures, labels = read_fashion(options.fashion, "train", options.count)
    test_pictures, test_labels = read_fashion(options.fashion, "t10k")
    train, test = features(engine, pictures), features(engine, test_pictures)
    results: Scores = {"model": engine.name, "fingerprint": engine.fingerprint, "train": len(pictures)}
    for tap in TAPS:
        results[tap] = score(Part(features=train[tap], labels=labels), test[tap], test_labels)
    write_result("pictogram_probe", results)


def features(engine: Engine, pictures: list[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
    """By tap, float32 [N, D], of the mean length 1."""
    before = engine.features.pooled_images(pictures)
    return {"before": before / np.linalg.norm(before, axis=1).mean(), "after": engine.embed_images(pictures)}


def score(train: Part, features_ND: NDArray[np.float32], labels: NDArray[np.int64]) -> Scores:
    """Accuracy on pictures of a head that the others trained."""
    count = len(FASHION_CLASSES)
    is_val = np.arange(len(train.labels)) % 10 == 0
    fitted, val = (
        Part(features=train.features[some], labels=train.labels[some]) for some in (~is_val, is_val)
    )
    sweep = search_c(fitted, val, count, max_iterations=MAX_ITERATIONS)
    fit = fit_logistic(
        train.features, train.labels, count, c=sweep.best.c, start=sweep.fit, max_iterations=MAX_ITERATIONS
    )
    logits = (features_ND @ fit.weight.T + fit.bias).astype(np.float32)
    return accuracy(logits, labels) | {"c": float(f"{sweep.best.c:.3g}")}


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="pictogram", help="name or folder")
    parser.add_argument("--fashion", type=Path, required=True, help="Debian's package, unpacked")
    parser.add_argument("--count", type=int, help="training pictures; default: all 60,000")
    return parser.parse_args()


if __name__ == "__main__":
    main()
