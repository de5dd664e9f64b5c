"""Muon against torch's, and the arithmetic it takes."""

import pytest
import torch

from clipworks.train import muon
from clipworks.train.muon import Muon, orthogonalize

RATES = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.95}


def matrices(seed: int) -> list[torch.Tensor]:
    torch.manual_seed(seed)
    return [torch.randn(shape).requires_grad_() for shape in ((48, 16), (16, 48), (32, 32))]


def descend(optimizer: torch.optim.Optimizer, weights: list[torch.Tensor]) -> None:
    for step in range(3):
        torch.manual_seed(10 + step)
        for one in weights:
            one.grad = torch.randn_like(one)
        optimizer.step()


@pytest.mark.parametrize(("in_bfloat16", "tolerance"), [(True, 0.0), (False, 0.01)])
def test_steps_are_those_of_torch(
    monkeypatch: pytest.MonkeyPatch, in_bfloat16: bool, tolerance: float
) -> None:
    monkeypatch.setattr(muon, "has_bfloat16", lambda device: in_bfloat16)
    ours, theirs = matrices(0), matrices(0)
    descend(Muon(ours, **RATES), ours)
    descend(torch.optim.Muon(theirs, **RATES, adjust_lr_fn="match_rms_adamw"), theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).abs().max() <= tolerance


def test_a_weight_without_gradient_stays() -> None:
    (tall, wide, square) = matrices(1)
    before = wide.detach().clone()
    tall.grad, square.grad = torch.ones_like(tall), torch.ones_like(square)
    Muon([tall, wide, square], **RATES).step()
    assert torch.equal(wide, before)


def test_singular_values_come_near_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "has_bfloat16", lambda device: False)
    for one in matrices(2):
        values = torch.linalg.svdvals(orthogonalize(one.detach()))
        assert 0.6 < values.min() and values.max() < 1.3
