"""Parts of a data set: stated ones are kept, copies never cross, few pictures are refused in words."""

from pathlib import Path

import numpy as np
import pytest

from clipworks.errors import DataError
from clipworks.train.examples import Example, Split
from clipworks.train.splits import contradiction_words, cut_parts, draw_shots, labels_of


def example(name: str, label: str, split: Split = "") -> Example:
    return Example(name=name, image=Path(name), label=label, texts=(label,), split=split)


def made(per_class: int, classes: str = "ab", split: Split = "") -> list[Example]:
    return [example(f"{c}{i}", c, split) for c in classes for i in range(per_class)]


def hashes_of(examples: list[Example]) -> list[str]:
    return [e.name for e in examples]


def test_a_fifth_of_each_class_is_held_out_twice_and_nothing_overlaps() -> None:
    examples = made(10)
    parts = cut_parts(examples, hashes_of(examples), seed=0)
    places = [*parts.train, *parts.val, *parts.test]
    assert sorted(places) == list(range(20))
    for part, count in ((parts.test, 2), (parts.val, 2), (parts.train, 6)):
        assert sum(examples[i].label == "a" for i in part) == count
    assert parts.is_test_cut and parts.is_val_cut


def test_stated_parts_are_kept_and_the_seed_decides_the_rest() -> None:
    examples = made(10, split="train") + made(3, split="test")
    hashes = [str(i) for i in range(len(examples))]
    one, two, again = (cut_parts(examples, hashes, seed=seed) for seed in (0, 1, 0))
    assert list(one.test) == list(range(20, 26)) and not one.is_test_cut
    assert list(one.val) == list(again.val) != list(two.val)


def test_a_copy_of_a_test_picture_does_not_train() -> None:
    examples = made(6, split="train") + made(2, split="test")
    hashes = [str(i) for i in range(len(examples))]
    hashes[0] = hashes[12]
    parts = cut_parts(examples, hashes, seed=0)
    assert 0 not in [*parts.train, *parts.val]
    assert parts.num_copies == 1


def test_copies_that_are_cut_off_go_together() -> None:
    examples = made(9)
    hashes = [str(i // 3) for i in range(len(examples))]
    for seed in range(5):
        parts = cut_parts(examples, hashes, seed=seed)
        assert not {hashes[i] for i in parts.train} & {hashes[i] for i in [*parts.val, *parts.test]}


def test_one_picture_of_a_class_is_refused_in_words() -> None:
    examples = [*made(5), example("lonely", "c")]
    with pytest.raises(DataError, match="class 'c' has 1 different picture.*Give it 3 or more"):
        cut_parts(examples, hashes_of(examples), seed=0)


def test_a_test_class_that_nothing_trains_is_named() -> None:
    examples = [*made(5, split="train"), example("x", "zebra", "test")]
    with pytest.raises(DataError, match="test split has the class 'zebra'"):
        cut_parts(examples, hashes_of(examples), seed=0)


def test_one_class_or_a_missing_label_is_refused() -> None:
    with pytest.raises(DataError, match="one class, 'a'"):
        labels_of(made(3, classes="a"))
    with pytest.raises(DataError, match="x has no label"):
        labels_of([*made(3), example("x", "")])


def test_pictures_of_equal_bytes_with_different_labels_are_told() -> None:
    examples = made(2)
    assert contradiction_words(examples, ["0", "0", "1", "1"]) == ""
    said = contradiction_words(examples, ["0", "1", "0", "2"])
    assert said.startswith(
        "1 picture stands in several classes with the same bytes, such as a0 (a) and b0 (b)"
    )
    assert contradiction_words(examples, ["0", "1", "0", "1"]).startswith("2 pictures stand")


def test_shots_are_so_many_of_each_class_or_none() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    rng = np.random.default_rng(0)
    drawn = draw_shots(labels, 2, rng)
    assert drawn is not None and np.bincount(labels[drawn]).tolist() == [2, 2, 2]
    assert draw_shots(labels, 3, rng) is None
    loose = draw_shots(labels, 3, rng, is_strict=False)
    assert loose is not None and np.bincount(labels[loose]).tolist() == [3, 2, 3]
