"""How each kind of task is answered from vectors; `run.py` has embedded the pictures already."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from clipworks.errors import DataError
from clipworks.evaluate.choices import association_units, cue_prompt, selection_units
from clipworks.evaluate.classify import (
    Outcomes,
    check_labels,
    check_targets,
    classify,
    confusion,
    multilabel_units,
    per_class,
    scores,
)
from clipworks.evaluate.embed import Show, Stores, captions_of, head_of
from clipworks.evaluate.faces import CHILD, STATEMENT, audit, face_columns, split_objectives
from clipworks.evaluate.groups import group_columns, group_rows, protocols
from clipworks.evaluate.layout import Place
from clipworks.evaluate.metrics import (
    association_metrics,
    classification_metrics,
    multilabel_metrics,
    retrieval_metrics,
    selection_metrics,
)
from clipworks.evaluate.pictures import Pictures
from clipworks.evaluate.results import Measured
from clipworks.evaluate.retrieve import flatten, retrieval_units
from clipworks.evaluate.tasks import Task
from clipworks.evaluate.wording import Wording
from clipworks.evaluate.zipped import read_cues, read_selections
from clipworks.model.engine import Engine

COUNTING = ("vtab/clevr_count_all",)
"""Tasks whose classes are numbers that rise by one: a diagnosis tells how far off counts are."""


def answer(engine: Engine, stores: Stores, place: Place, wording: Wording | None, show: Show) -> Measured:
    """What a task comes to.

    Raises:
        DataError: its data cannot be used; nothing is counted.
    """
    kind = place.task.kind
    if kind == "retrieval":
        return _retrieval(engine, stores, place, show)
    if kind == "association":
        return _association(engine, stores, place, show)
    if kind == "selection":
        return _selection(engine, stores, place, show)
    assert wording is not None
    if kind == "faces":
        return _faces(engine, stores, place, wording)
    head = head_of(engine, stores.texts, wording.classes, wording.templates)
    if kind == "multilabel":
        units = multilabel_units(stores.images, place.pictures(), head)
        return Measured(units=units, metrics=multilabel_metrics(), unit="picture")
    return classified(place.task, classify(stores.images, place.pictures(), head), wording)


def check_shard(task: Task, shard: Pictures, wording: Wording | None) -> None:
    """Refuse a shard that `answer` could not use, before anything is embedded.

    Raises:
        DataError: labels, metadata or captions are missing or outside of what the task has.
    """
    if task.kind == "retrieval":
        _require_captions(shard)
    elif wording is None:
        return
    elif task.kind == "faces":
        face_columns(shard.columns)
    elif task.kind == "multilabel":
        check_targets(shard, len(wording.classes))
    else:
        check_labels(shard, len(wording.classes))
        if task.grouping:
            group_columns(task.grouping, shard.columns, shard.labels)


def texts_of(task: Task, wording: Wording | None) -> list[tuple[Sequence[str], Sequence[str]]]:
    """The classes and templates that a task asks of the text tower."""
    if wording is None:
        return []
    if task.kind != "faces":
        return [(wording.classes, wording.templates)]
    classes, templates = split_objectives(wording.classes), split_objectives(wording.templates)
    heads = [(classes[name], templates[name]) for name in classes]
    return [*heads, ([CHILD], templates["toxic"])]


def classified(task: Task, outcomes: Outcomes, wording: Wording) -> Measured:
    """The metrics and tables of a classification."""
    units = outcomes.units()
    metrics = classification_metrics(len(wording.classes))
    facts: dict[str, Any] = {
        "tied_top1": outcomes.num_tied,
        "per_class": per_class(outcomes, wording.classes),
        "confusion": confusion(outcomes),
        "notes": _empty_classes(outcomes, wording),
    }
    if task.grouping:
        protocol = protocols()[task.grouping]
        groups = group_columns(task.grouping, outcomes.columns, outcomes.labels)
        facts["groups"] = group_rows(units, groups, protocol.hits)
        units |= groups
        metrics |= protocol.metrics
    if task.key in COUNTING:
        facts["counting"] = counting(outcomes)
    return Measured(units=units, metrics=metrics, unit="picture", facts=facts)


def counting(outcomes: Outcomes) -> dict[str, Any]:
    """How far off counts are: mean distance, the share off by one at most, and mean of what was said, by
    count.

    A model that does not count says much the same whatever there is: `slope` is near 0 then, and 1 for one
    that counts.
    """
    distance = np.abs(outcomes.labels - outcomes.predictions)
    slope = float("nan")
    if outcomes.labels.std():
        slope = float(np.polyfit(outcomes.labels, outcomes.predictions, 1)[0])
    return {
        "mean_distance": float(distance.mean()),
        "share_off_by_one_at_most": float((distance <= 1).mean()),
        "slope": slope,
        "mean_said": {
            str(number): float(outcomes.predictions[outcomes.labels == number].mean())
            for number in np.unique(outcomes.labels)
        },
    }


def _retrieval(engine: Engine, stores: Stores, place: Place, show: Show) -> Measured:
    images, captions = list[Any](), list[tuple[str, ...]]()
    for shard in place.pictures():
        _require_captions(shard)
        images.append(stores.images.read(shard.digests))
        captions += shard.texts
    texts, owners = flatten(captions)
    vectors = captions_of(engine, stores.texts, texts, show)
    units, facts = retrieval_units(np.concatenate(images), vectors, owners)
    return Measured(units=units, metrics=retrieval_metrics(), unit="picture", facts=facts)


def _require_captions(shard: Pictures) -> None:
    if not shard.texts:
        raise DataError(f"The samples in {shard.path} have no captions (.txt).", "Copy the data again.")
    empty = next((key for key, texts in zip(shard.keys, shard.texts, strict=True) if not texts), None)
    if empty is not None:
        raise DataError(f"Sample {empty} in {shard.path} has no caption.", "Give it one, or remove it.")


def _association(engine: Engine, stores: Stores, place: Place, show: Show) -> Measured:
    assert place.archive is not None
    pictures, cues = read_cues(place.archive)
    prompts = captions_of(engine, stores.texts, [cue_prompt(cue.cue) for cue in cues], show)
    units, facts = association_units(stores.images.read(pictures.digests), cues, prompts)
    return Measured(units=units, metrics=association_metrics(), unit="cue", facts=facts)


def _selection(engine: Engine, stores: Stores, place: Place, show: Show) -> Measured:
    assert place.selection is not None
    pictures, found = read_selections(place.selection, place.folder)
    right = captions_of(engine, stores.texts, [one.right for one in found], show)
    wrong = captions_of(engine, stores.texts, [one.wrong for one in found], show)
    units, facts = selection_units(stores.images.read(pictures.digests), found, right, wrong)
    return Measured(units=units, metrics=selection_metrics(), unit="pair", facts=facts)


def _faces(engine: Engine, stores: Stores, place: Place, wording: Wording) -> Measured:
    classes, templates = split_objectives(wording.classes), split_objectives(wording.templates)
    heads = {name: head_of(engine, stores.texts, classes[name], templates[name]) for name in classes}
    heads["toxic_with_child"] = np.concatenate(
        [heads["toxic"], head_of(engine, stores.texts, [CHILD], templates["toxic"])]
    )
    said: dict[str, list[Any]] = {name: [] for name in heads}
    columns = []
    for shard in place.pictures():
        vectors = stores.images.read(shard.digests)
        for name, head in heads.items():
            said[name].append(scores(vectors, head).argmax(axis=1))
        columns.append(shard.columns)
    truth = face_columns(np.concatenate(columns))
    found = {name: np.concatenate(parts) for name, parts in said.items()}
    units = {**{f"said_{name}": column for name, column in found.items()}, **truth}
    return Measured(
        units=units, metrics={}, unit="picture", told=audit(found, truth), facts={"statement": STATEMENT}
    )


def _empty_classes(outcomes: Outcomes, wording: Wording) -> list[str]:
    empty = len(wording.classes) - len(np.unique(outcomes.labels))
    if not empty:
        return []
    return [f"{empty} of {len(wording.classes)} classes have no picture; means over classes leave them out."]
