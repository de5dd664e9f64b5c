"""What the scores are asked with."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from benchmarks.suites import read_fashion


def test_fashion_is_read_dark_on_light_wherever_its_files_lie(tmp_path: Path) -> None:
    folder = tmp_path / "usr" / "share"
    folder.mkdir(parents=True)
    pixels = np.arange(2 * 28 * 28).astype(np.uint8)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + pixels.tobytes()))
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + bytes([3, 9])))
    pictures, labels = read_fashion(tmp_path, "train")
    assert len(pictures) == 2 and labels.tolist() == [3, 9]
    assert (pictures[0] == 255 - pixels[:784].reshape(28, 28, 1)).all() and pictures[0].shape == (28, 28, 3)
    assert read_fashion(tmp_path, "train", 1)[1].tolist() == [3]


def test_a_folder_without_fashion_is_said_with_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no t10k-images-idx3-ubyte.gz"):
        read_fashion(tmp_path, "t10k")
