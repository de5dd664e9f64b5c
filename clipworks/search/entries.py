"""What is behind the names given to `clipworks embed`, one entry at a time, in a fixed order.

A name is a picture, a folder (its pictures and tar shards, hidden ones left out), a glob, a tar shard,
or a captions file. Nothing is opened before its turn and nothing is kept: memory grows with the number
of names in one folder, not with the number of entries. Contents are read by `bulk.py`.
"""

import glob
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from clipworks.search.pictures import CAPTION_KEYS, EXTENSIONS

Kind = Literal["image", "text"]

TEXT_FILES = (".txt", ".jsonl")
"""Names of captions files: one text a line, or one JSON object a line."""

SHARD = ".tar"
"""Names of tar shards; compressed ones are not read."""

MAX_LINE_BYTES = 1 << 20
"""Longest line of a captions file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One picture or text to embed."""

    kind: Kind
    name: str
    """File name, `SHARD/MEMBER` for a picture in a shard, or the text itself."""
    file: str = ""
    """Where the picture's bytes are; empty for a text."""
    offset: int = -1
    """First byte of the picture in `file`, bytes; -1 where the whole file is the picture."""
    size_bytes: int = -1
    """Length of the picture; -1 where it was not looked up."""
    mtime_ns: int = -1
    """When `file` was last changed, nanoseconds; -1 where it was not looked up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A name, line, member or file that gives no vector."""

    name: str
    """What failed: a path, `FILE, line N` or `SHARD/MEMBER`."""
    reason: str
    """One sentence for people, with the remedy."""


def read_entries(sources: Iterable[Path]) -> Iterator[Entry | Failure]:
    """Everything to embed behind the names, in their order; a folder or glob in the order of its names.

    What is named twice comes twice. A name that leads nowhere, a line that holds no text and a shard
    that cannot be read are failures in their place; the rest goes on.
    """
    for source in sources:
        if source.is_dir():
            yield from _or_nothing(
                source,
                _read_folder(source),
                f"The folder {source} holds no pictures and no tar shards.",
                f"Files with these names count: {' '.join(sorted(EXTENSIONS))} {SHARD}.",
            )
        elif source.exists():
            yield from _read_file(source)
        elif glob.has_magic(str(source)):
            matches = sorted(name for name in glob.iglob(str(source), recursive=True) if _counts(name))
            yield from _or_nothing(
                source,
                (entry for name in matches for entry in _read_file(Path(name))),
                f"No picture matches {source}.",
                "Check the pattern.",
            )
        else:
            yield Failure(name=str(source), reason=f"{source} does not exist. Check the path.")


def count_entries(sources: Iterable[Path]) -> tuple[int, int]:
    """Numbers of entries and of failures behind the names; looks at every name and line once."""
    counts = Counter(isinstance(one, Entry) for one in read_entries(sources))
    return counts[True], counts[False]


def _or_nothing(
    source: Path, entries: Iterator[Entry | Failure], message: str, remedy: str
) -> Iterator[Entry | Failure]:
    is_empty = True
    for entry in entries:
        is_empty = False
        yield entry
    if is_empty:
        yield Failure(name=str(source), reason=f"{message} {remedy}")


def _counts(name: str) -> bool:
    return Path(name).suffix.lower() in {*EXTENSIONS, *TEXT_FILES, SHARD} and os.path.isfile(name)


def _read_folder(folder: Path) -> Iterator[Entry | Failure]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            extension = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                continue
            if extension in EXTENSIONS:
                yield _picture(os.path.join(parent, name))
            elif extension == SHARD:
                yield from _read_shard(Path(parent) / name)


def _read_file(path: Path) -> Iterator[Entry | Failure]:
    extension = path.suffix.lower()
    if extension == SHARD:
        message = f"The shard {path} holds no pictures."
        yield from _or_nothing(path, _read_shard(path), message, "Check the file.")
    elif extension in TEXT_FILES:
        message = f"{path} holds no text."
        yield from _or_nothing(path, _read_texts(path), message, "Write one a line.")
    else:
        yield _picture(str(path))


def _picture(file: str) -> Entry:
    """A file that cannot be looked up is left to the decoder, which says what is wrong with it."""
    try:
        status = os.stat(file)
    except OSError:
        return Entry(kind="image", name=file, file=file)
    return Entry(kind="image", name=file, file=file, size_bytes=status.st_size, mtime_ns=status.st_mtime_ns)


def _read_shard(path: Path) -> Iterator[Entry | Failure]:
    try:
        status = path.stat()
        with tarfile.open(path, "r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # or it remembers them all
                if member.isfile() and os.path.splitext(member.name)[1].lower() in EXTENSIONS:
                    yield Entry(
                        kind="image",
                        name=f"{path}/{member.name}",
                        file=str(path),
                        offset=member.offset_data,
                        size_bytes=member.size,
                        mtime_ns=status.st_mtime_ns,
                    )
            # tarfile stops without a word at a damaged header, as it does at the end mark of zeros.
            assert tar.fileobj is not None
            tar.fileobj.seek(tar.offset)
            if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("a header is damaged, or its end mark is missing")
    except (tarfile.TarError, EOFError, OSError) as error:
        reason = f"The shard {path} cannot be read to its end: {error}. Make or copy it again."
        yield Failure(name=str(path), reason=reason)


def _read_texts(path: Path) -> Iterator[Entry | Failure]:
    try:
        with path.open("rb") as file:
            for number, line in _lines(file):
                place = f"{path}, line {number}"
                text = _text_of(line, path.suffix.lower()) if line is not None else "is too long"
                if isinstance(text, Entry):
                    yield text
                elif text:
                    yield Failure(name=place, reason=f"{place} {text}.")
    except OSError as error:
        yield Failure(name=str(path), reason=f"{path} cannot be read: {error.strerror}. Check the file.")


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines; None stands for one of more than MAX_LINE_BYTES."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        is_too_long = len(line) > MAX_LINE_BYTES
        while is_too_long and line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES)
        yield number, None if is_too_long else line.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"")


def _text_of(line: bytes, extension: str) -> Entry | str:
    """The text of a line; a blank line gives "", another line without a text what is wrong with it."""
    try:
        text = line.decode("utf-8").strip()
    except UnicodeDecodeError:
        return "is not text in UTF-8"
    if extension == ".jsonl" and text:
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            return f"is not JSON: {error}"
        values = [row.get(key) for key in CAPTION_KEYS] if isinstance(row, dict) else [row]
        text = next((value.strip() for value in values if isinstance(value, str) and value.strip()), "")
        if not text:
            return f"holds no text under {', '.join(CAPTION_KEYS)}"
    return Entry(kind="text", name=text) if text else ""
