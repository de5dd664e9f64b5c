"""What lies in a folder now: pictures, videos and the files beside them, by stat() alone."""

import glob
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clipworks.errors import InputError
from clipworks.search import sidecars
from clipworks.search.pictures import EXTENSIONS, find_pictures
from clipworks.search.sidecars import Sidecar
from clipworks.search.videos import EXTENSIONS as VIDEO_EXTENSIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A file that may be a picture or a video."""

    id: str
    """The path below the root, with forward slashes."""
    place: str
    """Where it lies; a `Path` is made when it is opened, since most files of a second run are not."""
    size_bytes: int
    mtime_ns: int
    """Time of the last change, nanoseconds since 1970."""
    sidecars: tuple[Sidecar, ...] = ()
    """Files beside it."""
    trouble: str = ""
    """Why it cannot be used, where that is known without opening it."""
    is_folder: bool = False
    """Whether this is a folder that cannot be read; what was known to be in it counts as still there."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        return Path(self.place)

    def said_by_sidecars(self) -> int:
        """A number that changes with the files beside it; 0 without any."""
        if not self.sidecars:
            return 0
        words = "|".join(f"{sidecar.path.name}:{sidecar.mtime_ns}" for sidecar in self.sidecars)
        return zlib.crc32(words.encode(errors="surrogateescape"))


def survey(source: Path) -> tuple[Path, list[Found]]:
    """The root that ids are relative to, and the files behind a folder, a glob or a name, by id.

    Raises:
        InputError: it does not exist, or holds no pictures.
    """
    if not source.is_dir():
        root = _root_of(source)
        paths = find_pictures([source])
        return root, sorted((_found(path, root) for path in paths), key=lambda one: one.id)
    found = sorted(_walk(str(source), ""), key=lambda one: one.id)
    if not found:
        find_pictures([source])  # says so
    return source, found


def _walk(folder: str, prefix: str) -> Iterator[Found]:
    """Hidden files and folders are left out; so are folders that are links, which may lead in circles."""
    pictures: list[os.DirEntry[str]] = []
    beside: dict[str, list[os.DirEntry[str]]] = {}
    inner: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                extension = entry.name[entry.name.rfind(".") :].lower()
                if entry.is_dir(follow_symlinks=False):
                    inner.append(entry)
                elif extension in EXTENSIONS or extension in VIDEO_EXTENSIONS:
                    pictures.append(entry)
                elif extension in sidecars.EXTENSIONS:
                    beside.setdefault(entry.name.split(".")[0], []).append(entry)
    except OSError as error:
        if not prefix:
            raise InputError(f"{folder} cannot be read: {error.strerror}.", "Check the path.") from error
        trouble = f"The folder {folder} cannot be read: {error.strerror}."
        yield Found(
            id=prefix.rstrip("/"), place=folder, size_bytes=0, mtime_ns=-1, trouble=trouble, is_folder=True
        )
        return
    for entry in pictures:
        near = _beside(entry.name, beside.get(entry.name.split(".")[0], ())) if beside else ()
        yield _checked(f"{prefix}{entry.name}", entry.path, entry.stat, near)
    for entry in inner:
        yield from _walk(entry.path, f"{prefix}{entry.name}/")


def _beside(name: str, entries: "list[os.DirEntry[str]] | tuple[()]") -> tuple[Sidecar, ...]:
    """The files of a picture `STEM.jpg`: `STEM.jpg.EXT`, `STEM.jpg.*.json` and `STEM.EXT`."""
    stem = os.path.splitext(name)[0]
    found = []
    for entry in sorted(entries, key=lambda entry: entry.name):
        own, extension = os.path.splitext(entry.name)
        if own in (name, stem) or (extension == ".json" and own.startswith(f"{name}.")):
            try:
                found.append(Sidecar(path=Path(entry.path), mtime_ns=entry.stat().st_mtime_ns))
            except OSError:
                continue
    return tuple(found)


def _found(path: Path, root: Path) -> Found:
    name = Path(os.path.relpath(path, root)).as_posix()
    candidates = [
        path.with_name(f"{one}{ext}") for one in (path.name, path.stem) for ext in sidecars.EXTENSIONS
    ]
    beside = tuple(Sidecar(path=one, mtime_ns=one.stat().st_mtime_ns) for one in candidates if one.is_file())
    return _checked(name, str(path), path.stat, beside)


def _checked(
    name: str, place: str, status_of: Callable[[], os.stat_result], beside: tuple[Sidecar, ...]
) -> Found:
    try:
        name.encode()
        status = status_of()
    except UnicodeEncodeError:
        sound = os.fsencode(name).decode(errors="backslashreplace")
        trouble = (
            f"The name of {os.fsencode(place).decode(errors='backslashreplace')} is not UTF-8; rename it."
        )
        return Found(id=sound, place=place, size_bytes=0, mtime_ns=-1, trouble=trouble)
    except OSError as error:
        trouble = f"{place} cannot be read: {error.strerror}."
        return Found(id=name, place=place, size_bytes=0, mtime_ns=-1, trouble=trouble)
    trouble = "" if stat.S_ISREG(status.st_mode) else f"Image {place!r} is not a regular file."
    return Found(
        id=name,
        place=place,
        size_bytes=status.st_size,
        mtime_ns=status.st_mtime_ns,
        sidecars=beside,
        trouble=trouble,
    )


def _root_of(source: Path) -> Path:
    """What stands before a pattern, or the folder of a file."""
    parent = source.parent
    while glob.has_magic(str(parent)):
        parent = parent.parent
    return parent
