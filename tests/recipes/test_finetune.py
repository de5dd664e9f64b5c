"""recipes/finetune.sh: probe and fine-tuning of the built-in model on pictures of the package."""

import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.suites import FASHION_CLASSES
from clipworks.train.examples import read_examples
from recipes.fashion_shards import samples
from recipes.finetune_pictures import copy_classes

ROOT = Path(__file__).parent.parent.parent


def test_the_pictures_of_the_package_become_class_folders(tmp_path: Path) -> None:
    count = copy_classes(ROOT / "clipworks" / "gallery", tmp_path, 3)
    examples = read_examples(tmp_path)
    assert len(examples) == count > 60
    assert len({example.label for example in examples}) == 3


def test_fashion_mnist_becomes_samples_with_labels_and_splits_dark_on_light(tmp_path: Path) -> None:
    pixels = np.zeros((30, 28, 28), dtype=np.uint8)
    labels = np.arange(30, dtype=np.uint8) % 10
    for prefix in ("train", "t10k"):
        images = struct.pack(">4I", 2051, 30, 28, 28) + pixels.tobytes()
        (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        names = struct.pack(">2I", 2049, 30) + labels.tobytes()
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(names))
    found = list(samples(tmp_path, per_class=2))
    assert len(found) == 40
    assert {sample.details["split"] for sample in found} == {"train", "test"}
    assert {sample.texts[0] for sample in found} == set(FASHION_CLASSES)
    assert found[0].key == "train-00000"


@pytest.mark.slow
def test_pictures_become_a_better_model_that_classifies_and_converts(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    copy_classes(ROOT / "clipworks" / "gallery", tmp_path / "data", 10)
    command = [str(ROOT / "recipes" / "finetune.sh"), str(tmp_path / "work"), str(tmp_path / "data"), "3"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    probed = json.loads((tmp_path / "work" / "probe" / "result.json").read_bytes())
    zero_shot = probed["zero_shot"]["test"]["top1"]["value"]
    assert probed["head"]["test"]["top1"]["value"] > zero_shot
    tuned = json.loads((tmp_path / "work" / "run" / "result.json").read_bytes())
    scores = {row["alpha"]: row["score"] for row in tuned["interpolation"]}
    assert scores[tuned["alpha"]] >= scores[0.0]
    assert tuned["test"]["exported"]["top1"]["value"] >= tuned["test"]["before"]["top1"]["value"]
    assert "a fox" in done.stdout
