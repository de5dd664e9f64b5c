"""The optimizers, what each of them trains and how fast; the schedule as a pure function of the step."""

import math
from collections.abc import Iterator

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from clipworks.errors import ConfigError
from clipworks.train.config import TrainConfig
from clipworks.train.muon import Muon

MUON_MOMENTUM = 0.95


def build_optimizers(model: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """AdamW for the whole model, or Muon for the matrices inside the towers and AdamW for the rest.

    Muon's steps are scaled to the size of AdamW's, so that rates and decay compare.
    Weight decay acts on matrices alone: vectors, norms and the temperature have none. What is locked is
    in no optimizer. With `layer_decay` each block has its own share of the rate.
    """
    inner: list[Tensor] = []
    if config.matrix_learning_rate is not None:
        inner = [p for name, p in model.named_parameters() if p.requires_grad and _is_inner_matrix(name, p)]
    taken = {id(p) for p in inner}
    rest = {name: p for name, p in model.named_parameters() if p.requires_grad and id(p) not in taken}
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            _groups(rest, _rate_shares(model, config), config.weight_decay),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            fused=True,
        )
    ]
    if inner:
        assert config.matrix_learning_rate is not None
        optimizers.append(
            Muon(
                inner,
                lr=config.matrix_learning_rate,
                weight_decay=config.weight_decay,
                momentum=MUON_MOMENTUM,
            )
        )
    return optimizers


def set_rates(optimizers: list[torch.optim.Optimizer], step: int, config: TrainConfig) -> None:
    """Give every optimizer its rate of the step with this number."""
    for optimizer in optimizers:
        is_muon = isinstance(optimizer, Muon)
        peak = config.matrix_learning_rate if is_muon else config.learning_rate
        assert peak is not None
        for group in optimizer.param_groups:
            group["lr"] = peak * schedule(step, config) * group.get("share", 1.0)


def schedule(step: int, config: TrainConfig) -> float:
    """Share of the peak rate at a step, 0 <= step < steps: a linear rise, then as `config.schedule` says."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "cosine":
        progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * progress))
    left = config.steps - step
    return min(1.0, left / config.cooldown_steps) if config.cooldown_steps else 1.0


def lock_towers(model: nn.Module, config: TrainConfig) -> None:
    """Take from training what the configuration locks (LiT), all of a tower but some groups at its top.

    Raises:
        ConfigError: more groups are to be unlocked than there are, or nothing is left to train.
    """
    for tower, is_locked, unlocked in (
        ("vision", config.lock_image, config.image_unlocked),
        ("text", config.lock_text, config.text_unlocked),
    ):
        if not is_locked:
            continue
        groups = tower_groups(model.get_submodule(tower))
        if unlocked > len(groups):
            raise ConfigError(
                f"{unlocked} groups of the {tower} tower are to be unlocked; it has {len(groups)}."
            )
        for group in groups[: len(groups) - unlocked]:
            for parameter in group:
                parameter.requires_grad_(False)
    if not any(p.requires_grad for name, p in model.named_parameters() if name != "logit_scale"):
        raise ConfigError("Both towers are locked: nothing is left to train.", "Unlock one of them.")


def tower_groups(tower: nn.Module) -> list[list[nn.Parameter]]:
    """The weights of a tower from bottom to top: what is in front of the blocks, each block but the last,
    the last block with the norm behind it, the projection; as in open_clip."""
    blocks = list(tower.get_submodule("blocks").children())
    last = max(0, len(blocks) - 1)
    groups: list[list[nn.Parameter]] = [[] for _ in range(len(blocks) + 2)]
    for name, parameter in tower.named_parameters():
        if name.startswith("blocks."):
            number = 1 + int(name.split(".")[1])
        elif name.startswith("projection."):
            number = len(groups) - 1
        elif name.startswith(("ln_post.", "ln_final.")):
            number = 1 + last
        else:
            number = 0
        groups[number].append(parameter)
    return groups


def recompute_blocks(model: nn.Module) -> None:
    """Make every block forget what is in it after the forward pass and compute it again in the backward one.

    Nothing inside a block is drawn at random, so no random state is kept.
    """
    for tower in ("vision", "text"):
        for block in model.get_submodule(tower).get_submodule("blocks").children():
            # As an attribute of the block, not a wrapper around it: names of weights stay as they are.
            object.__setattr__(block, "forward", _Recomputed(block))


class LossScale:
    """A factor on the loss, so that gradients in 16-bit floats do not vanish; it finds its own size.

    As PyTorch's GradScaler: a step with a gradient that is not finite is left out and halves the factor,
    2000 steps in a row without one double it.

    Args:
        is_on: False keeps the factor at 1.
    """

    START, GROWTH_STEPS, LEAST = 65536.0, 2000, 1.0

    def __init__(self, *, is_on: bool) -> None:
        self.is_on = is_on
        self.state = torch.tensor([self.START if is_on else 1.0, 0.0], dtype=torch.float64)
        """The factor, and good steps in a row; what a saved state holds of it."""

    @property
    def factor(self) -> float:
        """What the loss is multiplied by."""
        return float(self.state[0])

    def retreat(self) -> bool:
        """After a step that is not finite: try a smaller factor. False if there is none."""
        if not self.is_on or self.factor <= self.LEAST:
            return False
        self.state[0] /= 2
        self.state[1] = 0
        return True

    def advance(self) -> None:
        """After a good step."""
        self.state[1] += 1
        if self.is_on and self.state[1] == self.GROWTH_STEPS:
            self.state[0] *= 2
            self.state[1] = 0


class _Recomputed:
    def __init__(self, block: nn.Module) -> None:
        self._forward = block.forward

    def __call__(self, x: Tensor, *, causal: bool, places_B: Tensor | None = None) -> Tensor:
        options = {"causal": causal} if places_B is None else {"causal": causal, "places_B": places_B}
        again: Tensor = torch.utils.checkpoint.checkpoint(
            self._forward, x, use_reentrant=False, preserve_rng_state=False, **options
        )
        return again


def _groups(
    parameters: dict[str, nn.Parameter], shares: dict[int, float], weight_decay: float
) -> Iterator[dict[str, object]]:
    """One group per share of the rate for matrices and one for vectors, matrices first."""
    for decay, is_matrix in ((weight_decay, True), (0.0, False)):
        by_share: dict[float, list[Tensor]] = {}
        for parameter in parameters.values():
            if (parameter.ndim > 1) == is_matrix:
                by_share.setdefault(shares.get(id(parameter), 1.0), []).append(parameter)
        for share, members in by_share.items():
            yield {"params": members, "weight_decay": decay, "share": share}


def _rate_shares(model: nn.Module, config: TrainConfig) -> dict[int, float]:
    """By parameter, its share of the rate: 1 for the top group of a tower, less for each one below."""
    if config.layer_decay == 1:
        return {}
    shares = {}
    for tower in ("vision", "text"):
        for height, group in enumerate(reversed(tower_groups(model.get_submodule(tower)))):
            shares.update({id(parameter): config.layer_decay**height for parameter in group})
    return shares


def _is_inner_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a parameter maps features to features: no table of tokens or places, no patch filter."""
    return parameter.ndim == 2 and (".blocks." in name or name.endswith("projection.weight"))
