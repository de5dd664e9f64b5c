"""Weights between two models."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tiny_clip import TinyClip

from clipworks.model.weights import read_checkpoint
from recipes.pictogram_mix import SHARE, main, mix

TABLE = "text.token_embedding.weight"


def rows(*values: float) -> NDArray[np.float32]:
    return np.array([[value, value] for value in values], dtype=np.float32)


def test_a_change_is_taken_by_its_share() -> None:
    assert np.allclose(mix("vision.blocks.0.ln.weight", rows(1), rows(3)), 1 + 2 * SHARE)


def test_rows_of_tokens_that_were_empty_are_taken_whole() -> None:
    assert np.allclose(mix(TABLE, rows(0, 1), rows(5, 2)), rows(5, 1 + SHARE))


def test_twice_the_same_model_is_that_model(tiny_clip: TinyClip, tmp_path: Path) -> None:
    same = Path(tiny_clip.native)
    main(same, same, tmp_path / "mixed")
    before, after = read_checkpoint(same), read_checkpoint(tmp_path / "mixed")
    assert all(np.array_equal(before.tensors[name], after.tensors[name]) for name in before.tensors)
