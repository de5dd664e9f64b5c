"""The folder of a run: whose it is, what it was begun with, and that one process at a time writes it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from clipworks.errors import DataError
from clipworks.files import exclusive_lock, is_complete, read_json, write_json

RESULT = "result.json"


@contextmanager
def begun(folder: Path, name: str, settings: Mapping[str, Any]) -> Iterator[bool]:
    """The folder, made or taken up again, while no other process writes it; gives whether it is complete.

    Args:
        folder: where the run goes.
        name: of the file that says what the run was begun with, such as `probe.json`.
        settings: all that changes the result, as JSON values.

    Raises:
        DataError: the folder holds another run or other files, is a file, or is being written.
    """
    wanted = json.loads(json.dumps(settings))
    path = folder / name
    if not path.exists():
        require_empty(folder, name)
        folder.mkdir(parents=True, exist_ok=True)
    with held(folder):
        if path.exists():
            _require_same(folder, read_json(path), wanted)
        else:
            write_json(path, wanted)
        yield is_complete(folder)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Within: no other process writes the folder; the hold ends with this process, however it ends.

    Raises:
        DataError: another one does.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive_lock(folder / ".lock", wait=False))
        except BlockingIOError as error:
            raise DataError(
                f"{folder} is being written by another process.", "Wait for it, or choose another --out."
            ) from error
        yield


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Within: what cannot be written, as on a full disk, is said with its place and what is left.

    Raises:
        DataError: it cannot.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or folder} cannot be written: {error.strerror or error}.",
            "What was saved before stays: make room, and the same command goes on from there.",
        ) from error


def require_empty(folder: Path, name: str) -> None:
    """Refuse to begin a run in a folder that holds something else.

    Raises:
        DataError: it holds files and none of this name, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file.", "Choose another --out.")
    # Names with a dot are no content: what a killed writer left, what desktops add.
    names = sorted(p.name for p in folder.glob("*") if not p.name.startswith("."))
    if names:
        raise DataError(
            f"{folder} holds {names[0]} and no {name}, so it is not a run of this kind.",
            "Choose an empty folder or a new one for --out.",
        )


def refuse_other(folder: Path, name: str, settings: Mapping[str, Any]) -> None:
    """Say before the work that a folder holds another run, as far as its settings are known by then.

    Raises:
        DataError: as in `begun`.
    """
    path = folder / name
    if not path.exists():
        require_empty(folder, name)
        return
    found = read_json(path)
    known = {key: found.get(key) for key in settings} if isinstance(found, dict) else found
    _require_same(folder, known, json.loads(json.dumps(settings)))


def _require_same(folder: Path, found: Any, wanted: Mapping[str, Any]) -> None:
    if found == wanted:
        return
    known = found if isinstance(found, dict) else {}
    names = [name for name in {**known, **wanted} if known.get(name) != wanted.get(name)]
    shown = ", ".join(
        f"{name} ({json.dumps(known.get(name))[:40]}, not {json.dumps(wanted.get(name))[:40]})"
        for name in names[:3]
    )
    raise DataError(
        f"{folder} holds another run; it differs in {shown}.",
        "Choose another --out, or repeat the command with the first settings.",
    )
