"""Light on flat drawings."""

import numpy as np
import pytest
from numpy.typing import NDArray

from recipes import pictogram_shading
from recipes.pictogram_shading import shade


@pytest.fixture(autouse=True)
def all_lit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictogram_shading, "LIT_PROB", 1.0)


def disc(colour: int = 120, side: int = 64) -> NDArray[np.uint8]:
    """A grey disc on nothing, uint8 [1, S, S, 4]."""
    place = np.arange(side) - side / 2 + 0.5
    inside = place[:, None] ** 2 + place[None, :] ** 2 < (side / 3) ** 2
    rgba = np.full((1, side, side, 4), colour, dtype=np.uint8)
    rgba[0, ..., 3] = 255 * inside
    return rgba


def test_one_side_becomes_lighter_and_the_opposite_one_darker() -> None:
    before = disc()
    after = shade(before, np.random.default_rng(0))
    inside = before[0, ..., 3] > 0
    change = (after[0, ..., 0].astype(int) - before[0, ..., 0])[inside]
    assert change.max() > 20 and change.min() < -20
    assert (after[..., 3] == before[..., 3]).all() and (before == disc()).all()


def test_what_fills_its_whole_square_stays() -> None:
    photograph = np.random.default_rng(1).integers(0, 255, (3, 16, 16, 4), dtype=np.uint8)
    photograph[..., 3] = 255
    assert shade(photograph, np.random.default_rng(0)) is photograph


def test_the_same_draws_give_the_same_light() -> None:
    pictures = np.concatenate([disc(40), disc(200)])
    first, again, other = (shade(pictures, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert (first == again).all() and (first != other).any()
