"""The optimizers, what each of them trains, and the schedule as a pure function of the step."""

import math

import torch
from torch import Tensor, nn

from clipworks.train.config import TrainConfig

MUON_MOMENTUM = 0.95


def build_optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW for the whole model, or Muon for the matrices inside the towers and AdamW for the rest.

    Muon (Jordan et al. 2024) steps along the nearest orthogonal matrix of the mean gradient; its
    steps are scaled to the size of AdamW's (arXiv:2502.16982), so that rates and decay compare.
    Weight decay acts on matrices alone: vectors, norms and the temperature have none.
    """
    inner: list[Tensor] = []
    if config.matrix_learning_rate is not None:
        inner = [p for name, p in model.named_parameters() if _is_inner_matrix(name, p)]
    taken = {id(p) for p in inner}
    rest = [p for p in model.parameters() if id(p) not in taken]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [
                {"params": [p for p in rest if p.ndim > 1], "weight_decay": config.weight_decay},
                {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            fused=True,
        )
    ]
    if inner:
        assert config.matrix_learning_rate is not None
        optimizers.append(
            torch.optim.Muon(
                inner,
                lr=config.matrix_learning_rate,
                weight_decay=config.weight_decay,
                momentum=MUON_MOMENTUM,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return optimizers


def set_rates(optimizers: list[torch.optim.Optimizer], step: int, config: TrainConfig) -> None:
    """Give every optimizer its rate of the step with this number."""
    for optimizer in optimizers:
        is_muon = isinstance(optimizer, torch.optim.Muon)
        peak = config.matrix_learning_rate if is_muon else config.learning_rate
        assert peak is not None
        for group in optimizer.param_groups:
            group["lr"] = peak * schedule(step, config)


def schedule(step: int, config: TrainConfig) -> float:
    """Share of the peak rate at a step, 0 <= step < steps: linear rise, then half a cosine to 0."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))


def _is_inner_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a parameter maps features to features: no table of tokens or places, no patch filter."""
    return parameter.ndim == 2 and (".blocks." in name or name.endswith("projection.weight"))
