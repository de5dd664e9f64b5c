"""Work for the tests of stages, in a module that other processes can import."""

import os
import signal
from pathlib import Path

from clipworks.errors import DataError
from clipworks.stage import Made, Source


def double(source: Source, folder: Path) -> Made:
    """A file with the source's path twice."""
    name = f"{source.name}.txt"
    (folder / name).write_text(source.path * 2)
    return Made(rows=len(source.path), counts={"letters": 2 * len(source.path)}, files=[name])


def double_or_die(source: Source, folder: Path) -> Made:
    """As `double`, but a source called "deadly" ends the process, and a "damaged" one is told."""
    if source.path == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    if source.path == "damaged":
        return Made(rows=0, failure="It cannot be read.")
    return double(source, folder)


def raise_an_error(source: Source, folder: Path) -> Made:
    """As a disk that is full."""
    raise DataError("The disk is full.", "Make room.")
