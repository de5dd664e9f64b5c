"""The losses against plain sums over the whole square of logits."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from clipworks.train.distributed import Processes
from clipworks.train.loss import NO_CAPTION, Captions, Objective, Score, Teaching, Temperature, contrast

ALONE = Processes()
SHARED = Captions(
    of_image_BK=torch.tensor([[3, 8], [3, NO_CAPTION], [5, 6], [6, 5], [7, NO_CAPTION], [8, 7]]),
    chosen_B=torch.tensor([3, 3, 5, 6, 7, 8]),
)


def unit_rows(seed: int, count: int = 6, dim: int = 4) -> Tensor:
    return F.normalize(torch.from_numpy(np.random.default_rng(seed).normal(size=(count, dim))), dim=1)


def scored(images: Tensor, texts: Tensor, scale: float) -> Score:
    temperature = Temperature(scale=torch.tensor(scale, dtype=images.dtype))
    return contrast(images, texts, temperature, Objective(), processes=ALONE)


def related(captions: Captions) -> Tensor:
    """Bool [B, B]: text j is a caption of picture i."""
    own, chosen = captions.of_image_BK.tolist(), captions.chosen_B.tolist()
    return torch.tensor(
        [[text in texts or i == j for j, text in enumerate(chosen)] for i, texts in enumerate(own)]
    )


def plain(
    images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, objective: Objective, teaching: Teaching
) -> Tensor:
    """Every loss from the whole square, as the papers write it."""
    logits = scale * images @ texts.T + bias
    own = torch.eye(len(logits), dtype=torch.bool)
    shared = related(SHARED)
    positives = shared if objective.shared_captions == "positive" else own
    left_out = shared & ~own if objective.shared_captions == "leave_out" else torch.zeros_like(own)
    total = logits.new_zeros(())
    if objective.kind == "sigmoid":
        signs = torch.where(positives, 1.0, -1.0)
        total = -(F.logsigmoid(signs * logits) * ~left_out).sum() / len(logits)
    else:
        kept = logits.masked_fill(left_out, float("-inf"))
        for side, wanted in ((kept, positives), (kept.T, positives.T)):
            chosen = side.log_softmax(dim=1).masked_fill(~wanted, 0.0)
            total = total - (chosen.sum(dim=1) / wanted.sum(dim=1)).mean() / 2
    teacher = teaching.scale * teaching.image_BE @ teaching.text_BE.T
    for side, wanted in ((logits, teacher), (logits.T, teacher.T)):
        agreement = (wanted.softmax(dim=1) * side.log_softmax(dim=1)).sum(dim=1).mean()
        total = total - objective.distillation * agreement / 2
    return total


@given(seed=st.integers(0, 1000), scale=st.floats(1, 100))
def test_the_softmax_loss_equals_the_two_sums_of_the_paper(seed: int, scale: float) -> None:
    images, texts = unit_rows(seed), unit_rows(seed + 1)
    logits = scale * (images @ texts.T).numpy()
    rows = [math.log(np.exp(logits[i] - logits[i, i]).sum()) for i in range(6)]
    columns = [math.log(np.exp(logits[:, j] - logits[j, j]).sum()) for j in range(6)]
    expected = (np.mean(rows) + np.mean(columns)) / 2
    assert abs(scored(images, texts, scale).loss.item() - expected) < 1e-6


@pytest.mark.parametrize("rows_at_a_time", [1, 4, 6])
@pytest.mark.parametrize("distillation", [0.0, 0.7])
@pytest.mark.parametrize("shared", ["leave_out", "positive", "negative"])
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_every_loss_and_gradient_equals_the_plain_sum_however_it_is_cut(
    kind: str, shared: str, distillation: float, rows_at_a_time: int
) -> None:
    objective = Objective(
        kind=kind,  # type: ignore[arg-type]
        shared_captions=shared,  # type: ignore[arg-type]
        distillation=distillation,
        rows_at_a_time=rows_at_a_time,
    )
    teaching = Teaching(image_BE=unit_rows(7, dim=3), text_BE=unit_rows(8, dim=3), scale=9.0)
    numbers = (torch.tensor(5.0).double(), torch.tensor(-2.0 if kind == "sigmoid" else 0.0).double())
    found, expected = (
        [x.clone().requires_grad_() for x in (unit_rows(1), unit_rows(2), *numbers)] for _ in "ab"
    )
    outcome = contrast(
        found[0],
        found[1],
        Temperature(scale=found[2], bias=found[3] if kind == "sigmoid" else None),
        objective,
        processes=ALONE,
        captions=SHARED,
        teaching=teaching,
    )
    outcome.loss.backward()  # type: ignore[no-untyped-call]
    total = plain(expected[0], expected[1], expected[2], expected[3], objective, teaching)
    total.backward()  # type: ignore[no-untyped-call]
    assert torch.allclose(outcome.loss, total, atol=1e-12)
    for ours, theirs in zip(found[: 4 if kind == "sigmoid" else 3], expected, strict=False):
        assert ours.grad is not None and theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-12)


def test_the_accuracy_is_the_share_of_pictures_that_choose_their_own_text() -> None:
    images = torch.eye(4)
    texts = images[[0, 1, 3, 2]]
    assert scored(images, texts, 10.0).accuracy.item() == 0.5


def test_the_pair_itself_is_never_left_out() -> None:
    same = Captions(
        of_image_BK=torch.ones(6, 1, dtype=torch.int64), chosen_B=torch.ones(6, dtype=torch.int64)
    )
    outcome = contrast(
        unit_rows(3),
        unit_rows(4),
        Temperature(scale=torch.tensor(5.0, dtype=torch.float64)),
        Objective(),
        processes=ALONE,
        captions=same,
    )
    assert outcome.loss.item() == 0


def test_equal_features_give_the_logarithm_of_the_batch() -> None:
    same = torch.ones(8, 4) / 2
    assert abs(scored(same, same, 50.0).loss.item() - math.log(8)) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_a_batch_of_32768_pairs_needs_no_square_of_logits(kind: str) -> None:
    """One square of them is 4 GiB; the whole process, PyTorch included, stays below 1.5."""
    program = (
        "import torch; from torch.nn.functional import normalize\n"
        "from clipworks.processes import peak_memory_bytes\n"
        "from clipworks.train.loss import *\n"
        "torch.manual_seed(0)\n"
        "x, y = (normalize(torch.randn(32768, 16), dim=1).requires_grad_() for _ in range(2))\n"
        f"objective = Objective(kind={kind!r})\n"
        "contrast(x, y, Temperature(scale=torch.tensor(10.0)), objective, processes=Processes())"
        ".loss.backward()\n"
        "assert x.grad.abs().sum() > 0 and y.grad.abs().sum() > 0\n"
        "print(peak_memory_bytes())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 1.5 * 2**30
