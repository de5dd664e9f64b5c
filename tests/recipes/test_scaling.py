"""The scaling study's shapes and its report."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipworks.files import write_json
from recipes import scaling
from recipes.ablation_report import MEASURES


def test_shapes_have_names_of_their_own_and_valid_configurations() -> None:
    assert len({shape.name for shape in scaling.SHAPES}) == len(scaling.SHAPES)
    for shape in scaling.SHAPES:
        config = shape.config(600, 1)
        assert config.model.vision.image_size == shape.side and config.seed == 1
        assert bool(config.unmasked_steps) == bool(shape.dropout)


def test_patches_that_are_left_out_cost_nothing() -> None:
    whole = scaling.Shape(width=256, layers=6, patch=8, dropout=0.0)
    assert 0.4 < replace(whole, dropout=0.5).multiplications() / whole.multiplications() < 0.55


def test_smaller_pictures_are_means_to_which_what_is_transparent_adds_no_colour() -> None:
    pictures = np.zeros((1025, 4, 4, 4), np.uint8)
    pictures[-1, :2, :2] = [[[10, 20, 30, 255], [20, 30, 40, 255]], [[99, 99, 99, 0], [99, 99, 99, 0]]]
    small = scaling.reduce_pictures(pictures, 2)
    assert small.shape == (1025, 2, 2, 4)
    assert small[-1, 0, 0].tolist() == [15, 25, 35, 128] and not small[:-1].any()
    assert scaling.reduce_pictures(pictures, 4) is pictures
    with pytest.raises(ValueError, match="no divisor"):
        scaling.reduce_pictures(pictures, 3)


def test_what_was_run_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for steps, value in ((200, 5.0), (600, 9.0)):
        scores = {suite: {measure: {"value": value}} for suite, (measure, _) in MEASURES.items()}
        folder = tmp_path / f"shapes/a-{steps}"
        counts = {"seed": 0, "samples_seen": steps * 256, "core_seconds": 1.0}
        write_json(folder / "scores.json", {"scores": scores, **counts})
        write_json(folder / "shape.json", {"shape": "a", "multiplications": 1e6})
    written = dict[str, Any]()
    monkeypatch.setattr(scaling, "write_result", lambda name, results: written.update({name: results}))
    scaling.write_report(tmp_path)
    first, second = written["scaling"]["runs"]
    assert (first["mean"], second["mean"]) == (5.0, 9.0) and second["arithmetic"] == 3e6 * 600 * 256
    assert (tmp_path / "scaling.svg").read_text().startswith("<svg")
    assert ">a</text>" in (tmp_path / "scaling.svg").read_text()
