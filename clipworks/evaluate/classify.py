"""Zero-shot classification from vectors: float32 logits, one tie rule, predictions picture by picture.

Logits are cosines, not rounded to sixteen bits as under autocast, where a top-1 tie is common. Classes with
one name have one column, so that they tie to the last bit, and the first of them is said. Shape letters: N
pictures, C classes, D dimensions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import DataError
from clipworks.evaluate.metrics import TOP, outcome_columns
from clipworks.evaluate.pictures import Pictures
from clipworks.evaluate.store import Vectors, VectorStore
from clipworks.model.tallies import wilson

ROWS = 4096
"""Pictures whose logits are in memory at a time."""
_STEPS = 2**26


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcomes:
    """What was said of each picture."""

    labels: NDArray[np.int64]
    """int64 [N]."""
    predictions: NDArray[np.int64]
    """int64 [N]: the first class with the largest logit."""
    in_top5: NDArray[np.bool_]
    """bool [N]: whether fewer than five classes come before the label."""
    num_tied: int
    """Pictures of which two classes or more share the largest logit."""
    columns: NDArray[np.int64]
    """int64 [N, M]: their metadata."""

    def units(self) -> dict[str, NDArray[Any]]:
        """The columns that metrics read."""
        return outcome_columns(self.labels, self.predictions, self.in_top5)


def classify(store: VectorStore, shards: Iterator[Pictures], head_CD: Vectors) -> Outcomes:
    """Ask of every picture which class it is.

    Args:
        store: of the model's pictures.
        shards: pictures with labels.
        head_CD: float32 [C, D], unit rows.

    Raises:
        DataError: a picture has no label, or one outside of the classes.
    """
    distinct_CD, numbers = np.unique(head_CD, axis=0, return_inverse=True)
    labels, predictions, in_top5 = list[Any](), list[Any](), list[Any]()
    columns, num_tied = list[Any](), 0
    for shard in shards:
        check_labels(shard, len(head_CD))
        for start in range(0, len(shard), ROWS):
            some = slice(start, start + ROWS)
            logits = scores(store.read(shard.digests[some]), distinct_CD)[:, numbers.ravel()]
            own = shard.labels[some]
            best = logits.argmax(axis=1)
            labels.append(own)
            predictions.append(best)
            in_top5.append(ranks_of(logits, own) < TOP)
            num_tied += int(((logits == logits.max(axis=1, keepdims=True)).sum(axis=1) > 1).sum())
        columns.append(shard.columns)
    return Outcomes(
        labels=np.concatenate(labels),
        predictions=np.concatenate(predictions),
        in_top5=np.concatenate(in_top5),
        num_tied=num_tied,
        columns=np.concatenate(columns),
    )


def multilabel_units(store: VectorStore, shards: Iterator[Pictures], head_CD: Vectors) -> dict[str, Any]:
    """The columns of a task with several labels: targets and each class's pictures, best first.

    Raises:
        DataError: a picture has no vector of zeros and ones, or one of another length.
    """
    logits, targets = list[Vectors](), list[NDArray[np.int64]]()
    for shard in shards:
        check_targets(shard, len(head_CD))
        targets.append(shard.columns)
        logits.append(scores(store.read(shard.digests), head_CD))
    order = np.argsort(-np.concatenate(logits), axis=0, kind="stable")
    return {"targets": np.concatenate(targets), "order": order}


def check_labels(shard: Pictures, num_classes: int) -> None:
    """Refuse pictures without a label, or with one that no class has.

    Raises:
        DataError: as said; nothing of the task is counted.
    """
    if not len(shard.labels):
        raise DataError(f"The samples in {shard.path} have no label (.cls).", "Copy the data again.")
    wrong = np.flatnonzero((shard.labels < 0) | (shard.labels >= num_classes))
    if len(wrong):
        row = int(wrong[0])
        raise DataError(
            f"Sample {shard.keys[row]} in {shard.path} has the label {shard.labels[row]}; the classes are "
            f"0..{num_classes - 1}.",
            "Check that classnames.txt belongs to these shards.",
        )


def check_targets(shard: Pictures, num_classes: int) -> None:
    """Refuse pictures without a vector of zeros and ones, one for each class.

    Raises:
        DataError: as said; nothing of the task is counted.
    """
    if shard.columns.shape[1] != num_classes or not np.isin(shard.columns, (0, 1)).all():
        raise DataError(
            f"The .npy members in {shard.path} are no vectors of {num_classes} zeros and ones.",
            "Copy the data again.",
        )


def scores(rows: Vectors, others: Vectors) -> Vectors:
    """Cosines of unit vectors, float32 [rows, others]; equal vectors give equal cosines wherever they stand.

    A matrix product adds up in another order at its edges, on another processor and with more threads. Here
    no order matters: of multiples of 2^-26 every product and every sum is exact in float64.
    """
    return (_rounded(rows) @ _rounded(others).T / _STEPS**2).astype(np.float32)


def ranks_of(logits: Vectors, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many classes come before the label: larger ones, and equal ones that stand before it; int64 [N]."""
    own = logits[np.arange(len(labels)), labels][:, None]
    is_before = np.arange(logits.shape[1])[None] < labels[:, None]
    ranks: NDArray[np.int64] = ((logits > own) | ((logits == own) & is_before)).sum(axis=1)
    return ranks


def per_class(outcomes: Outcomes, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Recall of each class with its interval and n; classes without a picture have n 0."""
    counts = np.bincount(outcomes.labels, minlength=len(classes))
    hits = np.bincount(outcomes.labels[outcomes.labels == outcomes.predictions], minlength=len(classes))
    said = np.bincount(outcomes.predictions, minlength=len(classes))
    rows: list[dict[str, Any]] = []
    for number, name in enumerate(classes):
        row: dict[str, Any] = {"class": name, "n": int(counts[number]), "said": int(said[number])}
        if counts[number]:
            row["recall"] = float(hits[number] / counts[number])
            row["interval_95"] = wilson(int(hits[number]), int(counts[number]))
        rows.append(row)
    return rows


def confusion(outcomes: Outcomes) -> list[list[int]]:
    """True class, class that was said, and how often: every pair that occurs, the most frequent first."""
    size = int(outcomes.predictions.max()) + 1
    pairs, counts = np.unique(outcomes.labels * size + outcomes.predictions, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [[*divmod(int(pairs[place]), size), int(counts[place])] for place in order]


def _rounded(rows: Vectors) -> NDArray[np.float64]:
    return np.rint(rows * np.float64(_STEPS))
