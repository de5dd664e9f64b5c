"""Numbers that were measured here, read from what evaluations write."""

import json
from pathlib import Path
from typing import Any

import pytest

from clipworks.errors import ConfigError
from clipworks.evaluate import results
from clipworks.model import measured
from clipworks.model.measured import read_measured

RESULT: dict[str, Any] = {
    "format": results.FORMAT,
    "task": "imagenet1k",
    "name": "ImageNet 1k",
    "grouping": "",
    "metric": "acc1",
    "value": 0.6834,
    "interval_95": [0.679, 0.687],
    "n": 50000,
    "metrics": {"acc1": {"value": 0.6834, "interval_95": [0.679, 0.687], "n": 50000}},
    "model": "openai/clip-vit-base-patch16",
    "fingerprint": "f" * 64,
    "precision": "f32",
}


def write(folder: Path, file: str, **changes: Any) -> None:
    (folder / f"{file}.json").write_text(json.dumps(RESULT | changes))


def test_the_form_is_the_one_that_evaluations_write() -> None:
    assert measured.FORMAT == results.FORMAT


def test_a_result_is_read_with_the_name_that_published_scores_have(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write(tmp_path / "run", "imagenet")
    (score,) = read_measured(tmp_path)
    assert (score.task, score.metric, score.value) == ("ImageNet 1k", "top-1", 0.6834)
    assert score.interval == (0.679, 0.687) and score.count == 50000 and score.groups == ()


def test_groups_and_the_audit_of_faces_are_read(tmp_path: Path) -> None:
    row = {"group": 3, "n": 900, "value": 0.9, "interval_95": [0.88, 0.92], "is_few": False}
    write(tmp_path, "geode", name="GeoDE", metric="acc_wg", groups={"region": [row, row | {"value": None}]})
    cells = {
        "acc_gender_race_binary:0": {"value": 0.9, "interval_95": [0.8, 0.95], "n": 100},
        "toxicity_crime_race:2": {"value": None, "n": 3, "note": "fewer than 30 pictures"},
        "acc_gender_avg": {"value": 0.9, "interval_95": [0.8, 0.95], "n": 100},
    }
    write(tmp_path, "faces", name="FairFace", grouping="faces", metric="", value=None, metrics=cells)
    faces, geode = read_measured(tmp_path)
    assert [(one.column, one.group, one.value) for one in faces.groups] == [
        ("acc_gender_race_binary", "0", 0.9)
    ]
    assert faces.value is None
    assert [(one.column, one.group, one.count) for one in geode.groups] == [("region", "3", 900)]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"format": "another"}',
        json.dumps({"format": results.FORMAT}),
        json.dumps(RESULT | {"n": None}),
        json.dumps(RESULT | {"groups": {"region": [3]}}),
        "[" * 100_000,
    ],
)
def test_other_and_damaged_files_are_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    write(tmp_path, "b")
    assert [score.file for score in read_measured(tmp_path)] == ["b.json"]


def test_a_file_that_is_too_large_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "MAX_BYTES", 10)
    write(tmp_path, "a")
    assert read_measured(tmp_path) == ()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere is not there"):
        read_measured(tmp_path / "nowhere")
