"""Data that come as a table and a zip of pictures: Flickr, MSCOCO, WinoGAViL; and SugarCrepe's JSON files.

Files and columns are those of the three repositories of `nlphuji` on the Hub, whose loading scripts
`datasets` 4 no longer runs; nothing of them is needed here. Flickr and MSCOCO have a row per picture with
`filename` and `raw`, its captions; WinoGAViL a row per cue with `cue`, `candidates` and `associations`, names
of pictures without `.jpg`. Lists are JSON, or as Python prints them (MSCOCO).
"""

import ast
import csv
import json
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from clipworks.errors import DataError
from clipworks.evaluate.pictures import ZIP_DAMAGE, Pictures, as_digests, digest_of, file_digest
from clipworks.evaluate.tasks import Task
from clipworks.files import sha256_bytes

COCO = "val2017"
"""Folder with the pictures of COCO that SugarCrepe speaks of."""

_FILES = {
    "retrieval/flickr_1k_test_image_text_retrieval": ("test_1k_flickr.csv", "images_flickr_1k_test.zip"),
    "retrieval/mscoco_2014_5k_test_image_text_retrieval": (
        "test_5k_mscoco_2014.csv",
        "images_mscoco_2014_5k_test.zip",
    ),
    "misc/winogavil": ("winogavil_dataset.csv", "winogavil_images.zip"),
}
_LARGEST_FIELD = 1 << 24


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvArchive:
    """A table and the pictures it names."""

    table: Path
    images: Path
    is_association: bool
    """WinoGAViL's: cues with candidates; else pictures with captions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cue:
    """One instance of an association task."""

    cue: str
    """The word."""
    candidates: tuple[int, ...]
    """Rows of pictures."""
    associations: frozenset[int]
    """Rows of those that belong to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """One instance of a selection task."""

    picture: int
    """Row of its picture."""
    right: str
    """The caption that is true."""
    wrong: str
    """The one that is not."""


def csv_archive(task: Task, folder: Path) -> CsvArchive | None:
    """Table and zip of a task in a folder; None where neither is there.

    Raises:
        DataError: one is there without the other.
    """
    if task.key not in _FILES:
        return None
    table, images = (folder / name for name in _FILES[task.key])
    if not table.exists() and not images.exists():
        return None
    for path in (table, images):
        if not path.is_file():
            raise DataError(f"{path} is missing.", "Copy or download the data again.")
    return CsvArchive(table=table, images=images, is_association=task.kind == "association")


def read_captioned(archive: CsvArchive) -> Pictures:
    """The pictures of an archive with their captions; without them for an association task.

    Raises:
        DataError: table or zip is damaged, the table names a picture twice, or one that the zip does not hold
            or holds twice.
    """
    if archive.is_association:
        names = sorted({name for cue in _cue_rows(archive) for name in cue[1]})
        return _pictures(archive.images, names, ())
    names, texts = list[str](), list[tuple[str, ...]]()
    for number, row in enumerate(_rows(archive.table), start=2):
        name = _column(row, "filename", archive.table)
        captions = _strings(_column(row, "raw", archive.table), archive.table, number)
        if not captions:
            raise DataError(f"{archive.table}, line {number}: {name} has no caption.", "Complete the table.")
        names.append(name)
        texts.append(tuple(captions))
    _check_once(names, archive.table)
    return _pictures(archive.images, names, tuple(texts))


def read_cues(archive: CsvArchive) -> tuple[Pictures, list[Cue]]:
    """The pictures and instances of WinoGAViL.

    Raises:
        DataError: as in `read_captioned`, or an association is not among its candidates.
    """
    pictures = read_captioned(archive)
    names = sorted({name for cue in _cue_rows(archive) for name in cue[1]})
    rows = {name: row for row, name in enumerate(names)}
    cues = []
    for cue, candidates, associations in _cue_rows(archive):
        _check_once(candidates, archive.table)
        if not associations or not set(associations) <= set(candidates):
            raise DataError(
                f"{archive.table}: the cue {cue!r} has associations that are no candidates.", "Copy it again."
            )
        cues.append(
            Cue(
                cue=cue,
                candidates=tuple(rows[name] for name in candidates),
                associations=frozenset(rows[name] for name in associations),
            )
        )
    return pictures, cues


