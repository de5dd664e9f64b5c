"""Prompts: the class names and templates that published numbers were made with, and those of a data folder.

`prompts/prompts.json` is written by `scripts/evaluation_prompts.py`; ImageNet's names and 80 templates are
the package's own (`model/prompts.py`). A folder of data ships both as text files; where they differ from the
known ones, somebody must decide which count.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from clipworks.errors import ConfigError, DataError
from clipworks.evaluate.tasks import Task, choose_tasks
from clipworks.files import sha256_bytes
from clipworks.model.prompts import label_set, template_set

CLASS_FILE = "classnames.txt"
TEMPLATE_FILE = "zeroshot_classification_templates.txt"

Choice = Literal["published", "folder"]
"""Which prompts count where a folder's differ from the known ones: `published` refuses the folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """What is said about the classes of a task."""

    classes: tuple[str, ...]
    """Names, in the order of the labels; some may be equal, and one may be empty."""
    templates: tuple[str, ...]
    """Sentences with `{c}` for the name."""
    source: str
    """`published`, `folder`, or both where they agree."""

    @property
    def sha256(self) -> str:
        """Of names and templates, 64 hex characters."""
        return sha256_bytes(json.dumps([self.classes, self.templates], ensure_ascii=False).encode())

    @property
    def twins(self) -> list[tuple[str, list[int]]]:
        """Names that several classes share, with their numbers: their scores tie always."""
        places: dict[str, list[int]] = {}
        for number, name in enumerate(self.classes):
            places.setdefault(name, []).append(number)
        return [(name, numbers) for name, numbers in places.items() if len(numbers) > 1]


def known_templates(name: str) -> tuple[str, ...]:
    """The templates of a set, with `{c}` where the class goes."""
    if name == "imagenet":
        return tuple(template.replace("{}", "{c}") for template in template_set("imagenet"))
    return tuple(_known()["templates"][name])


def known_classes(name: str) -> tuple[str, ...]:
    """The class names of a set, in the order of the labels."""
    names = label_set("imagenet")
    if name == "imagenet":
        return names
    if name in _known()["imagenet_places"]:
        return tuple(names[place] for place in _known()["imagenet_places"][name])
    return tuple(_known()["classes"][name])


def wording_of(task: Task, folder: Path, choice: Choice) -> Wording:
    """The prompts of a task: the known ones, checked against the folder's, or else the folder's.

    Raises:
        DataError: neither the package nor the folder has them, the folder's differ from the known ones and
            `choice` is `published`, their number is not that of the task, or a template has no `{c}`.
    """
    classes, templates = _lines(folder / CLASS_FILE), _lines(folder / TEMPLATE_FILE)
    known = known_classes(task.names) if task.names else None
    sentences = known_templates(task.prompts) if task.prompts else None
    if choice == "published":
        _check_same(folder / CLASS_FILE, classes, known)
        _check_same(folder / TEMPLATE_FILE, templates, sentences)
    found = _require(folder / CLASS_FILE, classes or known)
    filled = _require(folder / TEMPLATE_FILE, templates or sentences)
    if task.classes and len(found) != task.classes:
        raise DataError(
            f"{folder / CLASS_FILE} names {len(found)} classes; {task.name} has {task.classes}.",
            "Copy the file again, or evaluate the folder under a name of its own.",
        )
    bad = next((one for one in filled if "{c}" not in one), None)
    if bad is not None:
        raise DataError(f"{folder / TEMPLATE_FILE}: the template {bad[:80]!r} has no {{c}} for the class.")
    is_known = found == (known or found) and filled == (sentences or filled)
    source = "folder" if not is_known or not (known or sentences) else "published"
    return Wording(classes=found, templates=filled, source=source)


def wording_like(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The class names and templates that the package knows of a task; empty where data bring them.

    Raises:
        ConfigError: there is no such task, or it is a suite of several.
    """
    tasks = choose_tasks(name)
    if len(tasks) > 1:
        raise ConfigError(f"{name!r} is a suite of {len(tasks)} tasks.", "Name one task.")
    task = tasks[0]
    classes = known_classes(task.names) if task.names else ()
    return classes, known_templates(task.prompts) if task.prompts else ()


def read_lines(path: Path) -> tuple[str, ...]:
    """Class names or templates out of a file, one a line, without white space at their ends.

    Raises:
        DataError: it does not exist, holds nothing, or is not UTF-8 text.
    """
    lines = _lines(path)
    if not lines:
        raise DataError(f"{path} does not exist or is empty.", "Write one name a line.")
    return lines


def _require(path: Path, lines: tuple[str, ...] | None) -> tuple[str, ...]:
    if not lines:
        raise DataError(
            f"{path} does not exist or is empty, and this package does not know what belongs there.",
            "Write it, one line each; `clipworks evaluate prepare` does.",
        )
    return lines


def _check_same(path: Path, found: tuple[str, ...] | None, known: Sequence[str] | None) -> None:
    if found is None or known is None or found == tuple(known):
        return
    if len(found) != len(known):
        what = f"has {len(found)} lines, the published one {len(known)}"
    else:
        number = next(i for i, (one, other) in enumerate(zip(found, known, strict=True)) if one != other)
        what = f"says {found[number]!r} in line {number + 1}, the published one {known[number]!r}"
    raise DataError(
        f"{path} {what}: the numbers would not be those of papers.",
        "Copy the data again, or use these words with --set prompts=folder.",
    )


def _lines(path: Path) -> tuple[str, ...] | None:
    """A text file's lines without white space at their ends; None where it does not exist."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text.", "Write it again as UTF-8.") from error
    return tuple(line.strip() for line in text.splitlines())


@cache
def _known() -> dict[str, Any]:
    text = resources.files("clipworks.evaluate").joinpath("prompts", "prompts.json").read_bytes()
    content: dict[str, Any] = json.loads(text)
    return content
