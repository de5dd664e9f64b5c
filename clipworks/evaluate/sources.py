"""Data of one's own, as they lie: class folders, lists with captions or labels, idx files, tables of pixels.

Nothing is decoded and no picture stays in memory; `prepare.py` writes what is found here.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from clipworks.errors import DataError
from clipworks.evaluate.layout import COUNT_FILE
from clipworks.evaluate.pictures import IMAGE_SUFFIXES
from clipworks.evaluate.pixels import IDX_FILES, idx_source, table_source
from clipworks.evaluate.prepare import Sample, Source

LIST_FILES = ("captions.jsonl", "metadata.jsonl", "labels.jsonl", "captions.json")
SPLITS = ("train", "val", "test")

_FILE_KEYS, _TEXT_KEYS = ("file", "file_name", "path", "image"), ("captions", "texts", "caption", "text")
_LABEL_KEYS = ("class", "label")


def open_source(path: Path, *, classes: Sequence[str] = (), is_inverted: bool = False) -> Source:
    """Find out what data are: idx files, a list of captions or labels, class folders or a table of pixels.

    Args:
        path: a folder with `train-images-idx3-ubyte[.gz]` and the like; a folder with one of LIST_FILES;
            class folders, `CLASS/*.png` or `SPLIT/CLASS/*.png`; or a `.csv[.gz]` of pixels.
        classes: names in the order of the labels, where data have numbers; else the numbers themselves.
        is_inverted: black for white, for data that are light on dark. Not for files of pictures.

    Raises:
        DataError: it is none of these, a class is empty or named twice, or a caption is missing.
    """
    if path.is_file() and ".csv" in path.suffixes:
        return table_source(path, classes, is_inverted)
    if not path.is_dir():
        raise DataError(f"{path} is neither a folder nor a .csv.", "Name the data to prepare.")
    if any((path / split / COUNT_FILE).is_file() for split in SPLITS):
        raise DataError(
            f"{path} is in the published layout already.",
            f"Evaluate it: --suite {path.name} --data {path.parent}.",
        )
    if any(path.rglob(IDX_FILES)):
        return idx_source(path, classes, is_inverted)
    listed = next((path / name for name in LIST_FILES if (path / name).is_file()), None)
    return _folder_source(path) if listed is None else _list_source(listed)


def _list_source(path: Path) -> Source:
    """Captions where every row has some; else classes, in the splits that rows name."""
    rows = _rows(path)
    if all(_value(row, _TEXT_KEYS) for row in rows):
        return Source(classes=(), splits=(("test", lambda: _captioned(path, rows)),))
    for number, row in enumerate(rows, start=1):
        if not isinstance(_value(row, _LABEL_KEYS), str):
            raise DataError(f"{path}, row {number} has no captions and no class.", "Complete it.")
        if row.get("split", "test") not in SPLITS:
            raise DataError(
                f"{path}, row {number} has the split {str(row['split'])[:40]!r}.",
                f"It must be {', '.join(SPLITS)}, or be left out.",
            )
    classes = tuple(sorted({str(_value(row, _LABEL_KEYS)) for row in rows}))
    numbers = {name: number for number, name in enumerate(classes)}

    def samples(split: str) -> Iterator[Sample]:
        for number, row in enumerate(rows, start=1):
            if row.get("split", "test") == split:
                yield _sample(path, number, row, label=numbers[str(_value(row, _LABEL_KEYS))])

    named = [split for split in SPLITS if any(row.get("split", "test") == split for row in rows)]
    return Source(classes=classes, splits=tuple((name, partial(samples, name)) for name in named))


def _rows(path: Path) -> list[Mapping[str, Any]]:
    """The objects of a JSON or JSON Lines file."""
    rows: list[Mapping[str, Any]] = []
    try:
        if path.suffix == ".json":
            found = json.loads(path.read_bytes())
        else:
            found = [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON: {error}.", "Correct it.") from error
    if not isinstance(found, list) or not found:
        raise DataError(f"{path} lists no picture.", "Write an object for each.")
    for number, row in enumerate(found, start=1):
        if not isinstance(row, dict):
            raise DataError(
                f"{path}, row {number} is no object.", "Write one, with file and caption or class."
            )
        rows.append(row)
    return rows


def _captioned(path: Path, rows: Sequence[Mapping[str, Any]]) -> Iterator[Sample]:
    for number, row in enumerate(rows, start=1):
        value = _value(row, _TEXT_KEYS)
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(one, str) and one.strip() for one in texts):
            raise DataError(f"{path}, row {number} has captions that are no texts.", "Correct it.")
        yield _sample(path, number, row, captions=tuple(texts))


def _sample(
    path: Path, number: int, row: Mapping[str, Any], *, label: int = -1, captions: tuple[str, ...] = ()
) -> Sample:
    name = _value(row, _FILE_KEYS)
    file = path.parent / str(name)
    if not isinstance(name, str) or file.suffix[1:].lower() not in IMAGE_SUFFIXES or not file.is_file():
        raise DataError(
            f"{path}, row {number} names {str(name)[:80]}, which is no picture here.", "Correct it."
        )
    return _read(file, label=label, captions=captions)


def _read(file: Path, *, label: int = -1, captions: tuple[str, ...] = ()) -> Sample:
    suffix = file.suffix[1:].lower()
    return Sample(image=file.read_bytes(), suffix=suffix, label=label, captions=captions, name=str(file))


def _value(row: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((row[key] for key in keys if row.get(key)), None)


def _folder_source(path: Path) -> Source:
    folders = _folders(path)
    if not folders:
        raise DataError(
            f"{path} holds no folder, no list of captions or classes and no idx file.", "Name another folder."
        )
    is_split = all(folder.name in SPLITS for folder in folders)
    splits = {folder.name: _folders(folder) for folder in folders} if is_split else {"test": folders}
    classes = tuple(sorted({_class_of(folder) for some in splits.values() for folder in some}))
    if len(classes) < 2:
        raise DataError(
            f"{path} holds {len(classes)} class folders; classification needs two or more.", "Add others."
        )
    for split, some in splits.items():
        _check_folders(split, some)
    numbers = {name: number for number, name in enumerate(classes)}

    def samples(some: Sequence[Path]) -> Iterator[Sample]:
        for folder in some:
            for file in _files(folder):
                yield _read(file, label=numbers[_class_of(folder)])

    parts = tuple((name, partial(samples, some)) for name, some in splits.items())
    return Source(classes=classes, splits=parts)


def _check_folders(split: str, folders: Sequence[Path]) -> None:
    twice = [name for name, count in Counter(map(_class_of, folders)).items() if count > 1]
    if twice:
        raise DataError(f"Two folders of {split} are the class {twice[0]!r}.", "Rename one of them.")
    for folder in folders:
        if not _files(folder):
            raise DataError(
                f"The class folder {folder} holds no picture ({', '.join(IMAGE_SUFFIXES)}).",
                "Put pictures into it, or remove it.",
            )


def _class_of(folder: Path) -> str:
    return " ".join(folder.name.replace("_", " ").split())


def _folders(path: Path) -> list[Path]:
    return sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    return sorted(
        one for one in folder.rglob("*") if one.suffix[1:].lower() in IMAGE_SUFFIXES and one.is_file()
    )
