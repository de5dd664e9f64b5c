"""The loop of a fine-tuning: epochs over pictures in memory, validation after each, the best one kept.

A step is a function of the seed, the epoch and its number, so that a run that was interrupted goes on to the
same weights, bit for bit, on the same machine.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from clipworks.errors import CheckpointError, DataError
from clipworks.files import atomic_write
from clipworks.model.config import ClipConfig
from clipworks.model.tensorfiles import read_safetensors, safetensors_bytes
from clipworks.train.arithmetic import autocast_processor
from clipworks.train.config import TrainConfig
from clipworks.train.distributed import Processes
from clipworks.train.loss import Captions as Positives
from clipworks.train.loss import Objective, Temperature, contrast, pad_captions
from clipworks.train.material import Captions
from clipworks.train.optim import build_optimizers, set_rates
from clipworks.train.signals import Caught
from clipworks.train.splits import Parts
from clipworks.train.tuned import Tuned, batch_pixels, image_vectors, retrieval, text_vectors
from clipworks.train.tuning import TuneConfig

STATE = "state.safetensors"
EPOCHS = "epochs.jsonl"
SAVE_SECONDS = 300.0
"""Between two saved states at most, for epochs that take hours."""

LARGEST_LOG_SCALE = math.log(100)

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is trained on what."""

    config: ClipConfig
    """Shape of the model as it is trained."""
    tune: TuneConfig
    """How."""
    pixels: NDArray[np.uint8]
    """uint8 [N, S, S, 3]."""
    parts: Parts
    """Which of them train and validate."""
    labels: NDArray[np.int64] | None
    """int64 [N], for classification."""
    captions: Captions | None
    """For the contrastive objective; tokens as the trained table counts them."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch; a last one of a single picture is left out."""
        whole, rest = divmod(len(self.parts.train), self.tune.batch_size)
        return max(1, whole + (rest > 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """A line of `epochs.jsonl`. Scores are shares that are right, 0..1; see docs/finetune.md."""

    epoch: int
    """From 1; 0 is the model before."""
    train_loss: float
    """Mean over the epoch's steps, on moved pictures, nats; 0 in epoch 0."""
    train_score: float
    """On the same; 0 in epoch 0."""
    val_loss: float
    """Nats."""
    val_score: float
    """Decides which epoch is kept."""
    seconds: float
    """Wall time."""


@dataclass(kw_only=True, frozen=True, slots=True)
class Progress:
    """Where a run stands; all of it is in the state file."""

    step: int = 0
    """Steps done."""
    hits: float = 0.0
    """Of the epoch in work."""
    seen: int = 0
    """Pictures of the epoch in work."""
    losses: float = 0.0
    """Sum over its pictures."""
    seconds: float = 0.0
    """Spent in it."""
    epochs: tuple[Epoch, ...] = field(default=())
    """Finished ones, epoch 0 first."""

    @property
    def best(self) -> Epoch:
        """The highest validation score; among equals the lowest loss, then the first."""
        return max(self.epochs, key=_rank)

    @property
    def kept(self) -> Epoch:
        """The best epoch that was trained."""
        return max(self.epochs[1:], key=_rank)


def tune_model(
    tuned: Tuned,
    job: Job,
    out: Path,
    caught: Caught,
    on_step: Callable[[int, int, str], None],
) -> tuple[Progress, dict[str, NDArray[np.float32]]]:
    """Train until the epochs or the patience end.

    Args:
        tuned: what trains has `requires_grad`; see `tuned.prepare_training`.
        job: what to do.
        out: run folder for `state.safetensors` and `epochs.jsonl`.
        caught: once it has a signal, the step in work ends, is saved, and the run stops.
        on_step: called with (steps done, steps in all, words).

    Returns:
        What happened, and the weights of the best epoch that was trained.

    Raises:
        DataError: the loss is no finite number, the rate destroys the model, or a saved state is damaged.
        KeyboardInterrupt: after Ctrl-C.
        SystemExit: after SIGTERM.
    """
    plan = _plan(job)
    optimizers = build_optimizers(tuned, plan)
    trained = {name: p for name, p in tuned.named_parameters() if p.requires_grad}
    best: dict[str, torch.Tensor] = {}
    progress = _load(out, trained, optimizers[0], best)
    if not progress.epochs:
        progress = replace(progress, epochs=(_measured(tuned, job, Progress(), 0),))
        _save(out, progress, trained, optimizers[0], best)
    per_epoch = job.steps_per_epoch
    saved = time.monotonic()
    while progress.step < plan.steps and not _is_out_of_patience(progress, job.tune):
        progress = _step(tuned, job, plan, optimizers, progress)
        is_epoch = progress.step % per_epoch == 0
        if is_epoch:
            row = _measured(tuned, job, progress, progress.step // per_epoch)
            progress = Progress(step=progress.step, epochs=(*progress.epochs, row))
            _require_sane(progress, job)
            if progress.kept == row:
                best |= {name: p.detach().clone() for name, p in trained.items()}
        on_step(progress.step, plan.steps, _words(progress, job))
        is_stopping = bool(caught.numbers)
        if is_stopping or is_epoch or time.monotonic() - saved > SAVE_SECONDS:
            _save(out, progress, trained, optimizers[0], best)
            saved = time.monotonic()
        if is_stopping:
            caught.stop()
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(best[name])
    return progress, tuned.weights()


def measure(tuned: Tuned, job: Job, places: NDArray[np.int64]) -> tuple[NDArray[np.bool_], float]:
    """Which pictures of a part are right, bool [N] or [2 N] with texts behind, and the loss, nats."""
    tune = job.tune
    image_NE = image_vectors(tuned, job.config, job.pixels[places], tune.precision)
    if job.captions is not None:
        text_UE = text_vectors(tuned, job.captions.tokens, tune.precision)
        scale = float(tuned.clip.logit_scale.detach().exp())
        own = [job.captions.texts[i] for i in places.tolist()]
        texts, pictures, loss = retrieval(image_NE, text_UE, own, scale)
        return np.concatenate([texts, pictures]), loss
    assert job.labels is not None and tuned.head is not None
    labels = torch.from_numpy(job.labels[places])
    logits = image_NE @ tuned.head.detach().T
    return (logits.argmax(dim=1) == labels).numpy(), float(F.cross_entropy(logits, labels))


def overfitting_words(epochs: tuple[Epoch, ...], kept: Epoch) -> str:
    """A sentence where training got better behind the kept epoch while validation got worse; else empty.

    Worse is fewer right and a higher loss: a fall of the score alone may be a picture or two.
    """
    last = epochs[-1]
    is_better = last.train_score > kept.train_score
    if not (is_better and last.val_score < kept.val_score and last.val_loss > kept.val_loss):
        return ""
    return (
        f"It overfits: from epoch {kept.epoch} to {last.epoch} the training score rose from "
        f"{kept.train_score:.1%} to {last.train_score:.1%} while validation fell from "
        f"{kept.val_score:.1%} to {last.val_score:.1%}; the weights of epoch {kept.epoch} are kept."
    )


def _words(progress: Progress, job: Job) -> str:
    best, last = progress.best, progress.epochs[-1]
    return (
        f"steps, epoch {last.epoch} of {job.tune.epochs} done, "
        f"{last.val_score:.1%} of validation right, best {best.val_score:.1%}"
    )


def _rank(one: Epoch) -> tuple[float, float, int]:
    return one.val_score, -one.val_loss, -one.epoch


def _plan(job: Job) -> TrainConfig:
    """The settings of the optimizer and the schedule, in the form that the training loop has them."""
    tune = job.tune
    steps = tune.epochs * job.steps_per_epoch
    return TrainConfig(
        model=job.config,
        steps=steps,
        batch_size=tune.batch_size,
        learning_rate=tune.rate(job.config.vision.width),
        warmup_steps=round(tune.warmup_share * steps),
        weight_decay=tune.weight_decay,
        beta2=0.999,
        epsilon=1e-8,
        clip_norm=tune.clip_norm,
        precision=tune.precision,
        seed=tune.seed,
    )


def _step(
    tuned: Tuned, job: Job, plan: TrainConfig, optimizers: list[torch.optim.Optimizer], progress: Progress
) -> Progress:
    started = time.perf_counter()
    epoch, number = divmod(progress.step, job.steps_per_epoch)
    order = np.random.default_rng([job.tune.seed, 0, epoch]).permutation(job.parts.train)
    places = order[number * job.tune.batch_size : (number + 1) * job.tune.batch_size]
    rng = np.random.default_rng([job.tune.seed, 1, progress.step])
    images_BCHW = batch_pixels(job.pixels[places], job.config, job.tune, rng)
    set_rates(optimizers, progress.step, plan)
    loss, hits = _loss(tuned, job, images_BCHW, places, rng)
    tuned.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(tuned.parameters(), job.tune.clip_norm)
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        raise DataError(
            f"The loss of step {progress.step} is {loss.item()} and its gradient norm {norm.item()}.",
            f"Set learning_rate below {plan.learning_rate:g}.",
        )
    for optimizer in optimizers:
        optimizer.step()
    with torch.no_grad():
        tuned.clip.logit_scale.clamp_(0, LARGEST_LOG_SCALE)
    return replace(
        progress,
        step=progress.step + 1,
        hits=progress.hits + hits,
        seen=progress.seen + len(places),
        losses=progress.losses + loss.item() * len(places),
        seconds=progress.seconds + time.perf_counter() - started,
    )


def _loss(
    tuned: Tuned,
    job: Job,
    images_BCHW: torch.Tensor,
    places: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[torch.Tensor, float]:
    """The loss of a batch and how many of its pictures are right."""
    autocast = autocast_processor(job.tune.precision)
    if job.captions is None:
        assert job.labels is not None
        labels = torch.from_numpy(job.labels[places])
        with autocast:
            logits = tuned.logits(images_BCHW)
        hits = float((logits.detach().argmax(dim=1) == labels).sum())
        return F.cross_entropy(logits.float(), labels), hits
    chosen = job.captions.draw(places, rng)
    tokens = job.captions.tokens[chosen]
    tokens = np.ascontiguousarray(tokens[:, : int(tokens.argmax(axis=1).max()) + 1])
    with autocast:
        image_BE, text_BE = tuned.clip(images_BCHW, torch.from_numpy(tokens))
    of_image_BK = pad_captions([job.captions.texts[i] for i in places.tolist()])
    outcome = contrast(
        image_BE.float(),
        text_BE.float(),
        Temperature(scale=tuned.clip.logit_scale.exp()),
        Objective(),
        processes=Processes(),
        captions=Positives(of_image_BK=torch.from_numpy(of_image_BK), chosen_B=torch.from_numpy(chosen)),
    )
    shared = torch.from_numpy(job.captions.shared(places, chosen))
    found = (image_BE @ text_BE.T).detach().argmax(dim=1)
    hits = float(shared[torch.arange(len(found)), found].sum())
    return outcome.loss, hits


def _measured(tuned: Tuned, job: Job, progress: Progress, epoch: int) -> Epoch:
    started = time.perf_counter()
    right, loss = measure(tuned, job, job.parts.val)
    seen = max(1, progress.seen)
    return Epoch(
        epoch=epoch,
        train_loss=progress.losses / seen,
        train_score=progress.hits / seen,
        val_loss=loss,
        val_score=float(right.mean()),
        seconds=progress.seconds + time.perf_counter() - started,
    )


def _is_out_of_patience(progress: Progress, tune: TuneConfig) -> bool:
    return progress.epochs[-1].epoch - progress.best.epoch >= tune.patience


def _require_sane(progress: Progress, job: Job) -> None:
    """Refuse to go on where the first epochs lost half of what the model could do."""
    before, last = progress.epochs[0].val_score, progress.epochs[-1].val_score
    if last < before / 2 and before - last > 0.05:
        rate = job.tune.rate(job.config.vision.width)
        raise DataError(
            f"After epoch {progress.epochs[-1].epoch} {last:.1%} of validation are right, "
            f"before training {before:.1%}: the learning rate {rate:g} destroys what the model knows.",
            f"Delete the folder and try --set learning_rate={rate / 10:.1g}.",
        )


def _save(
    out: Path,
    progress: Progress,
    trained: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    best: dict[str, torch.Tensor],
) -> None:
    tensors = {f"weight.{name}": p.detach() for name, p in trained.items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for name, parameter in trained.items():
        for key in _MOMENTS:
            if parameter in optimizer.state:
                tensors[f"{key}.{name}"] = optimizer.state[parameter][key]
    arrays: dict[str, NDArray[Any]] = {name: tensor.numpy() for name, tensor in tensors.items()}
    arrays["about"] = np.frombuffer(json.dumps(asdict(progress)).encode(), dtype=np.uint8)
    with atomic_write(out / STATE) as file:
        file.write(safetensors_bytes(arrays))
    with atomic_write(out / EPOCHS) as file:
        file.writelines(json.dumps(asdict(row)).encode() + b"\n" for row in progress.epochs)


def _load(
    out: Path,
    trained: dict[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    best: dict[str, torch.Tensor],
) -> Progress:
    """Put a saved state into the model and the optimizer; an empty progress where there is none."""
    if not (out / STATE).exists():
        return Progress()
    try:
        arrays = read_safetensors(out / STATE)
        about = json.loads(arrays.pop("about").tobytes())
        epochs = tuple(Epoch(**row) for row in about.pop("epochs"))
    except (CheckpointError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{out / STATE} is damaged.", "Delete it, and the run begins again.") from error
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(tensors[f"weight.{name}"])
            if f"step.{name}" in tensors:
                optimizer.state[parameter] = {key: tensors[f"{key}.{name}"] for key in _MOMENTS}
            if f"best.{name}" in tensors:
                best[name] = tensors[f"best.{name}"]
    return Progress(**about, epochs=epochs)
