"""Where the data of a task lie, and in which form: webdataset folders as published, or what their authors
give.

A webdataset folder is `classnames.txt`, `zeroshot_classification_templates.txt` and, for each split, a folder
with `nshards.txt` and `0.tar` … as CLIP_benchmark and DataComp write it. Flickr, MSCOCO and WinoGAViL come as
a table and a zip (`zipped.py`), SugarCrepe as a JSON file beside the pictures of COCO.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import DataError
from clipworks.evaluate.pictures import Pictures, file_digest, read_tar
from clipworks.evaluate.tasks import Kind, Task
from clipworks.evaluate.wording import CLASS_FILE, TEMPLATE_FILE
from clipworks.evaluate.zipped import (
    COCO,
    CsvArchive,
    csv_archive,
    read_captioned,
    read_selections,
    sugar_crepe_file,
)

COUNT_FILE = "nshards.txt"
TYPE_FILE = "dataset_type.txt"
_KINDS: dict[str, Kind] = {"": "classification", "retrieval": "retrieval", "multilabel": "multilabel"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """The data of one task on this machine."""

    task: Task
    """What they are for."""
    folder: Path
    """Where class names and templates are."""
    shards: tuple[Path, ...]
    """The tar files of the split, in order; empty for archives."""
    archive: CsvArchive | None = None
    """Table and zip, for the tasks that come so."""
    selection: Path | None = None
    """JSON file of SugarCrepe."""

    def files(self) -> tuple[Path, ...]:
        """Shards, table and zip, or list; the pictures of a list stand beside it."""
        if self.archive is not None:
            return (self.archive.table, self.archive.images)
        return self.shards if self.selection is None else (self.selection,)

    def hashes(self) -> list[str]:
        """sha256 of everything whose bytes decide the result, prompts aside.

        Raises:
            DataError: a picture of an archive is missing.
        """
        found = [file_digest(path) for path in self.files()]
        if self.selection is not None:
            found.append(read_selections(self.selection, self.folder)[0].sha256)
        return found

    def pictures(self) -> Iterator[Pictures]:
        """The pictures of each shard, in order.

        Raises:
            DataError: a shard is missing or damaged, holds nothing, or repeats a name.
        """
        if self.archive is not None:
            yield read_captioned(self.archive)
            return
        if self.selection is not None:
            yield read_selections(self.selection, self.folder)[0]
            return
        seen = np.empty(0, dtype=np.int64)
        for path in self.shards:
            found = read_tar(path)
            if not len(found):
                raise DataError(f"The shard {path} holds no sample.", "Copy or download it again.")
            seen = _with_names(seen, found)
            yield found


def find_place(task: Task, data: Path, *, is_only: bool = False) -> Place | None:
    """The data of a task below a folder; None where they are not.

    Looked for as `data/REPOSITORY` (`wds_cifar10_test`), `data/KEY` with dashes or as folders, without the
    part before the slash, and as `data` itself where it is called so.

    Args:
        task: whose data.
        data: where data sets are.
        is_only: nothing else is looked for, so that `data` may be its folder under any name.

    Raises:
        DataError: the folder is there and incomplete.
    """
    if task.kind == "selection":
        found = sugar_crepe_file(task, data)
        if found is None:
            return None
        return Place(task=task, folder=data / COCO, shards=(), selection=found)
    for folder in _candidates(task, data, is_only):
        if task.kind in ("retrieval", "association"):
            archive = csv_archive(task, folder)
            if archive is not None:
                return Place(task=task, folder=folder, shards=(), archive=archive)
        if (folder / task.split).is_dir() and task.kind != "association":
            return _webdataset(task, folder)
    return None


def own_place(name: str, data: Path) -> Place | None:
    """A folder of one's own in the published layout, `data/NAME` or `data` itself, as a task of that name.

    Raises:
        DataError: the folder is there and incomplete.
    """
    for folder in (data / name, data):
        if not name or name not in (folder.name, folder.resolve().name):
            continue
        if (folder / "test").is_dir():
            declared = _declared_type(folder)
            metric = {"retrieval": "mean_recall@1", "multilabel": "mean_average_precision"}
            task = Task(key=name, name=name, metric=metric.get(declared, "acc1"))
            return _webdataset(replace(task, kind=_kind_of(folder, declared)), folder)
    if name and (data / name).is_dir():
        raise DataError(
            f"{data / name} has no folder test with shards.", "`clipworks evaluate prepare` makes one."
        )
    return None


def has_split(place: Place, split: str) -> bool:
    """Whether the data hold another split in the same layout."""
    return place.archive is None and (place.folder / split).is_dir()


def other_split(place: Place, split: str) -> Place:
    """The same data, another split, such as `train` for a linear probe.

    Raises:
        DataError: the split is incomplete.
    """
    return replace(place, shards=_shards_of(place.folder / split))


def _with_names(seen: NDArray[np.int64], found: Pictures) -> NDArray[np.int64]:
    """The hashes of names so far and of a shard's, sorted: eight bytes a picture, for a million of them.

    Raises:
        DataError: a name stands twice.
    """
    hashes = np.sort(np.array([hash(key) for key in found.keys], dtype=np.int64))
    merged = np.sort(np.concatenate([seen, hashes]), kind="stable")
    twice = set(merged[1:][merged[1:] == merged[:-1]].tolist())
    if twice:
        name = next(key for key in found.keys if hash(key) in twice)
        raise DataError(f"The sample {name} stands twice in {found.path.parent}.", "Make the data again.")
    return merged


def _candidates(task: Task, data: Path, is_only: bool) -> Iterator[Path]:
    dashed = task.key.replace("/", "-")
    names = [f"wds_{dashed}_test", f"wds_{dashed}", dashed, task.key, task.key.rpartition("/")[2]]
    if task.repo:
        names.insert(0, task.repo.rpartition("/")[2])
    for name in dict.fromkeys(names):
        if (data / name).is_dir():
            yield data / name
    if data.name in names or data.resolve().name in names or (is_only and _is_data_set(data)):
        yield data


def _is_data_set(data: Path) -> bool:
    """Whether a folder is itself a data set, not one with data sets in it."""
    return any((data / name).is_file() for name in (CLASS_FILE, TYPE_FILE, TEMPLATE_FILE))


def _webdataset(task: Task, folder: Path) -> Place:
    declared = _declared_type(folder)
    kind = _kind_of(folder, declared)
    if task.kind in ("retrieval", "multilabel") and kind != task.kind:
        raise DataError(f"{folder} is data for {kind}, {task.name} is {task.kind}.", "Name another folder.")
    return Place(task=task, folder=folder, shards=_shards_of(folder / task.split))


def _kind_of(folder: Path, declared: str) -> Kind:
    if declared not in _KINDS:
        raise DataError(
            f"{folder / TYPE_FILE} says {declared[:40]!r}.",
            "It must be retrieval or multilabel, or be left out.",
        )
    return _KINDS[declared]


def _declared_type(folder: Path) -> str:
    path = folder / TYPE_FILE
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""


def _shards_of(folder: Path) -> tuple[Path, ...]:
    """The shards that `nshards.txt` promises, no fewer and no more."""
    path = folder / COUNT_FILE
    if not path.is_file():
        raise DataError(
            f"{path} is missing, so nobody knows how many shards there are.",
            f"Copy the data again, or write the number of shards into {COUNT_FILE}.",
        )
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    if not text.isdecimal() or not int(text):
        raise DataError(f"{path} says {text[:40]!r}; it must be the number of shards.")
    shards = [folder / f"{number}.tar" for number in range(int(text))]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise DataError(
            f"{folder} lacks {_listed(missing)} of {len(shards)} shards; nothing was counted.",
            "Copy or download the data again.",
        )
    extra = sorted(one.name for one in folder.glob("*.tar") if one not in shards)
    if extra:
        raise DataError(
            f"{folder} holds {_listed(extra)}, and {COUNT_FILE} says {len(shards)} shards.",
            "Remove what does not belong there, or correct the number.",
        )
    return tuple(shards)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
