"""Fashion-MNIST -> tar shards: python -m recipes.fashion_shards PACKAGE SHARDS [PER_CLASS]

PACKAGE is Debian's `dataset-fashion-mnist` (.deb, MIT), or the folder it was unpacked into: `apt-get download
dataset-fashion-mnist`. PER_CLASS training pictures of each class are taken (default 200), and as many test
pictures at most.
"""

import argparse
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

from benchmarks.suites import FASHION_CLASSES, read_fashion
from clipworks.shards import Sample, write_shards


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
        pictures, labels = read_fashion(folder, prefix)
        seen: Counter[int] = Counter()
        for place, (pixels, label) in enumerate(zip(pictures, labels.tolist(), strict=True)):
            seen[label] += 1
            if seen[label] <= per_class:
                yield Sample(
                    key=f"{split}-{place:05d}",
                    image=_as_png(pixels),
                    extension="png",
                    texts=(FASHION_CLASSES[label],),
                    details={"label": FASHION_CLASSES[label], "split": split},
                )


def _as_png(pixels: NDArray[np.uint8]) -> bytes:
    """A grey picture of three equal channels, uint8 [S, S, 3]."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0]).save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
