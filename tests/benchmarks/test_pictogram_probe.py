"""The probe on clothes, with features that tell the classes apart and some that do not."""

import gzip
from pathlib import Path

import numpy as np

from benchmarks.pictogram_probe import score
from benchmarks.suites import read_fashion
from clipworks.files import atomic_write
from clipworks.model.sweep import Part


def test_features_that_tell_classes_apart_are_found() -> None:
    random = np.random.default_rng(0)
    labels, wanted = np.arange(200) % 10, np.arange(50) % 10
    clear = np.eye(16, dtype=np.float32)
    noise = random.normal(size=(250, 16)).astype(np.float32) / 20
    part = Part(features=clear[labels] + noise[:200], labels=labels)
    assert score(part, clear[wanted] + noise[200:], wanted)["top1"]["value"] == 100.0
    blind = Part(features=noise[:200], labels=labels)
    assert score(blind, noise[200:], wanted)["top1"]["value"] < 40


def test_pictures_are_dark_on_light(tmp_path: Path) -> None:
    pixels = np.zeros((2, 28, 28), dtype=np.uint8)
    pixels[1] = 200
    for name, head, data in (("images-idx3", 16, pixels.tobytes()), ("labels-idx1", 8, b"\x03\x07")):
        with atomic_write(tmp_path / f"train-{name}-ubyte.gz") as file:
            file.write(gzip.compress(bytes(head) + data))
    pictures, labels = read_fashion(tmp_path, "train")
    assert labels.tolist() == [3, 7] and pictures[0].shape == (28, 28, 3)
    assert (pictures[0] == 255).all() and (pictures[1] == 55).all()