def sugar_crepe_file(task: Task, data: Path) -> Path | None:
    """The JSON file of a SugarCrepe task below a folder; None where it is not there."""
    name = task.key.rpartition("/")[2] + ".json"
    found = (data / "sugar_crepe" / name, data / "data" / name, data / name)
    return next((path for path in found if path.is_file()), None)


def read_selections(path: Path, images: Path) -> tuple[Pictures, list[Selection]]:
    """The pictures and instances of a SugarCrepe file.

    Args:
        path: the JSON file, an object of `{filename, caption, negative_caption}`.
        images: folder with COCO's pictures of val2017.

    Raises:
        DataError: the file is damaged, or a picture is missing.
    """
    try:
        rows = list(json.loads(path.read_bytes()).values())
        triples = [(str(r["filename"]), str(r["caption"]), str(r["negative_caption"])) for r in rows]
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no file of SugarCrepe: {error}.", "Copy it again.") from error
    names = sorted({name for name, _, _ in triples})
    digests = list[bytes]()
    for name in names:
        try:
            digests.append(bytes.fromhex(file_digest(images / name))[:16])
        except OSError as error:
            raise DataError(
                f"{images / name} is missing.", f"Put COCO's pictures of val2017 into {images}."
            ) from error
    numbers = {name: number for number, name in enumerate(names)}
    pictures = _columns(images, sha256_bytes(b"".join(digests)), names, digests, ())
    found = [Selection(picture=numbers[name], right=right, wrong=wrong) for name, right, wrong in triples]
    return pictures, found


def _pictures(images: Path, names: Sequence[str], texts: tuple[tuple[str, ...], ...]) -> Pictures:
    try:
        with zipfile.ZipFile(images) as archive:
            members = _members_of(archive, names, images)
            digests = [digest_of(archive.read(member)) for member in members]
    except ZIP_DAMAGE as error:
        raise DataError(f"{images} cannot be read: {error}.", "Copy or download it again.") from error
    return _columns(images, file_digest(images), members, digests, texts)


def _members_of(archive: zipfile.ZipFile, names: Sequence[str], images: Path) -> list[str]:
    """The members that names stand for, with or without folder and ending."""
    found: dict[str, list[str]] = {}
    for member in archive.namelist():
        for name in {PurePosixPath(member).name, PurePosixPath(member).stem}:
            found.setdefault(name, []).append(member)
    for name in names:
        if len(found.get(name, ())) != 1:
            what = "holds twice" if name in found else "lacks"
            raise DataError(f"{images} {what} the picture {name}.", "Copy or download it again.")
    return [found[name][0] for name in names]


def _check_once(names: Sequence[str], table: Path) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{table} names the picture {twice[0]} twice.", "Copy it again.")


def _columns(
    path: Path,
    sha256: str,
    names: Sequence[str],
    digests: Sequence[bytes],
    texts: tuple[tuple[str, ...], ...],
) -> Pictures:
    return Pictures(
        path=path,
        sha256=sha256,
        keys=tuple(names),
        digests=as_digests(digests),
        places=np.empty((0, 2), dtype=np.int64),
        labels=np.empty(0, dtype=np.int64),
        columns=np.empty((len(names), 0), dtype=np.int64),
        texts=texts,
    )


def _cue_rows(archive: CsvArchive) -> list[tuple[str, list[str], list[str]]]:
    rows = []
    for number, row in enumerate(_rows(archive.table), start=2):
        cue = _column(row, "cue", archive.table)
        names = [
            _strings(_column(row, column, archive.table), archive.table, number)
            for column in ("candidates", "associations")
        ]
        rows.append((cue, names[0], names[1]))
    return rows


def _rows(table: Path) -> list[dict[str, str]]:
    csv.field_size_limit(_LARGEST_FIELD)
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read as CSV: {error}.", "Copy it again.") from error
    if not rows:
        raise DataError(f"{table} holds no row.", "Copy it again.")
    return rows


def _column(row: dict[str, str], name: str, table: Path) -> str:
    value = row.get(name)
    if not value:
        raise DataError(f"{table} has a row without {name}.", "Copy it again.")
    return value


def _strings(text: str, table: Path, line: int) -> list[str]:
    """A list in a cell: JSON, or as Python prints it."""
    try:
        value: Any = json.loads(text)
    except ValueError:
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise DataError(f"{table}, line {line}: {text[:40]!r} is no list.", "Copy it again.") from error
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise DataError(f"{table}, line {line}: {text[:40]!r} is no list of strings.", "Copy it again.")
    return value
