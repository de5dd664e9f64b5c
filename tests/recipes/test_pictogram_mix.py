"""Weights between two models."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_clip import TinyClip

from clipworks.model.weights import read_checkpoint
from recipes.pictogram_mix import main, mix, mix_models
from recipes.pictogram_towers import TABLE


def rows(*values: float) -> NDArray[np.float32]:
    return np.array([[value, value] for value in values], dtype=np.float32)


def test_a_change_is_taken_by_its_share() -> None:
    assert np.allclose(mix("vision.blocks.0.ln.weight", rows(1), rows(3), 0.6), 2.2)


def test_rows_of_tokens_that_were_empty_are_taken_whole() -> None:
    assert np.allclose(mix(TABLE, rows(0, 1), rows(5, 2), 0.6), rows(5, 1.6))


def test_twice_the_same_model_is_that_model(tiny_clip: TinyClip, tmp_path: Path) -> None:
    same = Path(tiny_clip.native)
    mix_models(same, same, tmp_path / "mixed", 0.6)
    before, after = read_checkpoint(same), read_checkpoint(tmp_path / "mixed")
    assert all(np.array_equal(before.tensors[name], after.tensors[name]) for name in before.tensors)


def test_a_share_of_more_than_all_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["mix", "a", "b", "c", "--share", "1.5"])
    with pytest.raises(SystemExit):
        main()
    assert "argument --share: 1.5 is not in 0..1" in capsys.readouterr().err
