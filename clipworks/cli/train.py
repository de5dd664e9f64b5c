"""`clipworks train`: a model from shards."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipworks.cli.live import ShowStep, clock, live_table
from clipworks.cli.output import SETTINGS, json_option, note, print_json, print_table, settings_option
from clipworks.errors import MissingExtraError

if TYPE_CHECKING:
    from clipworks.train.check import Findings
    from clipworks.train.config import TrainConfig
    from clipworks.train.events import EventFile
    from clipworks.train.held_out import Task
    from clipworks.train.metrics import Step
    from clipworks.train.step import Learner

_RECIPES = "tiny, pictogram, finetune, or a published run such as datacomp-small; see docs/train.md"


@click.command(context_settings=SETTINGS)
@click.option("--recipe", required=True, metavar="NAME", help=f"Named configuration: {_RECIPES}.")
@click.option(
    "--data",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of shards, or a JSON file that lists several with weights.",
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Run folder; becomes a checkpoint."
)
@click.option(
    "--from",
    "start",
    metavar="MODEL",
    help="Start from this checkpoint, in its shape, and not from random weights.",
)
@click.option(
    "--eval",
    "held_out",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Captions file or folder of classes to score at times and at the end; repeatable.",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Processes that decode a stream of pictures; 0 decodes in threads.",
)
@click.option("--tensorboard", is_flag=True, help="Write event files for TensorBoard into the run folder.")
@settings_option("")
@click.option("--check", is_flag=True, help="Test data, memory and two steps, write nothing, and stop.")
@click.option("--dry-run", is_flag=True, help="Print the resolved configuration and stop.")
@json_option("one object with the run folder, and steps and loss if it trained; what was found with --check")
def train(  # noqa: PLR0913
    recipe: str,
    data: Path,
    out: Path,
    start: str | None,
    held_out: tuple[Path, ...],
    workers: int,
    tensorboard: bool,
    settings: tuple[str, ...],
    check: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train a model, or go on with a run that was interrupted.

    \b
    Example:
      clipworks train --recipe tiny --data shards --out runs/tiny --set steps=20
    """
    from importlib.util import find_spec

    from clipworks.options import with_settings
    from clipworks.train.recipes import find

    # All together: what --from says decides whether a tower can be locked.
    config = with_settings(find(recipe), [*settings, *([f"start={start}"] if start is not None else [])])
    if find_spec("torch") is None and not (dry_run and start is None):
        raise MissingExtraError("torch", "train")
    if start is not None:
        from clipworks.train.start import with_start

        config = with_start(config, start)
    if dry_run:
        click.echo(json.dumps(config.to_json(), indent=None if as_json else 1))
    elif check:
        _check(config, data, out, as_json)
    else:
        watch = _Watch(config=config, out=out, with_events=tensorboard)
        last = _train(watch, data, held_out, workers)
        if not _is_first():
            return
        if as_json:
            done = {"steps": last.step + 1, "loss": last.loss} if last else {}
            print_json({"out": str(out), **done, **watch.scores})
        note(f"{out} is complete." if last else f"{out} was complete already.")


def _is_first() -> bool:
    """Of the processes that torchrun starts, the first one speaks."""
    return os.environ.get("RANK", "0") == "0"


@dataclass(kw_only=True, frozen=True, slots=True)
class _Watch:
    """Who looks on: the table and the event file."""

    config: "TrainConfig"
    out: Path
    with_events: bool
    steps: "list[Step]" = field(default_factory=list)
    """The last step, or nothing yet."""
    scores: dict[str, float] = field(default_factory=dict)
    """Of the last evaluation."""
    events: "list[EventFile]" = field(default_factory=list)

    def on_step(self, step: "Step", show: ShowStep, stack: ExitStack) -> None:
        """Show a step."""
        from clipworks.train.events import open_events

        self.steps[:] = [step]
        show(step, self.scores)
        if self.with_events:
            if not self.events:
                self.events.append(stack.enter_context(open_events(self.out, step.step)))
            values = {name: value for name, value in asdict(step).items() if name != "step"}
            self.events[0].write(step.step, {k: v for k, v in values.items() if v is not None})

    def on_eval(self, learner: "Learner", step: int, tasks: "Sequence[Task]") -> Mapping[str, float]:
        """Score the tasks."""
        from clipworks.train.held_out import score_tasks

        self.scores.update(score_tasks(learner, tasks))
        if self.events:
            self.events[0].write(step, self.scores)
        return self.scores


def _train(watch: _Watch, data: Path, held_out: Sequence[Path], workers: int) -> "Step | None":
    from clipworks.cli.held_out import read_tasks
    from clipworks.train.checkpoint import refuse_other_run
    from clipworks.train.loop import train as run

    if _is_first():
        refuse_other_run(watch.out, watch.config)  # before pictures are read
    tasks = read_tasks(held_out, watch.config)
    with ExitStack() as stack:
        show = stack.enter_context(live_table(watch.config))
        run(
            watch.config,
            data,
            watch.out,
            on_step=lambda step: watch.on_step(step, show, stack),
            on_eval=(lambda learner, step: watch.on_eval(learner, step, tasks)) if tasks else None,
            workers=workers,
        )
    return watch.steps[0] if watch.steps else None


def _check(config: "TrainConfig", data: Path, out: Path, as_json: bool) -> None:
    from clipworks.train.check import check_run
    from clipworks.train.checkpoint import refuse_other_run

    refuse_other_run(out, config)
    found = check_run(config, data)
    if as_json:
        print_json(asdict(found))
        return
    print_table((), _rows(found))


def _rows(found: "Findings") -> list[tuple[str, str]]:
    gib = 2**30
    problems = ", ".join(f"{cause} {count}" for cause, count in sorted(found.problems.items())) or "none"
    rows = [
        (
            "samples",
            f"{found.samples:,} in {found.shards:,} shards" if found.shards else f"{found.samples:,}",
        ),
        ("looked at", f"{found.looked_at:,}; that could not be used: {problems}"),
    ]
    if found.captions:
        rows.append(
            ("captions", f"{found.distinct_captions:,} different, such as {found.captions[0][:60]!r}")
        )
    rows += [
        ("parameters", f"{found.parameters:,}"),
        (
            "memory",
            f"{found.estimated_bytes / gib:.2f} GiB estimated for a step beside the program, "
            f"{found.available_bytes / gib:.2f} free, {found.peak_bytes / gib:.2f} used with the program",
        ),
        ("first loss", f"{found.loss:.3f}; chance is {found.chance_loss:.3f}"),
        ("a step", f"{found.step_seconds:.3f} s, the first {found.first_seconds:.3f} s"),
        ("all steps", f"{clock(found.total_hours * 3600)} at that speed"),
    ]
    if found.mfu is not None:
        rows.append(("MFU", f"{found.mfu:.1%}"))
    return rows
