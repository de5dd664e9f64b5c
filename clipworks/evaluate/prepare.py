"""Pictures into the published layout: tars of samples, class names, templates, and how many shards there are.

Pictures that are files are copied byte by byte; pixels become PNG, which loses nothing. The folder is whole
or not there. `sources.py` finds out what somebody's data are.
"""

import io
import struct
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import DataError
from clipworks.evaluate.layout import COUNT_FILE, TYPE_FILE
from clipworks.evaluate.wording import CLASS_FILE, TEMPLATE_FILE
from clipworks.files import atomic_folder

PER_SHARD = 10_000
DEFAULT_TEMPLATES = ("a photo of a {c}.",)

_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF")
"""How the bytes of a PNG, a JPEG and a WebP picture begin, whatever its file is called."""


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
    name: str = ""
    """Of its file, for messages."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Data of one's own, opened: nothing of it is in memory yet."""

    classes: tuple[str, ...]
    """Names in the order of the labels; empty for captions."""
    splits: tuple[tuple[str, Callable[[], Iterable[Sample]]], ...]
    """Name of a split, and what gives its samples."""


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
        DataError: `out` holds something, a template has no `{c}`, there are fewer than two classes, a class
            has no picture, a file is no picture, or data are damaged.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(f"{out} is there already and not empty.", "Choose another --out.")
    bad = next((one for one in templates if "{c}" not in one), None)
    if bad is not None:
        raise DataError(f"The template {bad!r} has no {{c}} for the class.", "Write it with {c}.")
    if len(source.classes) == 1:
        raise DataError(
            f"There is one class, {source.classes[0]!r}; classification needs two or more.", "Add others."
        )
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
        with (folder / f"{number}.tar").open("wb") as tar:
            for sample in group:
                if classes and not 0 <= sample.label < len(classes):
                    raise DataError(
                        f"Picture {total} has the label {sample.label}; the classes are "
                        f"0..{len(classes) - 1}.",
                        "Correct it, or name as many classes.",
                    )
                _require_picture(sample)
                _add(tar, total, sample)
                counts[sample.label] += 1
                total += 1
            tar.write(bytes(2 * tarfile.BLOCKSIZE))
            tar.write(bytes(-tar.tell() % tarfile.RECORDSIZE))
    if not total:
        raise DataError(f"The split {folder.name} holds no picture.", "Name another folder.")
    empty = [name for label, name in enumerate(classes) if not counts[label]]
    if empty:
        raise DataError(
            f"The class {empty[0]!r} has no picture in the split {folder.name}.", "Give it one, or remove it."
        )
    _write_lines(folder / COUNT_FILE, [str(-(-total // per_shard))])
    return total


def _require_picture(sample: Sample) -> None:
    if not sample.image.startswith(_SIGNATURES):
        raise DataError(f"{sample.name} is no PNG, JPEG or WebP picture.", "Remove or convert it.")


def _groups(samples: Iterable[Sample], size: int) -> Iterator[Iterable[Sample]]:
    """Runs of `size` samples, none of them in memory."""
    iterator = iter(samples)
    for first in iterator:
        yield chain([first], islice(iterator, size - 1))


def _add(tar: IO[bytes], number: int, sample: Sample) -> None:
    """Members as tarfile's own `addfile` writes them, in a fifth of its time."""
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
        tar.write(member.tobuf(tarfile.USTAR_FORMAT))
        tar.write(data)
        tar.write(bytes(-len(data) % tarfile.BLOCKSIZE))


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
