"""The training loop: every step in sight, in one process or in many."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import torch

from clipworks.errors import DataError
from clipworks.files import is_complete
from clipworks.train.checkpoint import cut_evaluations, cut_metrics, export, open_run
from clipworks.train.config import TrainConfig
from clipworks.train.distributed import full, join_processes
from clipworks.train.feed import Feed, open_feed
from clipworks.train.folders import held, writing
from clipworks.train.guards import Guards, require_sane_rate
from clipworks.train.meter import start_meter
from clipworks.train.metrics import EVALUATIONS, METRICS, Step
from clipworks.train.page import write_page
from clipworks.train.signals import Caught, catch_signals
from clipworks.train.sources import identify
from clipworks.train.start import read_start
from clipworks.train.states import Memory, load_state, save_state
from clipworks.train.step import Learner, build_learner, take_step

Evaluate = Callable[[Learner, int], Mapping[str, float]]
"""The model after so many steps -> numbers by name. It is called in every process, so that each can take
its part of the work (`distributed.compute_shared`); the first process's numbers are written down."""

GUARD_STEPS = 20
"""Steps between two times that several processes ask the first one whether to stop."""

_GO_ON, _SAVE, _STOP = 0, 1, 2


def train(
    config: TrainConfig,
    data: Path,
    out: Path,
    *,
    on_step: Callable[[Step], None] | None = None,
    on_eval: Evaluate | None = None,
    workers: int = 0,
) -> Path:
    """Train a model from shards, or go on with a run that was interrupted.

    Under torchrun every process calls this; they share every batch.

    Args:
        config: what to train and how.
        data: folder of shards, or a file that lists several (`sources.py`).
        out: run folder; holds `train.json`, `metrics.jsonl`, `states` and, once the run is complete,
            `config.json`, `model.safetensors` and `manifest.json`; `report.html` is made anew at every save.
        on_step: called after every step, in the first process.
        on_eval: called in every process after every `eval_every_steps` steps and after the last one;
            what it returns becomes a line of `evaluations.jsonl`.
        workers: processes that decode a stream; 0 decodes in threads of this one.

    Returns:
        `out`, which is now a checkpoint folder. A complete run is left alone.

    Raises:
        ConfigError: the processes cannot share a batch equally, or the learning rate would undo the
            checkpoint that training starts from.
        DataError: the data cannot be used, the folder holds another run or is being written by another
            process or cannot be written, the loss stopped being a finite number, memory ran out, or
            `guards.py` stopped the run; the last state is kept.
        KeyboardInterrupt: after Ctrl-C, with the state of the last whole step saved; after a second one
            at once, without.
        SystemExit: after SIGTERM, likewise; the code is 143.
    """
    with join_processes() as processes, _own_random_numbers(processes.device), ExitStack() as stack:
        rows = processes.rows(config.batch_size)
        require_sane_rate(config)
        is_checked = config.reading == "memory"
        processes.once(lambda: open_run(out, config, lambda: identify(data, is_checked=is_checked)))
        if processes.once(lambda: is_complete(out)):
            return out
        processes.once(lambda: stack.enter_context(held(out)))
        feed = open_feed(data, config)
        start = read_start(config, feed.token_rows)
        model, table = (None, None) if start is None else (start.model, start.table)
        learner = build_learner(config, feed.token_rows, processes, model, table=table)
        memory = Memory(
            parameters=learner.named_parameters(),
            optimizers=learner.optimizers,
            extra=learner.extra_state(),
        )
        run = _Run(out=out, learner=learner, memory=memory, on_step=on_step, on_eval=on_eval)
        run.go(feed, rows, workers)
        weights = {name: full(p).float().cpu().numpy() for name, p in learner.result().items()}
        with writing(out):
            processes.once(lambda: export(out, weights, config.model, feed.token_rows, table))
    return out


