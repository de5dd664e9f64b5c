"""Fashion-MNIST -> tar shards: python -m recipes.fashion_shards PACKAGE SHARDS [PER_CLASS]

PACKAGE is Debian's `dataset-fashion-mnist` (.deb, MIT), or the folder it was unpacked into: `apt-get download
dataset-fashion-mnist`. PER_CLASS training pictures of each class are taken (default 200), and as many test
pictures at most.
"""

import argparse
import gzip
import io
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipworks.shards import Sample, write_shards

CLASSES = (
    *("t-shirt", "trousers", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
SIDE_PIXELS = 28


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path, help="Debian's package, or the folder it was unpacked into")
    parser.add_argument("target", type=Path, help="folder of the shards")
    parser.add_argument("per_class", type=int, nargs="?", default=200, help="training pictures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.package
        if folder.is_file():
            subprocess.run(["dpkg-deb", "-x", folder, scratch], check=True)
            folder = Path(scratch)
        pictures = samples(folder, options.per_class)
        manifest = write_shards(pictures, options.target, details={"source": "Fashion-MNIST, MIT"})
    print(f"{manifest['samples']} pictures in {options.target}", file=sys.stderr)


def samples(folder: Path, per_class: int) -> Iterator[Sample]:
    """The first pictures of each class of both splits."""
    for split, prefix in (("train", "train"), ("test", "t10k")):
        pictures = read_idx(find(folder, f"{prefix}-images-idx3-ubyte.gz"), 16)
        labels = read_idx(find(folder, f"{prefix}-labels-idx1-ubyte.gz"), 8)
        seen: Counter[int] = Counter()
        for place, (pixels, label) in enumerate(
            zip(pictures.reshape(-1, SIDE_PIXELS, SIDE_PIXELS), labels.tolist(), strict=True)
        ):
            seen[label] += 1
            if seen[label] <= per_class:
                yield Sample(
                    key=f"{split}-{place:05d}",
                    image=as_png(pixels),
                    extension="png",
                    texts=(CLASSES[label],),
                    details={"label": CLASSES[label], "split": split},
                )


def read_idx(path: Path, header_bytes: int) -> NDArray[np.uint8]:
    """The numbers of a gzipped IDX file of bytes, behind its header."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), dtype=np.uint8)[header_bytes:]


def find(folder: Path, name: str) -> Path:
    """A file of this name somewhere below a folder."""
    found = next(folder.rglob(name), None)
    if found is None:
        sys.exit(f"{folder} holds no {name}; give the package dataset-fashion-mnist.")
    return found


def as_png(pixels: NDArray[np.uint8]) -> bytes:
    """Dark on light, as photographs and drawings of clothes are: the data set is light on black."""
    buffer = io.BytesIO()
    Image.fromarray(255 - pixels).save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
