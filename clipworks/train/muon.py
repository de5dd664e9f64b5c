"""Muon: steps along the nearest orthogonal matrix of the mean gradient (Jordan et al. 2024).

As `torch.optim.Muon`, whose Newton-Schulz iteration is always in bfloat16. On a processor without such
instructions that takes ten times longer than the rest of a step, so there it is in float32 here.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from clipworks.train.arithmetic import has_bfloat16

COEFFICIENTS = (3.4445, -4.775, 2.0315)
"""Of the iteration x -> a x + b x^3 + c x^5 on singular values, chosen for the steepest start."""
ITERATIONS = 5
LEAST_NORM = 1e-7
SIZE = 0.2
"""Root mean square of an update, as AdamW's (arXiv:2502.16982, section 2.2)."""


class Muon(torch.optim.Optimizer):
    """Trains matrices alone.

    Args:
        matrices: float32 [M, N] each.
        lr: the rate, above 0; updates are scaled to the size of AdamW's.
        weight_decay: decoupled decay, 0 or more.
        momentum: decay of the mean gradient (Nesterov), 0 to 1.
    """

    def __init__(
        self, matrices: Iterable[Tensor], *, lr: float, weight_decay: float, momentum: float
    ) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take one step; `closure` is not called."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix.grad)
                mean = state["momentum_buffer"]
                mean.lerp_(matrix.grad, 1 - group["momentum"])
                update = orthogonalize(matrix.grad.lerp(mean, group["momentum"]))
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(update, alpha=-group["lr"] * SIZE * math.sqrt(max(matrix.shape)))


def orthogonalize(matrix: Tensor) -> Tensor:
    """The matrix with singular values near 1, between 0.7 and 1.2: [M, N], in bfloat16 where that is fast."""
    a, b, c = COEFFICIENTS
    found = matrix.bfloat16() if has_bfloat16(matrix.device) else matrix.clone()
    is_tall = matrix.size(0) > matrix.size(1)
    if is_tall:
        found = found.T
    found.div_(found.norm().clamp(min=LEAST_NORM))
    for _ in range(ITERATIONS):
        gram = found @ found.T
        found = torch.addmm(found, torch.addmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.T if is_tall else found
