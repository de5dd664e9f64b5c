"""Samples of a webdataset tar by place: which there are, which are wanted, and where their bytes lie.

A tar that is cut or changed gives the samples before the damage. An id is the `uid` of a sample's json; if
there is none, md5(caption + url) as DataComp makes it.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clipworks.curate.uids import hex_of, made_uids, uids_of
from clipworks.errors import DataError
from clipworks.tars import Member, list_groups, read_member


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
        for members in list_groups(file, path.stat().st_size, counts):
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


def _uid_of(text: bytes) -> str | None:
    try:
        values = json.loads(text)
        if values.get("uid"):
            return hex_of(uids_of([values["uid"]]))[0]
        return hex_of(made_uids([values["caption"]], [values["url"]]))[0]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, DataError):
        return None
