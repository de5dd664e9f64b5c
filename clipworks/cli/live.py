"""A table on stderr that shows a run as it goes; where stderr is no terminal, a line now and then."""

import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from clipworks.cli.output import Pace, note

if TYPE_CHECKING:
    from clipworks.train.config import TrainConfig
    from clipworks.train.metrics import Step

_SMOOTHING = 0.05
"""Weight of the newest step in what jumps from step to step."""

_SMOOTH = ("loss", "accuracy", "gradient_norm", "pairs_per_second", "mfu", "seconds", "wait_seconds")


class ShowStep(Protocol):
    """Moves the table on."""

    def __call__(self, step: "Step", scores: Mapping[str, float]) -> None:
        """After a step; `scores` are those of the last evaluation."""


class Smooth:
    """Running means of what the steps report."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.skipped = 0

    def add(self, step: "Step") -> None:
        """Take in a step."""
        self.skipped += step.skipped
        for name in _SMOOTH:
            value = getattr(step, name)
            if value is not None and math.isfinite(value):
                before = self.values.get(name, value)
                self.values[name] = before + _SMOOTHING * (value - before)


def rows_of(
    config: "TrainConfig", step: "Step", smooth: Smooth, scores: Mapping[str, float]
) -> list[tuple[str, str]]:
    """What the table says: names and values as people read them."""
    values = {"gradient_norm": math.inf, "loss": math.inf, **smooth.values}
    seconds = values["seconds"]
    left = (config.steps - step.step - 1) * seconds
    mfu = f"   MFU {values['mfu']:.1%}" if "mfu" in values else ""
    rows = [
        ("step", f"{step.step + 1:,} of {config.steps:,}   {clock(left)} left"),
        ("loss", f"{values['loss']:.4f}   chance {math.log(config.batch_size):.4f}"),
        ("accuracy", f"{values['accuracy']:.1%} in the batch"),
        ("logit scale", f"{step.logit_scale:.2f}"),
        ("gradient norm", f"{values['gradient_norm']:.3g}   learning rate {step.learning_rate:.3g}"),
        ("speed", f"{values['pairs_per_second']:,.0f} pairs/s{mfu}"),
        (
            "data wait",
            f"{values['wait_seconds'] / seconds if seconds else 0:.1%}   skipped {smooth.skipped:,}",
        ),
        ("memory", f"{step.memory_bytes / 2**30:.2f} GiB"),
    ]
    return rows + [(name, f"{value:.4f}") for name, value in scores.items()]


def line_of(config: "TrainConfig", step: "Step", smooth: Smooth) -> str:
    """The same in a line, for logs."""
    told = dict(rows_of(config, step, smooth, {}))
    names = ("loss", "speed", "data wait")
    return f"step {told['step']}   " + "   ".join(f"{name} {told[name]}" for name in names)


def clock(seconds: float) -> str:
    """`1:02:03`, with days in front where there are any."""
    whole = round(seconds)
    days, rest = divmod(whole, 86_400)
    time = f"{rest // 3600}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days} d {time}" if days else time


@contextmanager
def live_table(config: "TrainConfig") -> Iterator[ShowStep]:
    """The table while the block runs; gives the function that moves it on."""
    smooth = Smooth()
    if int(os.environ.get("RANK", "0")):
        yield lambda step, scores: None
        return
    if not sys.stderr.isatty():
        pace = Pace()

        def tell(step: "Step", scores: Mapping[str, float]) -> None:
            smooth.add(step)
            if pace.is_due(is_last=step.step + 1 == config.steps):
                note(line_of(config, step, smooth))

        yield tell
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), transient=True, redirect_stdout=False) as live:

        def show(step: "Step", scores: Mapping[str, float]) -> None:
            smooth.add(step)
            live.update(_table(rows_of(config, step, smooth, scores)))

        yield show


def _table(rows: list[tuple[str, str]]) -> Any:
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for name, value in rows:
        table.add_row(name, value)
    return table
