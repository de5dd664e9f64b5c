"""Pickled weights, converted once: a safetensors copy in the cache, named by the hash of the original.

A copy is written to a temporary name and renamed, under a lock, so that it is whole or not there
whatever happens to the process or the disk. A cache that cannot be used costs time, not the result:
then the weights come straight from the pickled file, and a warning says why.
"""

import logging
from pathlib import Path

from clipworks.errors import CheckpointError
from clipworks.files import atomic_write, cache_folder, exclusive_lock, sha256_file
from clipworks.model.archives import Array, read_pickled
from clipworks.model.tensorfiles import read_safetensors, safetensors_bytes

logger = logging.getLogger(__name__)

_FOLDER = "weights-1"
"""Below the cache folder; the number changes when the reader of pickles gives other tensors."""


def read_converted(file: Path) -> dict[str, Array]:
    """Read a pickled file through its copy, which is made if there is none.

    Raises:
        CheckpointError: the file is damaged or holds more than weights.
        OSError: the file cannot be read.
    """
    digest = sha256_file(file)
    try:
        copy = cache_folder() / _FOLDER / f"{digest}.safetensors"
        kept = _read_copy(copy)
        if kept is None:
            with exclusive_lock(copy.with_name("lock")):
                kept = _read_copy(copy)
                return _convert(file, copy) if kept is None else kept
        return kept
    except OSError as error:
        _warn(file, error)
        return read_pickled(file)


def _read_copy(copy: Path) -> dict[str, Array] | None:
    if not copy.is_file():
        return None
    try:
        return read_safetensors(copy)
    except CheckpointError as error:
        logger.warning("%s It is made again.", error.message)
        return None


def _convert(file: Path, copy: Path) -> dict[str, Array]:
    """Read a file and leave a copy; the lock is held, so that no other process writes beside it."""
    for left_by_a_killed_process in copy.parent.glob(".*.safetensors.*"):
        left_by_a_killed_process.unlink(missing_ok=True)
    tensors = read_pickled(file)
    try:
        with atomic_write(copy) as opened:
            opened.write(safetensors_bytes(tensors))
        logger.info("%s was converted once to %s", file, copy)
    except OSError as error:
        _warn(file, error)
    return tensors


def _warn(file: Path, error: OSError) -> None:
    logger.warning(
        "%s is read as it is every time, as no copy of it can be kept: %s. "
        "Make room or set CLIPWORKS_CACHE to another folder.",
        file,
        error,
    )
