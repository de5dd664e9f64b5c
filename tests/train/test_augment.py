"""Pixels for training."""

import numpy as np
import torch

from clipworks.model.config import PreprocessConfig
from clipworks.train.augment import composite, draw_kept_patches, draw_moves, move, normalise


def glyphs(count: int) -> np.ndarray:
    """Black squares in the alpha channel, uint8 [count, 8, 8, 4]."""
    rgba = np.zeros((count, 8, 8, 4), dtype=np.uint8)
    rgba[:, 2:6, 2:6, 3] = 255
    return rgba


def test_without_recolouring_everything_lies_on_white() -> None:
    images = composite(glyphs(3), np.array([True, False, True]), np.random.default_rng(0), recolour=False)
    assert images.dtype == np.float32 and images.shape == (3, 8, 8, 3)
    assert (images[:, 0, 0] == 1).all() and (images[:, 3, 3] == 0).all()


def test_a_recoloured_glyph_stands_out_from_its_ground() -> None:
    images = composite(glyphs(500), np.ones(500, dtype=bool), np.random.default_rng(0), recolour=True)
    ink, ground = images[:, 3, 3].mean(axis=-1), images[:, 0, 0].mean(axis=-1)
    assert np.abs(ink - ground).min() > 0.1
    assert len(np.unique(ink.round(3))) > 100
    assert images.min() >= 0 and images.max() <= 1


def test_a_picture_keeps_its_own_colours() -> None:
    rgba = np.full((50, 8, 8, 4), 255, dtype=np.uint8)
    rgba[..., 1] = 100
    images = composite(rgba, np.zeros(50, dtype=bool), np.random.default_rng(0), recolour=True)
    assert np.allclose(images[..., 1], 100 / 255) and np.allclose(images[..., 0], 1)


def test_a_move_without_zoom_and_shift_changes_nothing() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.manual_seed(1))
    moves = draw_moves(2, np.random.default_rng(0), zoom=0.0, shift=0.0)
    assert torch.allclose(move(images, torch.from_numpy(moves)), images, atol=1e-5)


def test_a_shift_of_a_quarter_moves_the_picture_by_a_quarter() -> None:
    images = torch.rand(1, 3, 8, 8, generator=torch.manual_seed(1))
    moves = torch.tensor([[[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]]])
    assert torch.allclose(move(images, moves)[..., :6], images[..., 2:], atol=1e-5)


def test_moves_stay_within_their_bounds() -> None:
    moves = draw_moves(1000, np.random.default_rng(0), zoom=0.2, shift=0.1)
    assert 0.8 <= moves[:, 0, 0].min() < 0.82 and 1.18 < moves[:, 1, 1].max() <= 1.2
    assert 0.19 < np.abs(moves[:, :, 2]).max() <= 0.2


def test_kept_patches_are_different_and_in_order() -> None:
    kept = draw_kept_patches(20, 16, 0.5, np.random.default_rng(0))
    assert kept.shape == (20, 8) and kept.dtype == np.int64
    assert (kept[:, 1:] > kept[:, :-1]).all()
    assert kept.min() >= 0 and kept.max() < 16


def test_at_least_one_patch_is_kept() -> None:
    assert draw_kept_patches(2, 4, 0.99, np.random.default_rng(0)).shape == (2, 1)


def test_normalised_pixels_follow_the_configuration() -> None:
    config = PreprocessConfig(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0))
    values = normalise(torch.ones(1, 3, 2, 2), config)
    assert values[0, :, 0, 0].tolist() == [1.0, 3.0, 1.0]
