"""Training, validation and test parts of a small data set, so that no test picture is ever trained on.

Parts that the data state are kept. What is missing is cut off class by class, in an order drawn from the
seed. Pictures of equal bytes stay together: copies of a test picture do not train.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import DataError
from clipworks.train.examples import Example

HELD_OUT_SHARE = 0.2
"""What is cut off of every class for a part that the data do not state."""

Places = NDArray[np.int64]
"""Numbers of examples, rising."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Which examples train, which decide settings, which are looked at once at the end."""

    train: Places
    val: Places
    test: Places
    num_copies: int
    """Examples left out since a test or validation picture has the same bytes."""
    is_val_cut: bool
    """Whether validation was cut off here, not stated by the data."""
    is_test_cut: bool
    """Whether the test part was cut off here."""


def labels_of(examples: Sequence[Example]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The classes in alphabetical order, and the number of each example's class, int64 [N].

    Raises:
        DataError: an example has no label, or there are fewer than two classes.
    """
    missing = next((example.name for example in examples if not example.label), None)
    if missing is not None:
        raise DataError(
            f"{missing} has no label.", "Give every picture a class; captions train with finetune."
        )
    classes = tuple(sorted({example.label for example in examples}))
    if len(classes) < 2:
        raise DataError(f"There is one class, {classes[0]!r}.", "A classifier needs two or more.")
    numbers = {label: number for number, label in enumerate(classes)}
    return classes, np.array([numbers[example.label] for example in examples])


def contradiction_words(examples: Sequence[Example], hashes: Sequence[str]) -> str:
    """That pictures of equal bytes have different labels, in a sentence; empty where none have."""
    labels: dict[str, dict[str, str]] = defaultdict(dict)
    for example, digest in zip(examples, hashes, strict=True):
        if example.label:
            labels[digest].setdefault(example.label, example.name)
    several = [found for found in labels.values() if len(found) > 1]
    if not several:
        return ""
    (first, name), (second, other) = list(several[0].items())[:2]
    count = "1 picture stands" if len(several) == 1 else f"{len(several)} pictures stand"
    return (
        f"{count} in several classes with the same bytes, such as {name} ({first}) and {other} ({second}): "
        "no classifier can be right about all of them."
    )


def cut_parts(examples: Sequence[Example], hashes: Sequence[str], *, seed: int) -> Parts:
    """Divide examples into training, validation and test.

    Args:
        examples: stated splits are kept; the others count as training. Strata are labels where all have
            one, else everything is one stratum.
        hashes: of their bytes, one each.
        seed: decides what is cut off.

    Raises:
        DataError: a class has too few pictures for the parts that must be cut off, or none to train.
    """
    is_labelled = all(example.label for example in examples)
    stated = {split: [i for i, e in enumerate(examples) if e.split == split] for split in ("val", "test")}
    held = {hashes[i] for i in stated["val"] + stated["test"]}
    pool = [i for i, e in enumerate(examples) if e.split not in ("val", "test") and hashes[i] not in held]
    test_hashes = {hashes[i] for i in stated["test"]}
    val = [i for i in stated["val"] if hashes[i] not in test_hashes]
    num_copies = len(examples) - len(pool) - len(val) - len(stated["test"])

    def cut(some: list[int], parts_after: int, what: str) -> tuple[list[int], list[int]]:
        strata: dict[str, list[int]] = defaultdict(list)
        for i in some:
            strata[examples[i].label if is_labelled else ""].append(i)
        taken: set[int] = set()
        for label, members in strata.items():
            taken |= set(_cut_stratum(members, hashes, (seed, what), parts_after, label))
        return [i for i in some if i not in taken], sorted(taken)

    test = stated["test"]
    if not test:
        pool, test = cut(pool, 1 if stated["val"] else 2, "test")
    if not val:
        pool, val = cut(pool, 1, "val")
    parts = Parts(
        train=np.array(pool, dtype=np.int64),
        val=np.array(val, dtype=np.int64),
        test=np.array(test, dtype=np.int64),
        num_copies=num_copies,
        is_val_cut=not stated["val"],
        is_test_cut=not stated["test"],
    )
    _require_classes(examples, parts, is_labelled)
    return parts


def draw_shots(
    labels: NDArray[np.int64], shots: int, rng: np.random.Generator, *, is_strict: bool = True
) -> Places | None:
    """Places of `shots` examples of each class, drawn at random, rising.

    Args:
        labels: int64 [N].
        shots: how many of each class.
        rng: where the draw comes from.
        is_strict: True gives None where a class has fewer; False takes what it has.
    """
    chosen: list[Places] = []
    for number in range(int(labels.max()) + 1):
        places = np.flatnonzero(labels == number)
        if is_strict and len(places) < shots:
            return None
        chosen.append(rng.permutation(places)[:shots])
    return np.sort(np.concatenate(chosen))


def _cut_stratum(
    members: Sequence[int], hashes: Sequence[str], key: tuple[int, str], parts_after: int, label: str
) -> list[int]:
    """About HELD_OUT_SHARE of a class, at least one picture, whole groups of equal bytes."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i in members:
        groups[hashes[i]].append(i)
    if len(groups) < parts_after + 1:
        what = f"The class {label!r}" if label else "The data"
        has = "1 different picture" if len(groups) == 1 else f"{len(groups)} different pictures"
        raise DataError(
            f"{what} has {has}, and {parts_after} of them must be held out.",
            f"Give it {parts_after + 1} or more, or state the splits.",
        )
    wanted = max(1, round(HELD_OUT_SHARE * len(members)))
    rank: Callable[[str], bytes] = lambda h: sha256(f"{key} {h}".encode()).digest()  # noqa: E731
    taken: list[int] = []
    for group in sorted(groups, key=rank)[: len(groups) - parts_after]:
        if len(taken) >= wanted:
            break
        taken += groups[group]
    return taken


def _require_classes(examples: Sequence[Example], parts: Parts, is_labelled: bool) -> None:
    if not len(parts.train):
        raise DataError("No picture is left to train on.", "Give a training split.")
    if not is_labelled:
        return
    trained = {examples[i].label for i in parts.train}
    for name, places in (("validation", parts.val), ("test", parts.test)):
        unknown = sorted({examples[i].label for i in places} - trained)
        if unknown:
            raise DataError(
                f"The {name} split has the class {unknown[0]!r}, of which no picture trains.",
                "Give pictures of it to the training split, or leave it out.",
            )
