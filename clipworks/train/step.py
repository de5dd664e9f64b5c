"""What trains, and one step of it: rates, features, loss, gradients, update."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from clipworks.errors import DataError
from clipworks.model.network import Clip, initialise
from clipworks.train.accumulate import push_gradients
from clipworks.train.arithmetic import autocast_type
from clipworks.train.config import TrainConfig
from clipworks.train.distributed import (
    Processes,
    average_scalars,
    clip_gradients,
    separate_parts,
    spread,
    sync_gradients,
)
from clipworks.train.ema import RunningMean
from clipworks.train.loader import Batch
from clipworks.train.loss import Captions, Objective, Score, Teaching, Temperature, contrast
from clipworks.train.metrics import OTHER_RUN, Step
from clipworks.train.optim import (
    LossScale,
    build_optimizers,
    lock_towers,
    recompute_blocks,
    schedule,
    set_rates,
)
from clipworks.train.reader import BALANCED_OUT
from clipworks.train.teacher import Teach, read_teacher

INITIAL_SIGMOID_SCALE = math.log(10)
INITIAL_SIGMOID_BIAS = -10.0
"""Both as in arXiv:2303.15343, so that the first steps do not have to unlearn that most pairs are none."""

_STEP_SEED = 2
"""Tells PyTorch's random numbers of a step from the loader's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Learner:
    """A model in training and all that belongs to it."""

    model: Clip
    """Under FSDP its weights are parts (DTensor); names are the same."""
    bias: nn.Parameter | None
    """What a sigmoid loss adds to the logits; it is no part of the checkpoint."""
    towers: tuple[nn.Module, nn.Module]
    """Vision and text, wrapped so that gradients are averaged over the processes."""
    optimizers: list[torch.optim.Optimizer]
    loss_scale: LossScale
    mean: RunningMean | None
    """Of the weights, where one is kept."""
    teach: Teach | None
    processes: Processes
    config: TrainConfig
    token_rows: NDArray[np.int64]
    """int64 [K], the token ids whose rows the model's token table has."""
    table: NDArray[np.float32] | None = None
    """float32 [vocabulary, D], the token table that training started from; the exported checkpoint has its
    rows of the tokens that are not trained, or zeros without one."""

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Every weight that may be trained, by its name."""
        named = dict(self.model.named_parameters())
        return named if self.bias is None else {**named, "logit_bias": self.bias}

    def extra_state(self) -> dict[str, Tensor]:
        """What a saved state holds beside weights and optimizers; loading changes it in place."""
        extra = {} if self.mean is None else {f"mean.{name}": t for name, t in self.mean.tensors.items()}
        return {**extra, "loss_scale": self.loss_scale.state} if self.loss_scale.is_on else extra

    def result(self) -> Mapping[str, Tensor]:
        """The weights that the run is about: their running mean where one is kept."""
        return dict(self.model.named_parameters()) if self.mean is None else self.mean.tensors


def build_learner(
    config: TrainConfig,
    token_rows: NDArray[np.int64],
    processes: Processes,
    model: Clip | None = None,
    *,
    table: NDArray[np.float32] | None = None,
) -> Learner:
    """Random weights from the seed, or those of a model, spread over the processes, and their optimizers.

    Args:
        config: what to train and how.
        token_rows: int64 [K], the token ids whose rows the token table has.
        processes: who trains.
        model: taken over instead of random weights.
        table: float32 [vocabulary, D], the whole token table of that model.

    Raises:
        CheckpointError: the teacher cannot be read.
        ConfigError: nothing is left to train.
    """
    if model is None:
        model = Clip(replace(config.model, text=replace(config.model.text, vocab_size=len(token_rows))))
        initialise(model, config.seed)
    bias = None
    if config.loss == "sigmoid":
        bias = nn.Parameter(torch.tensor(INITIAL_SIGMOID_BIAS, device=processes.device))
        nn.init.constant_(model.logit_scale, INITIAL_SIGMOID_SCALE)
    model.to(processes.device)
    lock_towers(model, config)
    if config.recompute:
        recompute_blocks(model)
    if config.compiled:
        for tower in (model.vision, model.text):
            for block in tower.blocks:
                block.compile()
    vision, text = (spread(tower, processes, config.parallel) for tower in (model.vision, model.text))
    optimizers = build_optimizers(model, config)
    if bias is not None:
        optimizers[0].add_param_group({"params": [bias], "weight_decay": 0.0})
    for optimizer in optimizers:
        separate_parts(optimizer)
    teach = None
    if config.teacher is not None:
        teach = read_teacher(config.teacher, config.model.preprocess, token_rows, processes.device)
    return Learner(
        model=model,
        bias=bias,
        towers=(vision, text),
        optimizers=optimizers,
        loss_scale=LossScale(is_on=config.precision == "fp16"),
        mean=RunningMean(dict(model.named_parameters()), config.ema_decay) if config.ema_decay else None,
        teach=teach,
        processes=processes,
        config=config,
        token_rows=token_rows,
        table=table,
    )


@contextmanager
def memory_told() -> Iterator[None]:
    """Within: that memory has run out is an error of ours.

    Raises:
        DataError: it has.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # On a CPU PyTorch raises a plain RuntimeError.
        is_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not is_memory and "can't allocate memory" not in str(error):
            raise
        raise DataError(
            "A step needs more memory than there is.",
            "Raise accumulation, set recompute=true, or lower batch_size.",
        ) from error


