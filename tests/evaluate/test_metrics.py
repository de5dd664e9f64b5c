"""Every metric equals a plain loop over plain numbers; ties, empty groups, constant vectors are settled."""

import numpy as np
import pytest
from numpy.typing import NDArray

from clipworks.errors import DataError
from clipworks.evaluate import metrics
from clipworks.evaluate.choices import association_units, cue_prompt, selection_units
from clipworks.evaluate.classify import ranks_of, scores
from clipworks.evaluate.faces import face_columns
from clipworks.evaluate.groups import group_columns, group_rows, protocols
from clipworks.evaluate.retrieve import flatten, retrieval_units
from clipworks.evaluate.zipped import Cue, Selection
from tests.evaluate import reference


def unit(rows: int, width: int = 8, seed: int = 1) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((rows, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def outcomes(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    return metrics.outcome_columns(labels, logits.argmax(axis=1), ranks_of(logits, labels) < 5)


@pytest.mark.parametrize("num_classes", [2, 5, 7])
def test_classification_equals_the_plain_loop(num_classes: int) -> None:
    labels = np.random.default_rng(2).integers(0, num_classes, 90)
    logits = scores(unit(90), unit(num_classes, seed=3))
    units, weights = outcomes(logits, labels), np.ones(90)
    found = {n: m(units, weights) for n, m in metrics.classification_metrics(num_classes).items()}
    said = reference.predictions(logits)
    assert found["acc1"] == pytest.approx(reference.accuracy_at(logits, labels.tolist(), 1), abs=1e-12)
    assert found["mean_per_class_recall"] == pytest.approx(reference.mean_recall(said, labels.tolist()))
    assert ("acc5" in found) == (num_classes >= 5)
    if num_classes >= 5:
        assert found["acc5"] == pytest.approx(reference.accuracy_at(logits, labels.tolist(), 5))
        assert found["acc5"] >= found["acc1"]
    assert metrics.macro_f1(units, weights) == pytest.approx(reference.macro_f1(said, labels.tolist()))


def test_a_balanced_set_has_one_accuracy_and_top_c_is_one() -> None:
    labels = np.arange(100) % 5
    units = outcomes(scores(unit(100), unit(5, seed=4)), labels)
    assert metrics.accuracy(units, np.ones(100)) == pytest.approx(metrics.mean_recall(units, np.ones(100)))
    assert metrics.share_of("in_top5")(units, np.ones(100)) == 1


def test_constant_vectors_reach_chance_and_no_more() -> None:
    same = np.tile(unit(1), (30, 1))
    units = outcomes(scores(same, np.tile(unit(1, seed=5), (10, 1))), np.arange(30) % 10)
    assert metrics.accuracy(units, np.ones(30)) == pytest.approx(0.1)
    units, facts = retrieval_units(same, np.tile(unit(1), (30, 1)), np.arange(30))
    for name, metric in metrics.retrieval_metrics().items():
        k = int(name.rpartition("@")[2])
        assert metric(units, np.ones(30)) == pytest.approx(k / 30)
    assert facts["tied_texts"] == 30
    picks = [Selection(picture=0, right="a", wrong="b")] * 4
    units, facts = selection_units(same, picks, same[:4], same[:4])
    values = {n: m(units, np.ones(4)) for n, m in metrics.selection_metrics().items()}
    assert values == {"text_acc_strict": 0, "text_acc": 1}
    assert facts == {"tied_pairs": 4}


def test_equal_vectors_have_equal_cosines_wherever_they_stand() -> None:
    rows, twins = unit(301, 40), unit(1, 40, seed=9)
    others = np.concatenate([twins, unit(130, 40, seed=8), twins, unit(5, 40, seed=7), twins])
    found = scores(rows, others)
    assert (found[:, 0] == found[:, 131]).all() and (found[:, 0] == found[:, 137]).all()
    assert np.abs(found - rows.astype(np.float64) @ others.T.astype(np.float64)).max() < 1e-6


@pytest.mark.parametrize("num_captions", [1, 3, 7])
def test_retrieval_with_several_captions_equals_the_plain_loop(num_captions: int) -> None:
    captions = [[f"{i} {j}" for j in range(1 + (i * num_captions) % num_captions)] for i in range(12)]
    texts, owners = flatten(captions)
    images, vectors = unit(12), unit(len(texts), seed=6)
    vectors[1] = vectors[0]
    units, _ = retrieval_units(images, vectors, owners)
    table = metrics.retrieval_metrics()
    for k in (1, 5, 10):
        by_text, by_image = reference.recalls_at(images, vectors, owners.tolist(), k)
        assert table[f"image_retrieval_recall@{k}"](units, np.ones(12)) == pytest.approx(by_text)
        assert table[f"text_retrieval_recall@{k}"](units, np.ones(12)) == pytest.approx(by_image)


def test_a_picture_without_a_caption_is_refused() -> None:
    with pytest.raises(DataError, match="Picture number 1 has no caption"):
        retrieval_units(unit(2), unit(1), np.array([0]))


def test_average_precision_equals_the_plain_loop_and_a_hand_case() -> None:
    logits, targets = unit(20, 4), (np.random.default_rng(5).random((20, 4)) < 0.3).astype(np.int64)
    targets[:, 3] = 0  # a class without a positive counts 0
    units = {"targets": targets, "order": np.argsort(-logits, axis=0, kind="stable")}
    found = metrics.mean_average_precision(units, np.ones(20))
    assert found == pytest.approx(reference.average_precision(logits, targets))
    hand = {"targets": np.array([[1], [0], [1], [0]]), "order": np.array([[0], [1], [2], [3]])}
    assert metrics.mean_average_precision(hand, np.ones(4)) == pytest.approx((1 + 2 / 3) / 2)


def test_the_jaccard_index_of_a_cue_is_that_of_a_hand_case() -> None:
    images, prompt = np.eye(5, dtype=np.float32), np.array([[0.9, 0.5, 0.5, 0.1, 0.0]], dtype=np.float32)
    cue = Cue(cue="x", candidates=(0, 1, 2, 3, 4), associations=frozenset({0, 2}))
    units, facts = association_units(images, [cue], prompt)
    # 1 and 2 tie at the boundary: the first is chosen.
    assert units["jaccard"][0] == pytest.approx(reference.jaccard({0, 1}, {0, 2}))
    assert facts == {"tied_cues": 1}
    assert [cue_prompt(word) for word in ("Tree", "Egg", "unicorn")] == ["A tree", "An egg", "An unicorn"]
    table = metrics.association_metrics()
    both = {"jaccard": np.array([0.2, 0.8]), "candidates": np.array([5, 12])}
    assert table["jaccard_score_10-12"](both, np.ones(2)) == pytest.approx(0.8)
    assert table["jaccard_score_5-6"](both, np.ones(2)) == pytest.approx(0.2)
    assert np.isnan(table["jaccard_score_6"](both, np.ones(2)))


def test_the_worst_region_is_told_with_and_without_the_four_pictures_of_other() -> None:
    labels = np.arange(60) % 3
    logits = scores(unit(60), unit(3, seed=3))
    regions = np.array([5] * 4 + [0, 1, 2, 4] * 14)  # no picture of region 3
    logits[:4] = -1
    logits[np.arange(4), (labels[:4] + 1) % 3] = 1  # all four of Other are wrong
    units = outcomes(logits, labels)
    columns = np.stack([regions, np.arange(60) % 2, labels], axis=1)
    groups = group_columns("fmow", columns, labels)
    table = protocols()["fmow"].metrics
    found = {name: table[name]({**units, **groups}, np.ones(60)) for name in table}
    hits = units["hit"].tolist()
    assert found["acc_worst_region"] == reference.worst_group(hits, regions.tolist()) == 0
    expected = reference.worst_group(hits, regions.tolist(), without=(5,))
    assert found["acc_worst_region_excl_other"] == pytest.approx(expected) and expected > 0
    rows = group_rows(units, groups, "hit")
    assert [row["group"] for row in rows["region"]] == [0, 1, 2, 4, 5]
    assert [row["is_few"] for row in rows["region"]] == [True] * 5


def test_metadata_that_do_not_belong_to_the_labels_are_refused() -> None:
    columns = np.array([[0, 1, 2], [0, 1, 1]])
    with pytest.raises(DataError, match="Picture number 1 has the label 2 and the metadata say 1"):
        group_columns("fmow", columns, np.array([2, 2]))
    with pytest.raises(DataError, match="have 2 numbers a picture"):
        group_columns("fmow", columns[:, :2], np.array([2, 1]))


def test_metadata_of_faces_that_stand_for_nothing_are_refused() -> None:
    with pytest.raises(DataError, match=r"Picture number 1 has race 7; it must be 0..6"):
        face_columns(np.array([[8, 1, 6, 0], [0, 0, 7, 1]]))
    with pytest.raises(DataError, match="there must be 4: age, gender, race, race_binary"):
        face_columns(np.array([[8, 1, 6]]))
