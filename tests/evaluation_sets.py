"""Small data sets in the exact layouts of published ones, drawn by tests."""

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from own_pictures import COLOURS, drawn

from clipworks.evaluate.groups import protocols
from clipworks.evaluate.tasks import Task

Sample = Mapping[str, bytes]


def picture(number: int) -> bytes:
    """A PNG, another for every number."""
    return drawn(tuple(COLOURS)[number % 3], number)


def write_tar(
    path: Path, samples: Sequence[Sample], *, first: int = 0, form: int = tarfile.PAX_FORMAT
) -> None:
    """A tar as webdataset writes it: a time with a fraction, which gives every member a pax header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for number, sample in enumerate(samples, start=first):
            for suffix, data in sample.items():
                member = tarfile.TarInfo(f"s{number:07d}.{suffix}")
                member.size = len(data)
                member.mtime = 1674300000.25 if form == tarfile.PAX_FORMAT else 0
                tar.addfile(member, io.BytesIO(data))


def write_set(
    folder: Path,
    samples: Sequence[Sample],
    *,
    classes: Sequence[str] = (),
    templates: Sequence[str] = (),
    kind: str = "",
    per_shard: int = 4,
    split: str = "test",
) -> Path:
    """A webdataset folder with one split."""
    shards = [samples[start : start + per_shard] for start in range(0, len(samples), per_shard)]
    for number, some in enumerate(shards):
        write_tar(folder / split / f"{number}.tar", some, first=number * per_shard)
    (folder / split / "nshards.txt").write_text(f"{len(shards)}\n")
    for name, lines in (("classnames.txt", classes), ("zeroshot_classification_templates.txt", templates)):
        if lines:
            (folder / name).write_text("".join(f"{line}\n" for line in lines))
    if kind:
        (folder / "dataset_type.txt").write_text(f"{kind}\n")
    return folder


def labelled(count: int, num_classes: int, *, first: int = 0, columns: int = 0) -> list[Sample]:
    """Pictures with labels 0, 1, 2, … and numbers beside them of which the last repeats the label."""
    samples = []
    for number in range(first, first + count):
        label = number % num_classes
        sample = {"png": picture(number), "cls": str(label).encode()}
        if columns:
            sample["npy"] = npy([number % 6] * (columns - 1) + [label])
        samples.append(sample)
    return samples


def npy(values: Sequence[int]) -> bytes:
    """A vector of whole numbers as numpy keeps it."""
    buffer = io.BytesIO()
    np.save(buffer, np.array(values, dtype=np.int64))
    return buffer.getvalue()


def write_published(task: Task, data: Path, count: int = 6) -> Path:
    """A task's data as published, a few pictures of them, below `data`; gives its folder."""
    folder = data / task.repo.rpartition("/")[2]
    if task.kind == "association":
        return write_winogavil(folder)
    if task.kind == "retrieval":
        return write_captioned_zip(task, folder, count)
    classes = [] if task.names else [f"class {number}" for number in range(task.classes)]
    templates = [] if task.prompts else ["a photo of a {c}."]
    if task.kind == "faces":
        faces = [
            {"webp": picture(n), "npy": npy([n % 9, n % 2, n % 7, int(n % 7 != 1)])} for n in range(count)
        ]
        return write_set(folder, faces)
    columns = len(protocols()[task.grouping].columns) if task.grouping else 0
    return write_set(
        folder, labelled(count, task.classes, columns=columns), classes=classes, templates=templates
    )


def write_captioned_zip(task: Task, folder: Path, count: int = 6) -> Path:
    """Flickr's or MSCOCO's table and zip: the captions a list in a cell, as JSON."""
    folder.mkdir(parents=True)
    stem, images = (
        ("test_1k_flickr.csv", "images_flickr_1k_test")
        if "flickr" in task.key
        else (
            "test_5k_mscoco_2014.csv",
            "images_mscoco_2014_5k_test",
        )
    )
    with (folder / stem).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["raw", "sentids", "split", "filename", "img_id"])
        for n in range(count):
            captions = [f"a picture of number {n}", f"thing {n}, again"][: 1 + n % 2]
            writer.writerow([json.dumps(captions), f"[{n}]", "test", f"{n}.jpg", n])
    with zipfile.ZipFile(folder / f"{images}.zip", "w") as archive:
        for n in range(count):
            archive.writestr(f"{images}/{n}.jpg", picture(n))
    return folder


def write_winogavil(folder: Path) -> Path:
    """WinoGAViL's table and zip: lists as Python prints them, pictures by name without a suffix."""
    folder.mkdir(parents=True)
    names = [f"thing{n}" for n in range(12)]
    rows = [("Tree", names[:5], names[:2]), ("apple", names[2:12], names[3:6]), ("Egg", names, names[:1])]
    with (folder / "winogavil_dataset.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ID", "cue", "num_associations", "associations", "candidates"])
        for number, (cue, candidates, associations) in enumerate(rows):
            writer.writerow([number, cue, len(associations), str(associations), str(candidates)])
    with zipfile.ZipFile(folder / "winogavil_images.zip", "w") as archive:
        for n, name in enumerate(names):
            archive.writestr(f"winogavil_images/{name}.jpg", picture(n))
    return folder


def write_sugar_crepe(data: Path, name: str, count: int = 4) -> Path:
    """A JSON file of SugarCrepe and the pictures of COCO beside it."""
    rows = {
        str(n): {"filename": f"{n:012d}.jpg", "caption": f"a dog {n}", "negative_caption": f"a cat {n}"}
        for n in range(count)
    }
    (data / "sugar_crepe").mkdir(parents=True)
    (data / "sugar_crepe" / f"{name}.json").write_text(json.dumps(rows))
    (data / "val2017").mkdir()
    for n in range(count):
        (data / "val2017" / f"{n:012d}.jpg").write_bytes(picture(n))
    return data
