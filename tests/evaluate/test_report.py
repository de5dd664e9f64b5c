"""What is told of results: averages as published, verdicts, pages, two models side by side, a gate."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipworks.errors import DataError
from clipworks.evaluate.compare import compare, gate
from clipworks.evaluate.metrics import classification_metrics, outcome_columns
from clipworks.evaluate.page import render_page
from clipworks.evaluate.report import as_csv, as_markdown, read_report, write_report
from clipworks.evaluate.results import Measured, find_incomplete, find_results, tell, write_result
from clipworks.evaluate.tasks import find_task, suites
from clipworks.evaluate.verify import averages, published_values, tolerance_of, verdicts
from clipworks.model.catalogue import rows
from clipworks.model.scores import scores_of

PUBLISHED = [row.id for row in rows() if row.source != "builtin"]


def result(
    out: Path, *, model: str = "one", task: str = "mine", share: float = 0.7, seed: int = 1, **more: Any
) -> dict[str, Any]:
    """A result of 400 pictures of which about `share` are right."""
    random = np.random.default_rng([seed, 5])
    labels = np.arange(400) % 4
    said = np.where(np.random.default_rng(7).random(400) < share, labels, random.integers(0, 4, 400))
    units = outcome_columns(labels, said, np.ones(400, dtype=bool))
    metrics = tell(Measured(units=units, metrics=classification_metrics(4), unit="picture"), seed=task)
    recalls = [float((said[labels == c] == c).mean()) for c in range(4)]
    content: dict[str, Any] = {
        **{"task": task, "name": task, "kind": "classification", "grouping": "", "metric": "acc1"},
        **{"value": metrics["acc1"]["value"], "interval_95": metrics["acc1"]["interval_95"], "n": 400},
        **{"metrics": metrics, "tied_top1": 0, "notes": ["A <note>."], "unit": "picture", "model": model},
        "per_class": [
            {"class": f"c{c} <b>", "n": 100, "said": 1, "recall": recalls[c], "interval_95": [0.1, 0.9]}
            for c in range(4)
        ],
        "confusion": [[0, 0, 90], [0, 1, 10]],
        "groups": {"region": [{"group": 0, "n": 9, "value": 0.5, "interval_95": [0.2, 0.8], "is_few": True}]},
        **{"fingerprint": f"{model:0<64}", "precision": "f32", "preprocess": "reference", "prompts": None},
        "data": {"sha256": "d" * 64, "source": "", "revision": "", "licence": ""},
        **more,
    }
    return write_result(out / model, task.replace("/", "-"), content, units)


def test_the_averages_of_the_published_columns_are_recomputed_exactly() -> None:
    """All five models, to the four decimals that are printed."""
    keys = {task.name: task.key for task in suites()["datacomp38"]}
    expected = {
        "facebook/metaclip-b16-fullcc2.5b": (0.6041, 0.6152, 0.7212, 0.6031, 0.5827, 0.6022),
        "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K": (0.5795, 0.5951, 0.6917, 0.5515, 0.5775, 0.5377),
        "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K": (0.6627, 0.6741, 0.7921, 0.6787, 0.6522, 0.6079),
        "openai/clip-vit-base-patch16": (0.5626, 0.5727, 0.6834, 0.5590, 0.5461, 0.5270),
        "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": (0.5694, 0.5807, 0.6656, 0.5221, 0.5614, 0.5602),
    }
    assert set(expected) == set(PUBLISHED)
    for model, numbers in expected.items():
        values = {keys[name]: value for name, (value, _) in published_values(model).items()}
        assert len(values) == 38
        found = averages(values)
        told = [round(row["value"], 4) for name, row in found.items() if name != "Average above chance"]
        assert told == list(numbers), model
        (published,) = (s.value for s in scores_of(model) if s.task == "average of 38")
        assert round(found["Average of 38"]["value"], 4) == published


def test_an_average_of_too_few_tasks_is_not_told() -> None:
    found = averages({"imagenet1k": 0.5})
    assert found["ImageNet"] == {"value": 0.5, "tasks": 1, "there": 1}
    assert found["Average of 38"] == {"value": None, "tasks": 38, "there": 1}


@pytest.mark.parametrize(
    ("distance", "n", "words"),
    [
        (0.00004, 10_000, "equal"),
        (0.0029, 10_000, "equal within noise"),
        (0.0031, 10_000, "differs"),
        (0.5, 9_999, "not comparable"),
    ],
)
def test_a_verdict_says_whether_a_number_is_the_published_one(distance: float, n: int, words: str) -> None:
    model = "openai/clip-vit-base-patch16"
    value = published_values(model)["CIFAR-10"][0] + distance
    measured = {
        "model": model,
        "task": "cifar10",
        "name": "CIFAR-10",
        "value": value,
        "n": n,
        "metric": "acc1",
    }
    measured |= {"precision": "bf16", "preprocess": "standard", "prompts": {"source": "folder"}}
    (found,) = verdicts([measured])
    assert found.words == words and found.published == pytest.approx(value - distance)
    assert bool(found.reasons) == (not words.startswith("equal"))
    if found.reasons:
        assert any("bf16" in reason for reason in found.reasons)


def test_the_four_pictures_of_fmow_are_a_reason_and_widen_the_noise() -> None:
    model = "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K"
    task = find_task("fmow")
    assert published_values(model)["FMoW"][0] == 0
    measured = {"model": model, "task": task.key, "name": "FMoW", "n": task.size, "metric": task.metric}
    measured |= {"precision": "f32", "preprocess": "reference", "prompts": {"source": "published"}}
    measured |= {"groups": {"region": [{"n": 4}, {"n": 5000}]}}
    (near,) = verdicts([{**measured, "value": 0.25}])
    (far,) = verdicts([{**measured, "value": 0.4}])
    assert near.words == "equal within noise" and far.words == "differs"
    assert any("4 pictures" in reason for reason in far.reasons)


def test_the_worst_group_is_as_noisy_as_its_smallest_group() -> None:
    result = {"n": 12_488, "metric": "acc_wg", "groups": {"region": [{"n": 50}, {"n": 5000}]}}
    assert tolerance_of(result) == pytest.approx(0.003 * 10)
    assert tolerance_of({**result, "metric": "acc1"}) == 0.003
    years = {**result, "metric": "acc_worst_year", "groups": {**result["groups"], "year": [{"n": 5000}]}}
    assert tolerance_of(years) == 0.003


def test_reasons_are_those_of_the_task_alone() -> None:
    measured = {"model": PUBLISHED[0], "n": 1, "precision": "f32", "preprocess": "reference", "value": 0.5}
    for key, words in (("imagenet1k", "share a name"), ("imagenet-o", "partly wrong")):
        task = find_task(key)
        (found,) = verdicts([{**measured, "task": key, "name": task.name, "metric": task.metric}])
        assert len(found.reasons) == 2 and words in found.reasons[1]


def test_a_report_is_one_page_and_two_tables_of_the_same_rows(tmp_path: Path) -> None:
    for task in ("mine", "cifar10"):
        result(tmp_path, task=task)
        result(tmp_path, task=task, model="two", share=0.9)
    report = read_report([tmp_path])
    paths = write_report(report, tmp_path / "report")
    assert [path.name for path in paths] == ["report.html", "report.csv", "report.md"]
    lines = list(csv.DictReader(as_csv(report).splitlines()))
    assert [(line["model"], line["task"]) for line in lines] == [
        *(("one", "cifar10"), ("one", "mine")),
        *(("two", "cifar10"), ("two", "mine")),
    ]
    page = paths[0].read_text()
    for words in ("one less two", "Worst classes", "c0 &lt;b&gt;", "A &lt;note&gt;.", "By region", "<svg"):
        assert words in page, words
    assert "<script" not in page and "http:" not in page.replace("http://www.w3.org/2000/svg", "")
    text = as_markdown(report)
    assert f"| mine | acc1 | {float(lines[1]['value']):.4f} |" in text and "## one less two" in text


def test_models_are_compared_on_the_same_pictures_only(tmp_path: Path) -> None:
    result(tmp_path / "a")
    result(tmp_path / "b", model="two", share=0.9)
    one, two = find_results([tmp_path / "a"]), find_results([tmp_path / "b"])
    (found,) = compare(two, one)
    low, high = found.interval_95
    assert low < found.difference < high and low > 0 and found.is_significant and found.n == 400
    (same,) = compare(one, one)
    assert same.difference == 0 and same.p == 1 and not same.is_significant
    other = {"sha256": "e" * 64, "source": "", "revision": "", "licence": ""}
    result(tmp_path / "c", model="two", data=other)
    with pytest.raises(DataError, match="other data"):
        compare(one, find_results([tmp_path / "c"]))
    report = read_report([tmp_path / "a", tmp_path / "c"])  # the rest of a report does not fail for it
    assert not report.differences and report.uncompared == ("mine",)
    assert "Not compared" in render_page(report)
    result(tmp_path / "e", task="yours")
    with pytest.raises(DataError, match="no task in common"):
        compare(one, find_results([tmp_path / "e"]))


def test_the_gate_fails_on_a_fall_that_is_no_chance_and_on_a_missing_task(tmp_path: Path) -> None:
    result(tmp_path / "old", share=0.9)
    result(tmp_path / "worse", share=0.7)
    result(tmp_path / "near", share=0.9, seed=2)
    result(tmp_path / "other", task="yours")
    old, worse, near = (find_results([tmp_path / name]) for name in ("old", "worse", "near"))
    assert not gate(worse, old, max_drop=0.003, alpha=0.05).is_passed
    assert gate(worse, old, max_drop=0.5, alpha=0.05).is_passed  # more may fall
    assert gate(near, old, max_drop=0.003, alpha=0.05).is_passed  # chance
    assert gate(old, worse, max_drop=0.003, alpha=0.05).is_passed  # a rise
    both = [*find_results([tmp_path / "other"]), *old]
    assert gate(old, both, max_drop=0.003, alpha=0.05).missing == ("yours",)
    with pytest.raises(DataError, match="are both results of mine"):
        gate(old, [*worse, *near], max_drop=0.003, alpha=0.05)


def test_two_results_of_one_model_and_task_are_refused(tmp_path: Path) -> None:
    result(tmp_path / "a")
    result(tmp_path / "b")
    with pytest.raises(DataError, match="are the same task and model"):
        read_report([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(DataError, match="does not exist"):
        read_report([tmp_path / "nowhere"])


def test_a_result_without_its_outcomes_does_not_count(tmp_path: Path) -> None:
    result(tmp_path)
    (tmp_path / "one" / "mine.npz").unlink()
    with pytest.raises(DataError, match="holds no complete result"):
        find_results([tmp_path])
    assert find_incomplete([tmp_path]) == [tmp_path / "one" / "mine.json"]
    (tmp_path / "one" / "mine.json").write_text('{"format": "clipworks result 1"}')
    assert find_incomplete([tmp_path]) == [tmp_path / "one" / "mine.json"]
    (tmp_path / "one" / "mine.json").write_text("[1]")
    assert find_incomplete([tmp_path]) == []


def test_a_folder_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    result(tmp_path)
    assert len(find_results([tmp_path, tmp_path / "one", tmp_path / "one" / "mine.json"])) == 1


def test_numbers_that_are_none_are_null(tmp_path: Path) -> None:
    content = result(tmp_path, value=float("nan"))
    assert json.loads((tmp_path / "one" / "mine.json").read_text())["value"] is None
    assert content["format"] == "clipworks result 1"
    assert replace(find_task("cifar10"), name="x").name == "x"
