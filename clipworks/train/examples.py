"""Pictures of one's own with labels or captions: what `probe` and `finetune` read from `--data`.

Three forms: a folder with `metadata.jsonl`, `captions.jsonl` or `labels.jsonl`; a class folder
(`DIR/CLASS/*.png`, or `DIR/train/CLASS/*.png` beside `test` and `val`); or tar shards. Nothing is decoded.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clipworks.errors import DataError, InputError
from clipworks.files import sha256_bytes
from clipworks.shards import read_shards

Split = Literal["train", "val", "test", ""]

LIST_FILES = ("metadata.jsonl", "captions.jsonl", "labels.jsonl")
EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})

TEMPLATES = ("{}", "a photo of a {}")
"""Sentences with `{}` for the class, where none are given."""

LARGEST_TARS_BYTES = 4 << 30
"""Encoded pictures out of tars; those in files stay there."""

LARGEST_SKIPPED_SHARE = 0.05
"""A run in which more pictures than this cannot be used ends with an error."""

_FILE_KEYS = ("file", "file_name", "path", "image")
_LABEL_KEYS = ("class", "label")
_TEXT_KEYS = ("captions", "texts", "caption", "text", "title", "label", "class")
_SPLITS: Mapping[str, Split] = {
    "": "",
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One picture and what is said about it."""

    name: str
    """Path below the folder, or key in the shards."""
    image: Path | bytes
    """The picture's file, or its encoded bytes."""
    label: str
    """Its class; empty where none is stated."""
    texts: tuple[str, ...]
    """Its captions, the most exact first; the label where there is nothing else."""
    split: Split
    """Which part of the data it belongs to; empty where nothing says it."""

    def read(self) -> bytes:
        """The encoded picture.

        Raises:
            InputError: the file cannot be read.
        """
        if isinstance(self.image, bytes):
            return self.image
        try:
            return self.image.read_bytes()
        except OSError as error:
            raise InputError(f"{self.image} cannot be read: {error.strerror or error}.") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """A picture that cannot be used."""

    name: str
    """Of its example."""
    reason: str
    """One sentence."""


def read_examples(folder: Path) -> list[Example]:
    """Every picture of a data folder, in a fixed order.

    Raises:
        DataError: the folder is missing or of none of the three forms, a class folder is empty, a list
            names no picture or one that is not there, a shard is damaged, or shards hold too much.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.", "Give --data a class folder, a list or tar shards.")
    listed = next((folder / name for name in LIST_FILES if (folder / name).is_file()), None)
    if listed is not None:
        found = list(_read_list(listed))
    elif any(folder.glob("*.tar")):
        found = list(_read_tars(folder))
    else:
        found = list(_read_class_folders(folder))
    if not found:
        raise DataError(
            f"{listed or folder} holds no picture.",
            f"Give class folders of pictures, one of {', '.join(LIST_FILES)}, or tar shards.",
        )
    return found


def digest_of(examples: Iterable[Example], hashes: Sequence[str]) -> str:
    """sha256 over what the examples are and say, 64 hex characters; `hashes` are of their bytes."""
    rows = [[e.label, list(e.texts), e.split, h] for e, h in zip(examples, hashes, strict=True)]
    return sha256_bytes(json.dumps(rows, ensure_ascii=False).encode(errors="surrogatepass"))


def _read_list(path: Path) -> Iterator[Example]:
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{place} is not JSON: {error}.") from error
        name = _first(row, _FILE_KEYS) if isinstance(row, dict) else ""
        if not name:
            raise DataError(
                f"{place} names no picture.", f"Each line is an object with one of {', '.join(_FILE_KEYS)}."
            )
        file = path.parent / name
        if not file.is_file():
            raise DataError(f"{place} names {name}, which is not in {path.parent}.", "Correct the path.")
        yield Example(
            name=Path(name).as_posix(),
            image=file,
            label=_label_of(row),
            texts=_texts_of(row),
            split=_split_of(row, place),
        )


def _read_tars(folder: Path) -> Iterator[Example]:
    num_bytes = 0
    for sample in read_shards(folder):
        num_bytes += len(sample.image)
        if num_bytes > LARGEST_TARS_BYTES:
            raise DataError(
                f"{folder} holds more than {LARGEST_TARS_BYTES / 2**30:.0f} GiB of encoded pictures, which "
                "are held in memory.",
                "Give them as files in class folders or with a list, or use `clipworks train`.",
            )
        yield Example(
            name=sample.key,
            image=sample.image,
            label=_label_of(sample.details),
            texts=sample.texts,
            split=_split_of(sample.details, f"Sample {sample.key}"),
        )


def _read_class_folders(folder: Path) -> Iterator[Example]:
    parts = _folders_of(folder)
    if parts and all(part.name.lower() in _SPLITS for part in parts):
        for part in parts:
            yield from _read_classes(part, folder, _SPLITS[part.name.lower()])
    else:
        yield from _read_classes(folder, folder, "")


def _read_classes(parent: Path, root: Path, split: Split) -> Iterator[Example]:
    for folder in _folders_of(parent):
        files = sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in EXTENSIONS and path.is_file() and not path.name.startswith(".")
        )
        if not files:
            raise DataError(
                f"The class folder {folder} holds no picture.", "Put pictures into it, or remove it."
            )
        label = " ".join(folder.name.replace("_", " ").split())
        for file in files:
            name = file.relative_to(root).as_posix()
            yield Example(name=name, image=file, label=label, texts=(label,), split=split)


def _folders_of(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


def _first(row: Mapping[str, Any], keys: Sequence[str]) -> str:
    values = (row.get(key) for key in keys)
    return next((value.strip() for value in values if isinstance(value, str) and value.strip()), "")


def _label_of(row: Mapping[str, Any]) -> str:
    """The class, which may be a number."""
    numbers = (row.get(key) for key in _LABEL_KEYS)
    number = next((v for v in numbers if isinstance(v, int) and not isinstance(v, bool)), None)
    return _first(row, _LABEL_KEYS) or ("" if number is None else str(number))


def _texts_of(row: Mapping[str, Any]) -> tuple[str, ...]:
    for key in _TEXT_KEYS:
        value = row.get(key)
        texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
        kept = tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())
        if kept:
            return kept
    return ()


def _split_of(row: Mapping[str, Any], place: str) -> Split:
    name = _first(row, ("split",)).lower()
    if name not in _SPLITS:
        raise DataError(f"{place} has the split {name!r}.", "It must be train, val or test, or left out.")
    return _SPLITS[name]
