"""The tasks: one literal table, `tasks.csv`; what belongs to a task is a fact, not a setting.

DataComp's 40 entries come first, in its order, then what CLIP_benchmark adds, then what needs no network.
Sizes are pictures (cues of WinoGAViL, captions of SugarCrepe); `repo` and `revision` name the data on the
Hugging Face Hub; licences are those that the authors state for the data: read them before you use it.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Literal, cast

from clipworks.errors import ConfigError

Kind = Literal["classification", "multilabel", "retrieval", "association", "selection", "faces"]
"""What is asked: one label of many, several labels, captions both ways, pictures to a cue, the right caption
of two, or DataComp's audit of faces."""

Grouping = Literal["", "iwildcam", "camelyon17", "fmow", "dollar_street", "geode", "faces"]
"""Whose columns of metadata stand beside the labels, and which metrics are made of them."""

TABLE = Path(__file__).with_name("tasks.csv")

MAIN_SUITE = "datacomp38"

ALIASES = {
    "imagenet": "imagenet1k",
    "flickr": "retrieval/flickr_1k_test_image_text_retrieval",
    "mscoco": "retrieval/mscoco_2014_5k_test_image_text_retrieval",
    "winogavil": "misc/winogavil",
    "fairface": "fairness/fairface",
    "utkface": "fairness/utkface",
}
"""Short names of tasks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One task: pictures, what is asked of them, and how answers are counted."""

    key: str
    """Name for programs; with dashes for slashes, the name of a result's file."""
    name: str
    """Name in published tables."""
    suites: tuple[str, ...] = ()
    """Collections it belongs to."""
    kind: Kind = "classification"
    metric: str = "acc1"
    """The metric that enters averages; empty where none does."""
    classes: int = 0
    """Number of classes; 0 where there are none, or only the data say it."""
    size: int = 0
    """Pictures of the split; 0 where only the data say it."""
    templates: int = 0
    """Number of prompt templates; 0 where there are none, or only the data say it."""
    prompts: str = ""
    """Name of the template set in `wording.py`; empty where there is none."""
    names: str = ""
    """Name of the set of class names in `wording.py`; empty where they come with the data."""
    repo: str = ""
    """Data set on the Hub, or the package that holds it; empty where it must be prepared by hand."""
    revision: str = ""
    """First digits of the commit that published numbers were made with; empty where none is known."""
    split: str = "test"
    """Folder of the shards."""
    licence: str = ""
    """Of the data."""
    grouping: Grouping = ""
    """What its metadata mean."""
    chance: float | None = None
    """What guessing reaches, 0..1, as DataComp states it."""
    language: str = "en"
    """Of the captions."""

    @property
    def file_name(self) -> str:
        """The key as part of a file's name."""
        return self.key.replace("/", "-")


def all_tasks() -> tuple[Task, ...]:
    """Every task of the table, in its order."""
    return _read_table()


def suites() -> dict[str, tuple[Task, ...]]:
    """The collections by name, each with its tasks in the order of the table."""
    found: dict[str, list[Task]] = {}
    for task in all_tasks():
        for suite in task.suites:
            found.setdefault(suite, []).append(task)
    return {name: tuple(tasks) for name, tasks in found.items()}


def find_task(name: str) -> Task | None:
    """A task by its key, its published name or a short name; None where there is no such task."""
    wanted = ALIASES.get(name.lower(), name).lower()
    for task in all_tasks():
        if wanted in (task.key.lower(), task.name.lower(), task.file_name.lower()):
            return task
    short = [task for task in all_tasks() if task.key.lower().rpartition("/")[2] == wanted]
    return short[0] if len(short) == 1 else None


def choose_tasks(names: str, also: Sequence[str] = ()) -> tuple[Task, ...]:
    """The tasks of suites and tasks named in a list with commas, each once, in the order of the list.

    Args:
        names: what is chosen.
        also: further names that somebody may have meant, for the remedy.

    Raises:
        ConfigError: a name is neither; the nearest ones are in the remedy.
    """
    chosen: dict[str, Task] = {}
    for name in (part.strip() for part in names.split(",")):
        task = find_task(name)
        if name in suites():
            chosen |= {one.key: one for one in suites()[name]}
        elif task is not None:
            chosen[task.key] = task
        else:
            known = [*also, *suites(), *ALIASES, *(one.key for one in all_tasks())]
            near = get_close_matches(name, known, n=3, cutoff=0.0)
            raise ConfigError(f"There is no suite or task {name!r}.", f"Nearest: {', '.join(near)}.")
    return tuple(chosen.values())


@cache
def _read_table() -> tuple[Task, ...]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(_task(row) for row in csv.DictReader(file))


def _task(row: dict[str, str]) -> Task:
    return Task(
        key=row["key"],
        name=row["name"],
        suites=tuple(row["suites"].split()),
        kind=cast(Kind, row["kind"]),
        metric=row["metric"],
        classes=int(row["classes"] or 0),
        size=int(row["size"] or 0),
        templates=int(row["templates"] or 0),
        prompts=row["prompts"],
        names=row["names"],
        repo=row["repo"],
        revision=row["revision"],
        split=row["split"],
        licence=row["licence"],
        grouping=cast(Grouping, row["grouping"]),
        chance=float(row["chance"]) if row["chance"] else None,
        language=row["language"],
    )