def _own_random_numbers(device: torch.device) -> AbstractContextManager[None]:
    """Within: what is drawn from PyTorch's generators changes nothing for the caller."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """What happens after a step."""

    out: Path
    learner: Learner
    memory: Memory
    on_step: Callable[[Step], None] | None
    on_eval: Evaluate | None
    saved: list[float] = field(default_factory=lambda: [time.monotonic()])
    """When the last state was written, one value."""
    troubles: list[DataError] = field(default_factory=list)
    """What the guards have found."""

    def go(self, feed: Feed, rows: slice, workers: int) -> None:
        """Take the steps that are not done yet; arguments as in `train`."""
        config, processes = self.learner.config, self.learner.processes
        done = load_state(self.out, self.memory, processes)
        if processes.is_first:
            cut_metrics(self.out, done)
            cut_evaluations(self.out, done)
        meter = start_meter(config, processes.device, processes.world)
        guards = Guards(config)
        batches = feed.batches(config, done, rows=rows, device=processes.device, processes=workers)
        # Closed here, since an error that is on its way keeps it alive, and with it all that is read ahead.
        with closing(batches), self.open_metrics() as metrics, catch_signals() as caught:
            started = time.perf_counter()
            for number, batch in enumerate(batches, start=done):
                waited = time.perf_counter() - started
                result = meter.complete(take_step(self.learner, batch, number, started), batch, waited)
                self.report(result, metrics)
                self.evaluate_if_due(number + 1)
                self.save_if_due(number + 1, metrics, caught)
                self.guard(guards, result)
                started = time.perf_counter()

    @contextmanager
    def open_metrics(self) -> Iterator[TextIO]:
        """`metrics.jsonl`; in processes but the first, nothing."""
        path = self.out / METRICS if self.learner.processes.is_first else Path(os.devnull)
        with path.open("a", buffering=1, encoding="utf-8") as file:  # each line is seen as it is made
            yield file

    def report(self, result: Step, metrics: TextIO) -> None:
        """Write the line of a step, and tell who asked."""
        with writing(self.out):
            metrics.write(result.to_json() + "\n")
        if self.on_step is not None and self.learner.processes.is_first:
            self.on_step(result)

    def guard(self, guards: Guards, result: Step) -> None:
        """Stop a run that cannot end well; all processes together, which is asked every so many steps.

        Raises:
            DataError: what the guards of the first process say.
        """
        processes = self.learner.processes
        try:
            guards.look(result)
        except DataError as error:
            self.troubles.append(error)
        if processes.world == 1 or (result.step + 1) % GUARD_STEPS == 0:
            processes.once(self._raise_trouble)

    def _raise_trouble(self) -> None:
        if self.troubles:
            write_page(self.out)
            raise self.troubles[0]

    def evaluate_if_due(self, done: int) -> None:
        """Evaluate where the configuration says so, in every process."""
        config = self.learner.config
        is_due = done == config.steps or (config.eval_every_steps and done % config.eval_every_steps == 0)
        if self.on_eval is None or not is_due:
            return
        numbers = self.on_eval(self.learner, done)
        if self.learner.processes.is_first:
            with writing(self.out), (self.out / EVALUATIONS).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": done, **numbers}) + "\n")

    def save_if_due(self, done: int, metrics: TextIO, caught: Caught) -> None:
        """Save by step, by time or because a signal asks to stop; all processes do the same.

        Raises:
            KeyboardInterrupt: Ctrl-C in any process, after saving.
            SystemExit: SIGTERM in any process, after saving.
        """
        config, processes = self.learner.config, self.learner.processes
        seconds = time.monotonic() - self.saved[0]
        is_time = bool(config.save_every_seconds) and seconds >= config.save_every_seconds
        wish = _STOP if caught.numbers else _SAVE if is_time and processes.is_first else _GO_ON
        wish = processes.highest(wish)
        is_last = done == config.steps
        if wish == _GO_ON and not is_last and done % config.save_every_steps:
            return
        with writing(self.out):
            metrics.flush()
            save_state(
                self.out,
                self.memory,
                done,
                processes,
                keep=config.keep_states,
                keep_every=config.keep_every_steps,
            )
            if processes.is_first:
                write_page(self.out)
        self.saved[0] = time.monotonic()
        if wish == _STOP and not is_last:
            caught.stop()
