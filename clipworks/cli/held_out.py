"""What `--eval` names -> tasks: captioned pictures, or a folder of classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clipworks.errors import ConfigError, DataError

if TYPE_CHECKING:
    from clipworks.train.config import TrainConfig
    from clipworks.train.held_out import Task


def read_tasks(paths: Sequence[Path], config: "TrainConfig") -> "list[Task]":
    """One task per path, named after it.

    A captions file (JSON lines) or a folder with one, or a folder of shards, gives retrieval; a folder of
    folders of pictures gives classification by the folders' names.

    Raises:
        ConfigError: two paths would give tasks of one name.
        DataError: a path is none of these, holds too little, or too much of it cannot be used.
    """
    names = [_name_of(path) for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"Two of --eval are called {name!r}, as their scores would be.", "Rename one.")
    return [_read_task(path, name, config) for path, name in zip(paths, names, strict=True)]


def _name_of(path: Path) -> str:
    return path.stem if path.is_file() else path.resolve().name


def _read_task(path: Path, name: str, config: "TrainConfig") -> "Task":
    from clipworks.search.pictures import EXTENSIONS, read_caption_file, read_captions
    from clipworks.shards import read_shards
    from clipworks.train.held_out import captioned_task, class_task

    if not path.exists():
        raise DataError(f"{path} does not exist.", "--eval takes a folder of pictures or a captions file.")
    folder = path.parent if path.is_file() else path
    rows = read_caption_file(path) if path.is_file() else read_captions(path)
    pairs = [(folder / key, row["caption"]) for key, row in sorted(rows.items()) if row["caption"]]
    if pairs:
        return captioned_task(name, pairs, config)
    if list(folder.glob("*.tar")):
        return captioned_task(name, [(s.image, s.texts[0]) for s in read_shards(folder)], config)
    pictures = [
        (picture, picture.parent.name.replace("_", " "))
        for picture in sorted(folder.glob("*/*"))
        if picture.suffix.lower() in EXTENSIONS
    ]
    if not pictures:
        raise DataError(
            f"{path} holds neither captions nor folders of pictures.",
            "Give a folder with captions.jsonl, a folder of classes, or shards.",
        )
    return class_task(name, pictures, config)
