"""What published tasks measure with, as the list of tasks says it, and the intervals that follow."""

import csv
from pathlib import Path

import clipworks.evaluate.tasks
from clipworks.model.scores import MAIN_SUITE, Score, scores_of
from clipworks.model.yardsticks import interval_of, yardstick

TASKS = Path(clipworks.evaluate.tasks.__file__).with_name("tasks.csv")


def test_sizes_and_guesses_are_those_of_the_list_of_tasks() -> None:
    with TASKS.open(encoding="utf-8", newline="") as file:
        listed = [row for row in csv.DictReader(file) if "datacomp38" in row["suites"].split()]
    assert len(listed) == 38
    for row in listed:
        known = yardstick(row["name"])
        assert known is not None and known.num_pictures == int(row["size"]), row["name"]
        assert known.chance == (float(row["chance"]) if row["chance"] else None), row["name"]


def test_every_published_task_of_the_38_has_a_yardstick_and_others_have_none() -> None:
    published = {s.task for s in scores_of("openai/clip-vit-base-patch16") if s.suite == MAIN_SUITE}
    assert {task for task in published if yardstick(task) is None} == {"average of 38"}


def test_only_plain_shares_of_pictures_have_an_interval() -> None:
    def score(task: str, metric: str) -> Score:
        return Score(suite=MAIN_SUITE, task=task, metric=metric, value=0.5, source="")

    low, high = interval_of(score("ImageNet 1k", "top-1")) or (0.0, 0.0)
    assert 0.495 < low < 0.5 < high < 0.505
    assert interval_of(score("FGVC Aircraft", "mean per-class recall")) is None
    assert interval_of(score("average of 38", "mean")) is None
    own = Score(suite="own", task="x", metric="top1", value=0.5, source="", interval=(0.4, 0.6), count=9)
    assert interval_of(own) == (0.4, 0.6)
