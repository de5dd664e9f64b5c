"""Where an index lies, and opening it in whichever form it has."""

from pathlib import Path

from clipworks.errors import DataError
from clipworks.files import MANIFEST
from clipworks.search import schema
from clipworks.search.converted import in_memory
from clipworks.search.library import Library
from clipworks.search.snapshot import read_snapshot


def open_index(folder: Path) -> Library:
    """Open an index folder, or a folder of pictures whose index lies in its `.clipworks`.

    Raises:
        DataError: no index there, an unfinished one, or files that do not belong together.
    """
    place = find_index(folder)
    if (place / schema.NAME).is_file():
        return Library(place, schema.open_to_read(place))
    snapshot = read_snapshot(place)
    return Library(place, *in_memory(snapshot))


def find_index(folder: Path) -> Path:
    """The index folder meant by a path: itself, or the `.clipworks` inside a folder of pictures.

    Raises:
        DataError: neither holds an index.
    """
    for place in (folder, default_place(folder)):
        if (place / schema.NAME).is_file() or (place / MANIFEST).is_file():
            return place
    if not folder.exists():
        raise DataError(f"{folder} does not exist.", "Check the path.")
    raise DataError(f"There is no index in {folder}.", f"Build one with: clipworks index {folder}")


def default_place(folder: Path) -> Path:
    """Where the index of a folder of pictures lies unless another place is asked for."""
    return folder / ".clipworks"