@memory_told()
def take_step(learner: Learner, batch: Batch, number: int, started: float) -> Step:
    """Train on one batch, of which this process has its rows.

    Args:
        learner: is changed.
        batch: this process's rows.
        number: of the step.
        started: `time.perf_counter()` when the step began.

    Raises:
        DataError: the loss or the gradient is not finite; nothing was changed. In fp16 such a step is left
            out, until no smaller scale of the loss is left to try. Or memory has run out.
    """
    config, processes, model = learner.config, learner.processes, learner.model
    set_rates(learner.optimizers, number, config)
    seed_step(config.seed, number, processes.rank)
    parameters = list(learner.named_parameters().values())
    for parameter in parameters:
        parameter.grad = None
    outcome = make_gradients(learner, batch)
    average_scalars([model.logit_scale, *([learner.bias] if learner.bias is not None else [])], processes)
    skipped = outcome.loss.new_tensor(sum(n for cause, n in batch.skipped.items() if cause != BALANCED_OUT))
    told = [outcome.loss, outcome.accuracy.to(outcome.loss), outcome.spread.to(outcome.loss), skipped]
    loss, accuracy, unlikeness, skipped_mean = processes.mean(torch.stack(told)).tolist()
    _divide([p.grad for p in parameters if p.grad is not None], learner.loss_scale.factor)
    largest = math.inf if config.clip_norm is None else config.clip_norm
    norm = clip_gradients(parameters, largest, processes).item()
    if math.isfinite(loss) and math.isfinite(norm):
        _update(learner, number)
    elif not learner.loss_scale.retreat():
        raise DataError(
            f"The loss of step {number} is {loss} and its gradient norm {norm}.",
            OTHER_RUN.format("a lower learning_rate or more warmup_steps"),
        )
    return Step(
        step=number,
        loss=loss,
        accuracy=accuracy,
        learning_rate=config.learning_rate * schedule(number, config),
        gradient_norm=norm,
        logit_scale=model.logit_scale.exp().item(),
        seconds=time.perf_counter() - started,
        skipped=round(skipped_mean * processes.world),
        spread=unlikeness,
    )


