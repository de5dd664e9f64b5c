"""The contrastive loss against hand-written sums."""

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipworks.train.loss import contrastive_loss


def unit_rows(seed: int, count: int = 6, dim: int = 4) -> torch.Tensor:
    return torch.nn.functional.normalize(
        torch.from_numpy(np.random.default_rng(seed).normal(size=(count, dim))), dim=1
    )


@given(seed=st.integers(0, 1000), scale=st.floats(1, 100))
def test_the_loss_equals_the_two_sums_of_the_paper(seed: int, scale: float) -> None:
    images, texts = unit_rows(seed), unit_rows(seed + 1)
    logits = scale * (images @ texts.T).numpy()
    rows = [math.log(np.exp(logits[i] - logits[i, i]).sum()) for i in range(6)]
    columns = [math.log(np.exp(logits[:, j] - logits[j, j]).sum()) for j in range(6)]
    expected = (np.mean(rows) + np.mean(columns)) / 2
    assert (
        abs(contrastive_loss(images, texts, torch.tensor(scale, dtype=torch.float64)).item() - expected)
        < 1e-6
    )


def test_an_excluded_pair_counts_as_no_negative() -> None:
    images, texts = unit_rows(1, count=3), unit_rows(2, count=3)
    excluded = torch.zeros(3, 3, dtype=torch.bool)
    excluded[0, 1] = True
    logits = (10 * images @ texts.T).numpy()
    kept = [[0, 2], [0, 1, 2], [0, 1, 2]]
    rows = [math.log(sum(math.exp(logits[i, j] - logits[i, i]) for j in kept[i])) for i in range(3)]
    kept_columns = [[0, 1, 2], [1, 2], [0, 1, 2]]
    columns = [
        math.log(sum(math.exp(logits[i, j] - logits[j, j]) for i in kept_columns[j])) for j in range(3)
    ]
    expected = (np.mean(rows) + np.mean(columns)) / 2
    assert abs(contrastive_loss(images, texts, torch.tensor(10.0), excluded).item() - expected) < 1e-6


def test_the_pair_itself_is_never_excluded() -> None:
    images, texts = unit_rows(3), unit_rows(4)
    everything = torch.ones(6, 6, dtype=torch.bool)
    assert contrastive_loss(images, texts, torch.tensor(5.0), everything).item() == 0


def test_equal_features_give_the_logarithm_of_the_batch() -> None:
    same = torch.ones(8, 4) / 2
    assert abs(contrastive_loss(same, same, torch.tensor(50.0)).item() - math.log(8)) < 1e-6
