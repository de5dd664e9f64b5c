"""Samples of a webdataset tar by place: which there are, which are wanted, and where their bytes lie.

A tar that is cut or changed gives the samples before the damage. An id is the `uid` of a sample's json; if
there is none, md5(caption + url) as DataComp makes it.
"""

import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from clipworks.curate.uids import hex_of, made_uids, uids_of
from clipworks.errors import DataError

_NAME = re.compile(r"(?:\./)*(?P<key>(?:.*/)?[^./]+)\.(?P<suffix>[^/]*)", re.DOTALL)
_BLOCK = 512
MAX_SUFFIX = 48
"""Characters behind the first dot of a name; with an id before it, a tar has room for some more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One file of a sample."""

    suffix: str
    """What stands behind the first dot of its name, in lower case."""
    offset: int
    """Where its bytes begin, from the start of the tar."""
    num_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TarSample:
    """One sample of a tar."""

    uid: str
    """32 hex digits"""
    members: tuple[Member, ...]


def list_samples(path: Path, counts: Counter[str]) -> Iterator[TarSample]:
    """The samples of a tar with an id, in order; what is passed over is counted, damage too.

    Counts: `samples`, `without_json`, `without_uid`, `damaged_tars`, `strange_names` (of files that are no
    part of a sample: without a dot, or with a suffix that is long or not ASCII).

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        for members in _groups(file, path.stat().st_size, counts):
            counts["samples"] += 1
            text = next((member for member in members if member.suffix == "json"), None)
            if text is None:
                counts["without_json"] += 1
                continue
            uid = _uid_of(read_member(file, text))
            if uid is None:
                counts["without_uid"] += 1
                continue
            yield TarSample(uid=uid, members=tuple(members))


def read_member(file: IO[bytes], member: Member) -> bytes:
    """The bytes of a member; fewer if the file has been cut since."""
    place = file.tell()
    file.seek(member.offset)
    data = file.read(member.num_bytes)
    file.seek(place)
    return data


def _groups(file: IO[bytes], size: int, counts: Counter[str]) -> Iterator[list[Member]]:
    """Neighbouring members with one key; a suffix that comes twice begins a new sample."""
    key, members = "", list[Member]()
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for entry in tar:
                if not 0 <= entry.size <= size - entry.offset_data:
                    raise EOFError
                name = _NAME.fullmatch(entry.name)
                if not entry.isreg():
                    continue
                if name is None or len(name["suffix"]) > MAX_SUFFIX or not name["suffix"].isascii():
                    counts["strange_names"] += 1
                    continue
                suffix = name["suffix"].lower()
                if members and (name["key"] != key or suffix in {member.suffix for member in members}):
                    yield members
                    members = []
                key = name["key"]
                members.append(Member(suffix=suffix, offset=entry.offset_data, num_bytes=entry.size))
            file.seek(tar.offset)
            if any(file.read(_BLOCK)):  # tarfile takes a changed header for the end
                raise EOFError
    except (tarfile.TarError, EOFError):
        counts["damaged_tars"] += 1
    if members:
        yield members


def _uid_of(text: bytes) -> str | None:
    try:
        values = json.loads(text)
        if values.get("uid"):
            return hex_of(uids_of([values["uid"]]))[0]
        return hex_of(made_uids([values["caption"]], [values["url"]]))[0]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DataError):
        return None
