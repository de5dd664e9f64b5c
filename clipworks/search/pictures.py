"""Which files are meant by a folder, a glob or a name, and what is said about them.

A folder is searched with everything below it; hidden files and folders are left out. A captions
file beside the pictures (`metadata.jsonl`, `captions.jsonl` or `labels.jsonl`) gives a row per
picture: `file` (or `file_name`, `path`), then any of `caption`, `licence`, `author`, `source`.
"""

import glob
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from clipworks.errors import DataError, InputError
from clipworks.model import raw

EXTENSIONS = raw.EXTENSIONS | {
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".hif")
}
"""Names that count as pictures when a folder is searched."""

CAPTION_FILES = ("metadata.jsonl", "captions.jsonl", "labels.jsonl")
_FILE_KEYS = ("file", "file_name", "path", "image")
CAPTION_KEYS = ("caption", "text", "label", "title")
_LICENCE_KEYS = ("licence", "license")


def find_pictures(sources: Iterable[Path]) -> list[Path]:
    """The picture files behind folders, globs and file names, in a fixed order, each once.

    A file that is named itself is taken whatever its extension: it may turn out to be no picture,
    which is then said of that file.

    Raises:
        InputError: a name does not exist, or a folder or glob holds no picture.
    """
    found: dict[Path, None] = {}
    for source in sources:
        found.update(dict.fromkeys(_expand(source)))
    return list(found)


def read_captions(folder: Path) -> dict[str, dict[str, Any]]:
    """Rows of the folder's captions file by picture id; empty where there is none.

    Returns:
        As `read_caption_file`.

    Raises:
        DataError: a line is not a JSON object or names no file.
    """
    path = next((folder / name for name in CAPTION_FILES if (folder / name).is_file()), None)
    return {} if path is None else read_caption_file(path)


def read_caption_file(path: Path) -> dict[str, dict[str, Any]]:
    """Rows of a captions file by picture id.

    Returns:
        id (path below the file's folder, forward slashes) -> {"caption", "licence", "author",
        "source", "details"}; a missing value is an empty string.

    Raises:
        DataError: a line is not a JSON object or names no file.
    """
    return dict(_read_rows(path))


def _expand(source: Path) -> list[Path]:
    if source.is_dir():
        pictures = sorted(_walk(source))
        if not pictures:
            raise InputError(
                f"The folder {source} holds no pictures.",
                f"Files with these names count: {' '.join(sorted(EXTENSIONS))}.",
                code="not_found",
            )
        return pictures
    if source.exists():
        return [source]
    if glob.has_magic(str(source)):
        matches = [Path(name) for name in sorted(glob.glob(str(source), recursive=True))]
        files = [match for match in matches if match.is_file() and match.suffix.lower() in EXTENSIONS]
        if files:
            return files
        raise InputError(f"No picture matches {source}.", "Check the pattern.", code="not_found")
    raise InputError(f"{source} does not exist.", "Check the path.", code="not_found")


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS:
                yield Path(parent) / name


def _read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number} is not JSON: {error}.") from error
        name = _first(row, _FILE_KEYS) if isinstance(row, dict) else ""
        if not name:
            raise DataError(
                f"{path}, line {number} names no picture.",
                f"Each line is an object with one of {', '.join(_FILE_KEYS)}.",
            )
        yield Path(name).as_posix(), _columns(row)


def _columns(row: dict[str, Any]) -> dict[str, Any]:
    known = {*_FILE_KEYS, *CAPTION_KEYS[:1], *_LICENCE_KEYS, "author", "source"}
    return {
        "caption": _first(row, CAPTION_KEYS),
        "licence": _first(row, _LICENCE_KEYS),
        "author": _first(row, ("author",)),
        "source": _first(row, ("source",)),
        "details": {key: value for key, value in row.items() if key not in known},
    }


def _first(row: dict[str, Any], keys: tuple[str, ...]) -> str:
    return next((value for key in keys if isinstance(value := row.get(key), str) and value), "")
