"""Low-rank updates: nothing at first, q, k, v and out only, and an ordinary weight in the end."""

import numpy as np
import pytest
import torch

from clipworks.errors import ConfigError
from clipworks.train.lora import add_lora
from clipworks.train.tuned import Tuned
from tests.conftest import TinyClip


def test_a_tower_is_unchanged_before_the_first_step_and_its_weights_are_frozen(tiny_clip: TinyClip) -> None:
    plain, tuned = Tuned(tiny_clip.config, tiny_clip.weights), Tuned(tiny_clip.config, tiny_clip.weights)
    trained = add_lora(tuned.clip.vision, 4, alpha=8, seed=0)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(plain.clip.vision(images), tuned.clip.vision(images))
    assert [p for p in tuned.clip.vision.parameters() if p.requires_grad] == trained
    # Two blocks; qkv has three thin pairs and out one, of width 128 and rank 4.
    assert sum(p.numel() for p in trained) == 2 * (3 + 1) * 2 * 4 * 128


def test_the_updates_are_merged_into_the_weights_that_are_written(tiny_clip: TinyClip) -> None:
    tuned = Tuned(tiny_clip.config, tiny_clip.weights)
    for parameter in add_lora(tuned.clip.vision, 2, alpha=6, seed=1):
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(parameter.numel()))
    weights = tuned.weights()
    assert weights.keys() == tiny_clip.weights.keys()
    changed = {name for name in weights if not np.array_equal(weights[name], tiny_clip.weights[name])}
    assert changed == {f"vision.blocks.{i}.{part}.weight" for i in (0, 1) for part in ("qkv", "out")}
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    merged = Tuned(tiny_clip.config, weights)
    assert torch.allclose(merged.clip.vision(images), tuned.clip.vision(images), atol=1e-5)
    update = tuned.clip.vision.blocks[0].qkv.parametrizations.weight[0]  # type: ignore[union-attr, index]
    difference = weights["vision.blocks.0.qkv.weight"] - tiny_clip.weights["vision.blocks.0.qkv.weight"]
    by_hand = 3 * (update.up[1] @ update.down[1]).detach().numpy()  # k, scaled by alpha / rank
    assert difference[128:256] == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize("rank", [0, 129])
def test_a_rank_that_cannot_be_is_one_sentence(tiny_clip: TinyClip, rank: int) -> None:
    tuned = Tuned(tiny_clip.config, tiny_clip.weights)
    with pytest.raises(ConfigError, match=f"rank is {rank}; it must be from 1 to the tower's width, 128"):
        add_lora(tuned.clip.vision, rank, alpha=8, seed=0)
