"""Files that are whole or not there: atomic writes, hashes, locks, and the manifest that ends a folder.

A stage writes a folder and its `manifest.json` last. A folder without one is unfinished: it is
resumed or refused, never read. Everything here is plain standard library.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from clipworks.errors import DataError

MANIFEST = "manifest.json"
STAGE = "stage.json"
"""In a folder that a stage has begun and not finished."""


NPZ_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    NotImplementedError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy may raise on an .npz file that is missing, cut or changed; for files that can be made again."""


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that appears at `path` whole on success and not at all on failure.

    The bytes go to `.NAME.part` in the same folder, are flushed to disk and renamed. A second writer
    of the same file waits for the first; what a killed writer left behind is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        descriptor = _claim(temporary)
    except OSError as error:
        error.filename = str(path)  # nobody asked for the temporary file
        raise
    with os.fdopen(descriptor, "wb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno and not error.filename:
                error.filename = str(path)  # a full disk names none
            raise
        _flush_folder(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to fill, which takes the place of `path` on success and vanishes on failure.

    What stood at `path` before, a folder or nothing, is there whole until the new one is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        new, old = temporary / "new", temporary / "old"
        new.mkdir()
        yield new
        if path.exists():
            path.rename(old)
        new.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def exclusive_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file, which is made, while other processes that ask for it wait.

    The lock ends with the process, however the process ends; the file stays.

    Args:
        wait: whether to wait for another holder; else `BlockingIOError` is raised.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def cache_folder() -> Path:
    """Where this package keeps what it can make again: CLIPWORKS_CACHE, else the platform's place.

    Raises:
        OSError: the variable is not set and this user has no home folder.
    """
    if os.environ.get("CLIPWORKS_CACHE"):
        return Path(os.environ["CLIPWORKS_CACHE"])
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "clipworks"
    try:
        home = Path.home()
    except RuntimeError as error:
        raise OSError("there is no home folder for a cache; set CLIPWORKS_CACHE") from error
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "clipworks"


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a final line break, atomically."""
    with atomic_write(path) as file:
        text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
        file.write(text.encode(errors="backslashreplace"))  # a path that is not UTF-8 reads back the same


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}.") from error


def sha256_bytes(data: bytes) -> str:
    """Hex digest of bytes, 64 characters."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex digest of a file's content, 64 characters; reads it in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, values: dict[str, Any]) -> None:
    """End a folder: from now on it counts as complete."""
    write_json(folder / MANIFEST, values)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a complete folder.

    Raises:
        DataError: the folder does not exist, or has no readable manifest and so is unfinished.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.")
    if not is_complete(folder):
        raise DataError(
            f"{folder} has no {MANIFEST}, so it is unfinished.", "Repeat the command that writes it."
        )
    values = read_json(folder / MANIFEST)
    if not isinstance(values, dict):
        raise DataError(f"{folder / MANIFEST} is not a JSON object.")
    return values


def is_complete(folder: Path) -> bool:
    """Whether the stage that writes this folder has finished."""
    return (folder / MANIFEST).is_file()


def _claim(temporary: Path) -> int:
    """The descriptor of a new, empty file that this writer alone holds, by a lock that ends with it."""
    while True:
        try:
            descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            _await_writer(temporary)
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_open_at(descriptor, temporary):
            return descriptor
        os.close(descriptor)  # another writer locked it first and took it for abandoned


def _await_writer(temporary: Path) -> None:
    """Return when nobody writes `temporary` any more; if its writer died, the file is removed."""
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_open_at(descriptor, temporary):
            temporary.unlink()
    finally:
        os.close(descriptor)


def _is_open_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _flush_folder(folder: Path) -> None:
    """Make a rename last through a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
