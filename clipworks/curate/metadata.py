"""The entry list that texts are matched against: which sources, in which order, each entry once.

An entry's id is its place in the list. The file is JSON with one entry a line under "entries" and, before
them, what they are made of and their hash. A plain JSON list of strings is read as well.
"""

import json
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from clipworks.errors import ConfigError, DataError
from clipworks.files import atomic_write, read_json

FORMAT = "clipworks entries 1"
MAX_ENTRIES = 500_000
NUMBERS = tuple(map(str, range(100)))
PUNCTUATION_MARKS = ",.;:?!`"
"""What the published matching puts between spaces in a text, but not in an entry."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entries:
    """A list of different strings; their places are their ids."""

    texts: tuple[str, ...]
    """The entries."""
    language: str = ""
    """Code of the language of the texts they are for, where that matters."""
    sources: Mapping[str, Mapping[str, int]]
    """Name of a source -> how many strings it gave that were `added`, `repeated`, `empty`, `punctuation`
    or `left` because the list was full."""
    digest: str
    """sha256 of the entries, 64 hex characters."""


def build_entries(
    sources: Mapping[str, Iterable[str]], *, max_entries: int = MAX_ENTRIES, language: str = ""
) -> Entries:
    """Join sources into one list: "0" to "99", then each source in order, each string once.

    Args:
        sources: name -> strings, the important ones first: what does not fit any more is counted and left.
        max_entries: length of the list at most.
        language: code of the language.

    Raises:
        ConfigError: `max_entries` is not positive.
    """
    if max_entries < 1:
        raise ConfigError(f"max_entries is {max_entries}, but must be 1 or more.")
    kept: dict[str, None] = {}
    counts: dict[str, Mapping[str, int]] = {}
    for name, strings in {"numbers": NUMBERS, **sources}.items():
        count: Counter[str] = Counter()
        for one in strings:
            what = _fate_of(one, kept, max_entries)
            count[what] += 1
            if what == "added":
                kept[one] = None
        counts[name] = dict(sorted(count.items()))
    return Entries(texts=tuple(kept), language=language, sources=counts, digest=digest_of(kept))


def count_dead(texts: Iterable[str]) -> int:
    """How many entries can never match in the published way: one of its marks touches another character or
    has one space to the next mark, or they hold a tab or a line break."""
    return sum(map(_is_dead, texts))


def check_replaceable(path: Path) -> None:
    """See that a list may be written: nothing is there, or another list of ours.

    Raises:
        DataError: it is a folder or some other file.
    """
    if path.is_dir() or (path.exists() and f'"{FORMAT}"'.encode() not in path.read_bytes()[:100]):
        raise DataError(f"{path} is something else than a list of entries.", "Choose another --out.")


def write_entries(path: Path, entries: Entries) -> None:
    """Write the list; the same entries from the same sources give the same bytes."""
    header = {
        "format": FORMAT,
        "language": entries.language,
        "count": len(entries.texts),
        "sha256": entries.digest,
        "dead": count_dead(entries.texts),
        "sources": {name: dict(count) for name, count in entries.sources.items()},
    }
    with atomic_write(path) as file:
        file.write(json.dumps(header, indent=1, ensure_ascii=False)[:-2].encode() + b',\n "entries": [\n')
        file.write(b",\n".join(json.dumps(one, ensure_ascii=False).encode() for one in entries.texts))
        file.write(b"\n]}\n")


def read_entries(path: Path) -> Entries:
    """Read a list.

    Raises:
        DataError: the file is missing, is no list of strings, names one twice, or does not fit its hash.
    """
    value = read_json(path)
    header: dict[str, Any] = value if isinstance(value, dict) else {"entries": value}
    texts = header.get("entries")
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise DataError(f"{path} is no list of entries.", "Make one with: clipworks curate metadata")
    _check_different(path, texts)
    digest = digest_of(texts)
    if header.get("sha256", digest) != digest:
        raise DataError(f"{path} does not fit the hash in its head: it was changed or damaged.")
    sources = header.get("sources", {})
    return Entries(
        texts=tuple(texts), language=str(header.get("language", "")), sources=sources, digest=digest
    )


def digest_of(texts: Iterable[str]) -> str:
    """sha256 over the entries in order, each as JSON and a line break; 64 hex characters."""
    state = sha256()
    for one in texts:
        state.update(json.dumps(one).encode() + b"\n")
    return state.hexdigest()


def _fate_of(one: str, kept: Mapping[str, None], max_entries: int) -> str:
    if not one:
        return "empty"
    if len(one) == 1 and one in string.punctuation:
        return "punctuation"
    if one in kept:
        return "repeated"
    return "left" if len(kept) >= max_entries else "added"


def _is_dead(entry: str) -> bool:
    marks = (at for at, letter in enumerate(entry) if letter in PUNCTUATION_MARKS)
    return any(letter in entry for letter in "\t\r\n") or any(not _is_alone(entry, at) for at in marks)


def _is_alone(entry: str, at: int) -> bool:
    """Whether spaces or the entry's ends stand around a mark; between two marks a text has two or more."""
    has_space = entry[at - 1 : at] in ("", " ") and entry[at + 1 : at + 2] in ("", " ")
    return has_space and (not entry[at + 2 : at + 3] or entry[at + 2] not in PUNCTUATION_MARKS)


def _check_different(path: Path, texts: Sequence[str]) -> None:
    if len(set(texts)) != len(texts):
        twice, _ = Counter(texts).most_common(1)[0]
        raise DataError(f"{path} holds the entry {twice!r} more than once.")