def make_gradients(learner: Learner, batch: Batch) -> "Outcome":
    """Add the gradient of a batch, times the loss scale, to the weights, in as many parts as configured."""
    config, processes = learner.config, learner.processes
    teaching: list[Teaching] = []
    is_replay = False
    kind = autocast_type(config.precision, processes.device)
    spreads: list[Tensor] = []

    def encode(part: Batch) -> tuple[Tensor, Tensor]:
        images, tokens = part.images_BCHW.to(processes.device), part.tokens_BT.to(processes.device)
        kept = None if part.kept_BT is None else part.kept_BT.to(processes.device)
        if learner.teach is not None and not is_replay:
            teaching.append(learner.teach(images, tokens))
        with torch.autocast(processes.device.type, kind, enabled=kind is not None):
            image_BE, text_BE = learner.towers[0](images, kept), learner.towers[1](tokens)
        return _unit(image_BE), _unit(text_BE)

    def score(image_BE: Tensor, text_BE: Tensor) -> Score:
        nonlocal is_replay
        is_replay = True
        spreads.append(torch.stack([_spread(image_BE), _spread(text_BE)]).min())
        outcome = contrast(
            image_BE,
            text_BE,
            Temperature(scale=learner.model.logit_scale.exp(), bias=learner.bias),
            _objective(config),
            processes=processes,
            captions=None if batch.captions is None else _move(batch.captions, processes.device),
            teaching=_join(teaching),
        )
        return replace(outcome, loss=outcome.loss * learner.loss_scale.factor)

    def sync(is_last: bool) -> AbstractContextManager[None]:
        return sync_gradients(learner.towers, is_last)

    scored = push_gradients(split(batch, config.accumulation), encode, score, sync)
    return Outcome(loss=scored.loss / learner.loss_scale.factor, accuracy=scored.accuracy, spread=spreads[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What the rows of one process gave."""

    loss: Tensor
    """Float scalar, nats."""
    accuracy: Tensor
    """Float scalar: share of pictures whose best text is their own."""
    spread: Tensor
    """Float scalar: 1 - |mean feature|^2, the less of pictures and texts."""


def _update(learner: Learner, number: int) -> None:
    """Step along the gradients."""
    for optimizer in learner.optimizers:
        optimizer.step()
    with torch.no_grad():
        learner.model.logit_scale.clamp_(0, math.log(learner.config.largest_scale))
    learner.loss_scale.advance()
    if learner.mean is not None:
        learner.mean.update(dict(learner.model.named_parameters()), number)


def _divide(gradients: Sequence[Tensor], factor: float) -> None:
    if factor != 1:
        for gradient in gradients:
            gradient.div_(factor)


def _spread(features_BE: Tensor) -> Tensor:
    return 1 - features_BE.detach().float().mean(dim=0).square().sum()


def split(batch: Batch, parts: int) -> list[Batch]:
    """A batch in parts of nearly equal size, the texts of each cut at its longest.

    Raises:
        DataError: there are fewer pairs than parts.
    """
    if len(batch.tokens_BT) < parts:
        raise DataError(
            f"A process has {len(batch.tokens_BT)} pairs of a batch, which make no {parts} parts.",
            "Lower accumulation.",
        )
    images = batch.images_BCHW.tensor_split(parts)
    tokens = [part[:, : int(part.argmax(dim=1).max()) + 1] for part in batch.tokens_BT.tensor_split(parts)]
    kept = [None] * parts if batch.kept_BT is None else batch.kept_BT.tensor_split(parts)
    return [
        Batch(images_BCHW=i, tokens_BT=t, kept_BT=k, captions=None)
        for i, t, k in zip(images, tokens, kept, strict=True)
    ]


def seed_step(seed: int, number: int, rank: int) -> None:
    """PyTorch's random numbers as a function of seed, step and process: nothing of them has to be saved."""
    state = np.random.SeedSequence([seed, _STEP_SEED, number, rank]).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0]) >> 1)


def _objective(config: TrainConfig) -> Objective:
    return Objective(
        kind=config.loss,
        shared_captions=config.shared_captions,
        distillation=config.distillation if config.teacher is not None else 0.0,
        rows_at_a_time=config.loss_rows,
    )


def _unit(features_BE: Tensor) -> Tensor:
    """Unit rows, in float32 whatever the towers computed in."""
    wide = features_BE if features_BE.dtype == torch.float64 else features_BE.float()
    return F.normalize(wide, dim=-1)


def _move(captions: Captions, device: torch.device) -> Captions:
    return Captions(
        of_image_BK=captions.of_image_BK.to(device, non_blocking=True),
        chosen_B=captions.chosen_B.to(device, non_blocking=True),
    )


def _join(teaching: Sequence[Teaching]) -> Teaching | None:
    if not teaching:
        return None
    return Teaching(
        image_BE=torch.cat([part.image_BE for part in teaching]),
        text_BE=torch.cat([part.text_BE for part in teaching]),
        scale=teaching[0].scale,
    )
