import csv
from itertools import groupby

import pytest

from clipworks.model.catalogue import find, rows
from clipworks.model.pull import BUILTIN
from clipworks.model.scores import COLUMNS, MAIN_SUITE, PUBLISHED, headline, scores_of

PUBLISHED_IDS = [row.id for row in rows()[1:]]


@pytest.mark.parametrize("model", PUBLISHED_IDS)
def test_the_published_average_is_the_plain_mean_of_the_38_tasks(model: str) -> None:
    main = [score for score in scores_of(model) if score.suite == MAIN_SUITE]
    (average,) = (score for score in main if score.is_average)
    values = [score.value for score in main if not score.is_average]
    assert len(values) == 38
    assert sum(values) / 38 == pytest.approx(average.value, abs=6e-5)


def test_the_headline_numbers_are_the_published_ones() -> None:
    assert [headline(model) for model in PUBLISHED_IDS] == [
        (0.7212, 0.6041),
        (0.6917, 0.5795),
        (0.7921, 0.6627),
        (0.6834, 0.5626),
        (0.6656, 0.5694),
    ]
    assert headline("pictogram") == (None, None)


@pytest.mark.parametrize("model", PUBLISHED_IDS)
def test_mean_recall_is_the_mean_of_both_directions(model: str) -> None:
    values = {(score.task, score.metric): score.value for score in scores_of(model)}
    for task in ("Flickr", "MSCOCO"):
        both = (values[task, "image retrieval R@1"] + values[task, "text retrieval R@1"]) / 2
        assert values[task, "mean R@1"] == pytest.approx(both, abs=6e-5)


def test_the_worst_region_of_datacomp_b32_is_zero_and_stays_so() -> None:
    (fmow,) = (score for score in scores_of(find("datacomp-b32").id) if score.task == "FMoW")
    assert (fmow.value, fmow.metric) == (0.0, "worst region")


def test_every_score_is_a_share_with_a_source() -> None:
    for model in [*PUBLISHED_IDS, "pictogram"]:
        for score in scores_of(model):
            assert 0 <= score.value <= 1
            assert "@" in score.source


def test_every_published_model_is_scored_on_the_same_tasks_once() -> None:
    with PUBLISHED.open(encoding="ascii", newline="") as file:
        table = list(csv.reader(file))
    assert tuple(table[0]) == COLUMNS
    tasks = {
        model: [tuple(row[1:4]) for row in group] for model, group in groupby(table[1:], lambda row: row[0])
    }
    assert list(tasks) == PUBLISHED_IDS or set(tasks) == set(PUBLISHED_IDS)
    assert all(len(found) == len(set(found)) for found in tasks.values())
    keys = {model: {(s.suite, s.task, s.metric) for s in scores_of(model)} for model in PUBLISHED_IDS}
    assert all(found == keys[PUBLISHED_IDS[0]] for found in keys.values())


def test_the_built_in_models_scores_are_those_measured_with_interval_and_count() -> None:
    assert (BUILTIN / "pictogram" / "scores.json").is_file()
    scores = scores_of("pictogram")
    assert scores
    for score in scores:
        assert score.interval is not None and score.count is not None
        assert score.interval[0] <= score.value <= score.interval[1]
        assert score.source.startswith("benchmarks/pictogram.py@")


def test_a_model_that_nobody_knows_has_no_scores() -> None:
    assert scores_of("someone/else") == ()
