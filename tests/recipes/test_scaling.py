"""The scaling study's shapes and its report."""

from pathlib import Path
from typing import Any

import pytest

from clipworks.files import write_json
from recipes import scaling
from recipes.ablation_report import MEASURES


def test_shapes_have_names_of_their_own_and_valid_configurations() -> None:
    assert len({shape.name for shape in scaling.SHAPES}) == len(scaling.SHAPES)
    for shape in scaling.SHAPES:
        config = shape.config(64, 600, 1)
        assert config.model.vision.image_size == 64 and config.seed == 1
        assert bool(config.unmasked_steps) == bool(shape.dropout)


def test_patches_that_are_left_out_cost_nothing() -> None:
    whole, half = scaling.Shape(width=256, layers=6, patch=8, dropout=0.0), scaling.SHAPES[4]
    assert 0.4 < half.multiplications(64) / whole.multiplications(64) < 0.55


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
    assert "a, seed 0" in (tmp_path / "scaling.svg").read_text()
