"""Linear probes from the vectors that zero-shot uses: no picture is embedded for them again, beside the train
split.

Features are the unit vectors after the projection, as CLIP_benchmark's; OpenAI's published probes used what
stands before it, which `clipworks probe` reads. The regularisation is searched on validation alone; the test
split is looked at once. PyTorch is not needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import DataError
from clipworks.evaluate.classify import Outcomes, check_labels, confusion, per_class, ranks_of
from clipworks.evaluate.embed import Stores
from clipworks.evaluate.layout import Place, has_split, other_split
from clipworks.evaluate.metrics import TOP, classification_metrics
from clipworks.evaluate.pictures import Digests
from clipworks.evaluate.resample import generator
from clipworks.evaluate.results import Measured
from clipworks.evaluate.store import Vectors
from clipworks.model.logistic import Fit, fit_logistic
from clipworks.model.sweep import Part, search_c
from clipworks.model.tallies import mean_of

VALIDATION_SHARE = 0.1
"""Of the training pictures, where the data have no validation split."""
MAX_ITERATIONS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Features of one split."""

    features: Vectors
    """float32 [N, D], unit rows."""
    labels: NDArray[np.int64]
    """int64 [N]."""
    digests: Digests
    """Of the pictures."""
    columns: NDArray[np.int64]
    """int64 [N, M]: metadata."""


def probe(
    stores: Stores, place: Place, classes: Sequence[str], *, shots: Sequence[int], draws: int
) -> Measured:
    """Fit linear heads on the train split and count the test split.

    Args:
        stores: of the model; the pictures of all splits are in it.
        place: of the task, with a `train` folder and perhaps a `val`.
        classes: names in the order of the labels.
        shots: pictures per class of few-shot probes, each drawn `draws` times.
        draws: how often.

    Raises:
        DataError: the train split lacks a class of the test split, or too few pictures are left to train on.
    """
    test = _read(stores, place, len(classes))
    train, val, num_copies = _parts(stores, place, test, len(classes))
    sweep = search_c(_part(train), _part(val), len(classes), max_iterations=MAX_ITERATIONS)
    fit = fit_logistic(
        np.concatenate([train.features, val.features]),
        np.concatenate([train.labels, val.labels]),
        len(classes),
        c=sweep.best.c,
        start=sweep.fit,
        max_iterations=MAX_ITERATIONS,
    )
    outcomes = _outcomes(fit, test)
    facts: dict[str, Any] = {
        "tied_top1": outcomes.num_tied,
        "per_class": per_class(outcomes, classes),
        "confusion": confusion(outcomes),
        "probe": {
            "tap": "after",
            "c": float(f"{sweep.best.c:.6g}"),
            "validation": round(sweep.best.accuracy, 4),
            "train": len(train.labels),
            "val": len(val.labels),
            "copies_left_out": num_copies,
            "is_converged": fit.is_converged,
            "few": [_few(train, val, test, len(classes), count, draws, place.task.key) for count in shots],
        },
    }
    return Measured(
        units=outcomes.units(), metrics=classification_metrics(len(classes)), unit="picture", facts=facts
    )


def _read(stores: Stores, place: Place, num_classes: int) -> Split:
    features, labels, digests, columns = [], [], [], []
    for shard in place.pictures():
        check_labels(shard, num_classes)
        features.append(stores.images.read(shard.digests))
        labels.append(shard.labels)
        digests.append(shard.digests)
        columns.append(shard.columns)
    return Split(
        features=np.concatenate(features),
        labels=np.concatenate(labels),
        digests=np.concatenate(digests),
        columns=np.concatenate(columns),
    )


def _parts(stores: Stores, place: Place, test: Split, num_classes: int) -> tuple[Split, Split, int]:
    """Training and validation without pictures of the test split, and how many of these there were."""
    whole = _read(stores, other_split(place, "train"), num_classes)
    is_free = ~np.isin(whole.digests, test.digests)
    train = _some(whole, np.flatnonzero(is_free))
    if has_split(place, "val"):
        val = _read(stores, other_split(place, "val"), num_classes)
        val = _some(val, np.flatnonzero(~np.isin(val.digests, test.digests)))
    else:
        # By their bytes, so that copies of a picture are on one side.
        ranks = np.frombuffer(train.digests.tobytes(), np.uint8).reshape(-1, 16)[:, 0]
        is_val = ranks < 256 * VALIDATION_SHARE
        train, val = _some(train, np.flatnonzero(~is_val)), _some(train, np.flatnonzero(is_val))
    lacking = sorted(set(np.unique(test.labels)) - set(np.unique(train.labels)))
    if lacking or not len(val.labels):
        what = f"no picture of class {lacking[0]}" if lacking else "nothing left to validate on"
        raise DataError(f"The train split of {place.folder} has {what}.", "Give it more pictures.")
    return train, val, int((~is_free).sum())


def _few(
    train: Split, val: Split, test: Split, num_classes: int, count: int, draws: int, key: str
) -> dict[str, Any]:
    """Test accuracy of heads fitted on `count` pictures of each class, the validation as few."""
    counts = np.bincount(train.labels, minlength=num_classes)
    if counts[counts > 0].min() < count:
        return {"shots": count, "value": None, "note": f"a class has {counts[counts > 0].min()} pictures"}
    accuracies = []
    for draw in range(draws):
        rng = generator(f"{key} {count} {draw}")
        some, checks = _draw(train, count, rng), _draw(val, count, rng)
        sweep = search_c(_part(some), _part(checks), num_classes, max_iterations=MAX_ITERATIONS)
        accuracies.append(float((_outcomes(sweep.fit, test).predictions == test.labels).mean()))
    return {"shots": count, **mean_of(accuracies)}


def _draw(split: Split, count: int, rng: np.random.Generator) -> Split:
    rows = [
        rng.permutation(np.flatnonzero(split.labels == label))[:count] for label in np.unique(split.labels)
    ]
    return _some(split, np.sort(np.concatenate(rows)))


def _outcomes(fit: Fit, split: Split) -> Outcomes:
    logits = (split.features @ fit.weight.T + fit.bias).astype(np.float32)
    is_tied = (logits == logits.max(axis=1, keepdims=True)).sum(axis=1) > 1
    return Outcomes(
        labels=split.labels,
        predictions=logits.argmax(axis=1),
        in_top5=ranks_of(logits, split.labels) < TOP,
        num_tied=int(is_tied.sum()),
        columns=split.columns,
    )


def _some(split: Split, rows: NDArray[np.int64]) -> Split:
    return Split(
        features=split.features[rows],
        labels=split.labels[rows],
        digests=split.digests[rows],
        columns=split.columns[rows],
    )


def _part(split: Split) -> Part:
    return Part(features=split.features, labels=split.labels)
