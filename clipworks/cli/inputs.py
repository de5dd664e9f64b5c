"""What commands read besides their options: lists of pictures, files with one text a line."""

from collections.abc import Iterable
from pathlib import Path

from clipworks.cli.output import note
from clipworks.errors import InputError

MAX_TEXT_FILE_BYTES = 64 << 20


def find_each(sources: Iterable[Path]) -> tuple[list[Path], int]:
    """The picture files behind names, folders and globs; a name with nothing behind it is reported.

    Returns:
        The files, each once, and the number of names that were skipped.
    """
    from clipworks.search.pictures import find_pictures

    found: dict[Path, None] = {}
    num_skipped = 0
    for source in sources:
        try:
            found.update(dict.fromkeys(find_pictures([source])))
        except InputError as error:
            note(f"Skipped: {error}")
            num_skipped += 1
    return list(found), num_skipped


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file that are not blank, without white space around them.

    Raises:
        InputError: the file is missing, too large, or not UTF-8 text.
    """
    try:
        size = path.stat().st_size
        if size > MAX_TEXT_FILE_BYTES:
            raise InputError(
                f"{path} has {size:,} bytes; the limit is {MAX_TEXT_FILE_BYTES:,}.", "Split the file."
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}.", "Check the path.", code="not_found"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8.", "Save it as UTF-8, one text a line.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
