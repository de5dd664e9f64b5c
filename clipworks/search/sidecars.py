"""Files beside a picture that say something about it.

`photo.jpg.txt` or `photo.txt` (a caption), `photo.jpg.xmp` or `photo.xmp` (as darktable, digiKam and
Lightroom write them) and `photo.jpg.json` (as Google Takeout writes it). They win over the picture's own
blocks; a captions file of the folder (`pictures.py`) wins over both.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clipworks.search.exif import MAX_WORDS, PictureFacts, xmp_facts

EXTENSIONS = (".txt", ".xmp", ".json")

MAX_BYTES = 1 << 20
"""A larger file is something else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sidecar:
    """A file that may stand beside a picture."""

    path: Path
    mtime_ns: int
    """Nanoseconds since 1970."""


def read_sidecars(sidecars: Iterable[Sidecar], facts: PictureFacts) -> PictureFacts:
    """The facts of a picture, completed by what the files beside it say; a broken one says nothing."""
    for sidecar in sidecars:
        try:
            if sidecar.path.stat().st_size > MAX_BYTES:
                continue
            text = sidecar.path.read_text(encoding="utf-8-sig", errors="replace")
        except OSError:
            continue
        facts = _completed(facts, _said(sidecar.path.suffix.lower(), text))
    return facts


def _said(extension: str, text: str) -> PictureFacts:
    match extension:
        case ".txt":
            return PictureFacts(caption=" ".join(text.split())[:MAX_WORDS])
        case ".xmp":
            return xmp_facts(text)
        case _:
            return _takeout(text)


def _takeout(text: str) -> PictureFacts:
    try:
        found = json.loads(text)
    except ValueError:
        return PictureFacts()
    if not isinstance(found, dict):
        return PictureFacts()
    latitude, longitude = (_number(_inside(found, "geoData", name)) for name in ("latitude", "longitude"))
    is_known = bool(latitude or longitude)  # Takeout writes 0, 0 where it does not know
    people = found.get("people")
    names = [_inside({"": one}, "", "name") for one in people] if isinstance(people, list) else []
    taken = _number(_inside(found, "photoTakenTime", "timestamp"))
    said = found.get("description") or found.get("caption")
    return PictureFacts(
        caption=" ".join(said.split())[:MAX_WORDS] if isinstance(said, str) else "",
        taken=None if taken is None else int(taken),
        latitude=latitude if is_known else None,
        longitude=longitude if is_known else None,
        tags=tuple(name for name in names if isinstance(name, str) and name),
    )


def _inside(found: dict[str, Any], name: str, inner: str) -> Any:
    value = found.get(name)
    return value.get(inner) if isinstance(value, dict) else None


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _completed(facts: PictureFacts, said: PictureFacts) -> PictureFacts:
    return replace(
        facts,
        caption=said.caption or facts.caption,
        author=said.author or facts.author,
        place=said.place or facts.place,
        taken=said.taken if said.taken is not None else facts.taken,
        latitude=said.latitude if said.latitude is not None else facts.latitude,
        longitude=said.longitude if said.longitude is not None else facts.longitude,
        tags=tuple(dict.fromkeys((*facts.tags, *said.tags))),
    )
