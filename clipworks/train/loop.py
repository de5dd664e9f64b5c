"""The training loop: one process, one device, every step in sight."""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from clipworks.errors import DataError
from clipworks.files import is_complete
from clipworks.model.network import Clip, initialise
from clipworks.train.checkpoint import METRICS, cut_metrics, export, load_state, open_run, save_state
from clipworks.train.config import TrainConfig
from clipworks.train.feed import open_feed
from clipworks.train.loader import Batch
from clipworks.train.loss import contrastive_loss
from clipworks.train.optim import build_optimizers, schedule, set_rates
from clipworks.train.sources import identify

LARGEST_LOG_SCALE = math.log(100)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What one optimizer step reports; a line of `metrics.jsonl`."""

    step: int
    """Number of the step, from 0."""
    loss: float
    """Contrastive loss of the batch, nats."""
    learning_rate: float
    """Rate of AdamW."""
    gradient_norm: float
    """Length of the gradient before clipping."""
    logit_scale: float
    """The factor on the cosines after the step, 1 to 100."""
    seconds: float
    """Wall time of the step, waiting for data included, saving not."""

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})


def train(
    config: TrainConfig, data: Path, out: Path, *, on_step: Callable[[Step], None] | None = None
) -> Path:
    """Train a model from shards, or go on with a run that was interrupted.

    Args:
        config: what to train and how.
        data: folder of shards.
        out: run folder; holds `train.json`, `metrics.jsonl`, `state.safetensors` and, once the run
            is complete, `config.json`, `model.safetensors` and `manifest.json`.
        on_step: called after every step.

    Returns:
        `out`, which is now a checkpoint folder. A complete run is left alone.

    Raises:
        DataError: the data cannot be used, the folder holds another run, or the loss stopped
            being a finite number.
        KeyboardInterrupt: after Ctrl-C, with the state of the last whole step saved.
    """
    open_run(out, config, identify(data))
    if is_complete(out):
        return out
    feed = open_feed(data, config)
    text = replace(config.model.text, vocab_size=len(feed.token_rows))
    model = Clip(replace(config.model, text=text))
    initialise(model, config.seed)
    optimizers = build_optimizers(model, config)
    done = load_state(out, model, optimizers)
    cut_metrics(out, done)

    with (out / METRICS).open("a", encoding="utf-8") as metrics, _interrupt_flag() as interrupted:
        started = time.perf_counter()
        for number, batch in enumerate(feed.batches(config, done), start=done):
            result = _train_step(model, optimizers, batch, config, number, started)
            metrics.write(result.to_json() + "\n")
            if on_step is not None:
                on_step(result)
            is_last = number + 1 == config.steps
            is_interrupted = interrupted.is_set()  # read once: Ctrl-C may come between two looks
            if is_last or is_interrupted or (number + 1) % config.save_every_steps == 0:
                metrics.flush()
                save_state(out, model, optimizers, number + 1)
            if is_interrupted and not is_last:
                raise KeyboardInterrupt
            started = time.perf_counter()
    export(out, model, config.model, feed.token_rows)
    return out


def _train_step(
    model: Clip,
    optimizers: list[torch.optim.Optimizer],
    batch: Batch,
    config: TrainConfig,
    number: int,
    started: float,
) -> Step:
    set_rates(optimizers, number, config)
    with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
        image_BE, text_BE = model(batch.images_BCHW, batch.tokens_BT, batch.kept_BT)
    loss = contrastive_loss(image_BE, text_BE, model.logit_scale.exp(), batch.excluded_BB)
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm or math.inf)
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        raise DataError(
            f"The loss of step {number} is {loss.item()} and its gradient norm {norm.item()}.",
            "Lower learning_rate; the state before this step is kept.",
        )
    for optimizer in optimizers:
        optimizer.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, LARGEST_LOG_SCALE)
    return Step(
        step=number,
        loss=loss.item(),
        learning_rate=config.learning_rate * schedule(number, config),
        gradient_norm=norm.item(),
        logit_scale=model.logit_scale.exp().item(),
        seconds=time.perf_counter() - started,
    )


@contextmanager
def _interrupt_flag() -> Iterator[threading.Event]:
    """Within: the first Ctrl-C only sets the flag, so that the step it falls into ends whole."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    previous = signal.signal(signal.SIGINT, lambda *_: flag.set())
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, previous)
