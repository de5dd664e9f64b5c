"""Where training data lies: one folder of shards, or several with weights, and what to read of them.

`--data` names a folder of tar shards (ours, img2dataset's, DataComp's) or a JSON file that lists several:

    {"sources": [{"data": "datacomp", "weight": 2, "texts": {"txt": 0.5, "recaption": 0.5}},
                 {"data": "ours", "balance": "balanced/pairs"}]}

Paths are relative to that file. Nothing here opens a picture.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from clipworks.errors import DataError
from clipworks.files import MANIFEST, is_complete, read_json
from clipworks.shards import hash_shards, list_shards
from clipworks.train.examples import EXTENSIONS, LIST_FILES
from clipworks.train.order import LARGEST_WEIGHT
from clipworks.train.places import read_sound_places

_FIELDS = {"data", "weight", "texts", "balance"}
_REMEDY = 'Write {"sources": [{"data": "FOLDER", "weight": 1}, ...]}; see docs/train.md.'
_COPY_AGAIN = "Make or copy it again."


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """One tar file."""

    path: Path
    samples: int
    """How many it holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A folder of shards and how it is read."""

    folder: Path
    weight: float = 1.0
    """How often a sample of it is visited, relative to a sample of another source."""
    texts: tuple[tuple[str, float], ...] = ()
    """Where captions are and how likely each is chosen; none: `texts` of the json, else the caption file."""
    balance: Path | None = None
    """Folder of tables with uid, texts and keep_probs, as `clipworks curate balance` writes them."""
    shards: tuple[Shard, ...]


def require_shards(data: Path) -> None:
    """Say of what is clearly something else what it is, and what takes it.

    Raises:
        DataError: a tar itself, a list of pictures, or a folder of pictures.
    """
    if data.is_file() and data.suffix == ".tar":
        raise DataError(f"{data} is a single tar.", "Give the folder in which it lies.")
    is_pictures = data.suffix == ".jsonl"
    if data.is_dir() and not any(data.glob("*.tar")):
        folders = [path for path in data.iterdir() if path.is_dir() and not path.name.startswith(".")]
        is_pictures = any((data / name).is_file() for name in LIST_FILES) or any(
            path.suffix.lower() in EXTENSIONS for folder in [data, *folders] for path in folder.iterdir()
        )
    if is_pictures:
        raise DataError(
            f"{data} holds pictures or their list, no shards.",
            "`clipworks finetune` takes class folders and lists as they are; shards are made by `clipworks "
            "curate` and by `clipworks.shards.write_shards`.",
        )


def is_list(data: Path) -> bool:
    """Whether `data` is a file that lists sources, and no folder of shards."""
    return data.is_file()


def read_sources(data: Path) -> tuple[Source, ...]:
    """The sources behind `--data`, with the number of samples of each shard.

    Counts come from a manifest of ours or from img2dataset's `_stats.json`; else the tar's headers are
    read once and kept in the cache folder.

    Raises:
        DataError: it is no folder of shards and no list of them, the list is wrong, or a folder holds no
            shard, none with a sample, or one whose headers are read and that is cut or changed.
    """
    require_shards(data)
    rows = _read_list(data) if is_list(data) else [{"data": str(data)}]
    return tuple(_source(data, row) for row in rows)


def identify(data: Path, *, is_checked: bool = True) -> str:
    """What a run remembers of its data, 64 hex characters.

    A folder of ours by the content of its shards, which are checked against the manifest. Where that would
    take hours, in a list of sources, in folders of other tools and if `is_checked` is False, by names and
    sizes of the shards and by the manifest.

    Raises:
        DataError: as in `read_sources`, or a shard is not the one that the manifest names.
    """
    require_shards(data)
    if is_checked and not is_list(data) and is_complete(data):
        return sha256("".join(hash_shards(data)).encode()).hexdigest()
    rows = _read_list(data) if is_list(data) else [{"data": str(data)}]
    told: list[Any] = [{name: row[name] for name in sorted(row) if name != "data"} for row in rows]
    for row in rows:
        folder = _inside(data, row["data"])
        told += [[path.name, path.stat().st_size] for path in list_shards(folder)]
        if is_complete(folder):
            told.append(sha256((folder / MANIFEST).read_bytes()).hexdigest())
    return sha256(json.dumps(told).encode()).hexdigest()


def count_shard(path: Path) -> int:
    """Samples of a tar by its headers.

    Raises:
        DataError: it cannot be opened, or is cut or changed.
    """
    try:
        places, is_whole = read_sound_places(path)
    except OSError as error:
        raise DataError(f"Shard {path} cannot be read: {error}.", _COPY_AGAIN) from error
    if not is_whole:
        raise DataError(
            f"Shard {path} cannot be read: unexpected end of data behind {len(places)} samples.", _COPY_AGAIN
        )
    return len(places)


def _read_list(path: Path) -> list[dict[str, Any]]:
    values = read_json(path)
    rows = values.get("sources") if isinstance(values, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path} lists no sources.", _REMEDY)
    for row in rows:
        unknown = sorted(row.keys() - _FIELDS)
        if unknown or not isinstance(row.get("data"), str):
            wrong = f"the unknown field {unknown[0]!r}" if unknown else "no field 'data'"
            raise DataError(f"A source in {path} has {wrong}.", f"Known: {', '.join(sorted(_FIELDS))}.")
    return rows


def _source(data: Path, row: Mapping[str, Any]) -> Source:
    folder = _inside(data, row["data"])
    weight = row.get("weight", 1.0)
    if not isinstance(weight, int | float) or not 0 < weight <= LARGEST_WEIGHT:
        raise DataError(
            f"The source {folder} has the weight {weight!r}; it must be above 0, at most {LARGEST_WEIGHT:g}."
        )
    texts = row.get("texts", {})
    if not isinstance(texts, dict) or not all(_is_probability(p) for p in texts.values()):
        raise DataError(f"The source {folder} has the texts {texts!r}.", 'Write {"txt": 0.7, "FIELD": 0.3}.')
    shards = tuple(shard for shard in _count_shards(folder) if shard.samples)
    if not shards:
        raise DataError(f"No shard of {folder} holds a sample.")
    return Source(
        folder=folder,
        weight=float(weight),
        texts=tuple((name, float(prob)) for name, prob in texts.items()),
        balance=_inside(data, row["balance"]) if row.get("balance") else None,
        shards=shards,
    )


def _is_probability(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


def _inside(data: Path, name: str) -> Path:
    return data.parent / name if is_list(data) else Path(name)


def _count_shards(folder: Path) -> list[Shard]:
    known = _told_counts(folder)
    shards = []
    for path in list_shards(folder):
        samples = known[path.name] if path.name in known else _stats_count(path)
        shards.append(Shard(path=path, samples=count_shard(path) if samples is None else samples))
    return shards


def _told_counts(folder: Path) -> dict[str, int]:
    """What a manifest of ours says; `list_shards` has checked its form."""
    if not is_complete(folder):
        return {}
    rows = read_json(folder / MANIFEST).get("shards", ())
    return {row["name"]: int(row["samples"]) for row in rows if isinstance(row, dict) and "samples" in row}


def _stats_count(path: Path) -> int | None:
    """What img2dataset counted: `00000_stats.json` beside `00000.tar`."""
    stats = path.with_name(f"{path.stem}_stats.json")
    successes = read_json(stats).get("successes") if stats.is_file() else None
    return successes if isinstance(successes, int) else None
