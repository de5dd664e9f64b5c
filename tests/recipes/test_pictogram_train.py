"""The long training: its configuration, and a run that shall end earlier."""

import json
from pathlib import Path

import pytest

from clipworks.errors import DataError
from clipworks.files import write_json
from recipes import pictogram_train
from recipes.pictogram_train import COOLDOWN_STEPS, config, end_earlier


def begun(folder: Path, steps: int) -> Path:
    write_json(folder / "train.json", {"config": config().to_json(), "data_sha256": "0"})
    lines = [json.dumps({"step": number}) for number in range(steps)]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    return folder


def test_the_rate_falls_only_at_the_end_and_the_weights_fit_into_the_package() -> None:
    settings = config()
    assert settings.schedule == "cooldown" and settings.cooldown_steps < settings.steps
    vision, text = settings.model.vision, settings.model.text
    blocks = 12 * (vision.width**2 * vision.layers + text.width**2 * text.layers)
    assert 2 * (blocks + 28_000 * text.width) < 24_000_000  # in half precision, with 28,000 rows of tokens


def test_a_run_is_copied_as_a_shorter_one(tmp_path: Path) -> None:
    end_earlier(begun(tmp_path / "run", 10), tmp_path / "copy", 6000)
    assert json.loads((tmp_path / "copy/train.json").read_bytes())["config"]["steps"] == 6000
    assert pictogram_train._steps_of(tmp_path / "copy") == 6000
    assert pictogram_train._steps_of(tmp_path / "none") is None


def test_a_run_that_is_too_far_is_not_shortened(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has taken 1000 steps"):
        end_earlier(begun(tmp_path / "run", 1000), tmp_path / "copy", COOLDOWN_STEPS + 900)
    assert not (tmp_path / "copy").exists()
