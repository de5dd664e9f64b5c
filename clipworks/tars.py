"""What lies in a tar of samples, by place: members without their bytes, in groups of one key.

A tar that is cut or changed gives the samples before the damage. `shards.py` reads whole samples in
order and refuses damage; this is for those who choose samples and read parts of them.
"""

import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

DAMAGED = "damaged_tars"
"""What is counted where a tar is cut or changed."""

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


def list_groups(file: IO[bytes], size: int, counts: Counter[str]) -> Iterator[list[Member]]:
    """Neighbouring members with one key; a suffix that comes twice begins a new sample.

    Args:
        file: an open tar.
        size: its bytes.
        counts: a cut or changed tar adds one to `DAMAGED`; files that are no part of a sample (without a
            dot, or with a suffix that is long or not ASCII) to `strange_names`.
    """
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
            if not has_end(tar):
                raise EOFError
    except (tarfile.TarError, EOFError):
        counts[DAMAGED] += 1
    if members:
        yield members


def has_end(tar: tarfile.TarFile) -> bool:
    """Whether the zero block that ends a tar stands behind the last member that was listed.

    tarfile takes a changed header, and a cut between two members, for the end as well.
    """
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    block = tar.fileobj.read(_BLOCK)
    return len(block) == _BLOCK and not any(block)


def read_member(file: IO[bytes], member: Member) -> bytes:
    """The bytes of a member; fewer if the file has been cut since."""
    place = file.tell()
    file.seek(member.offset)
    data = file.read(member.num_bytes)
    file.seek(place)
    return data
