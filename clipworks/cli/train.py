"""`clipworks train`: a model from shards."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipworks.cli.output import SETTINGS, json_option, note, print_json, progress_bar
from clipworks.errors import MissingExtraError

if TYPE_CHECKING:
    from clipworks.train.config import TrainConfig
    from clipworks.train.metrics import Step


@click.command(context_settings=SETTINGS)
@click.option("--recipe", required=True, metavar="NAME", help="Named configuration: tiny, pictogram.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Folder of shards.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Run folder; becomes a checkpoint."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    envvar="CLIPWORKS_SET",
    help="Change a setting; repeatable.",
)
@click.option("--dry-run", is_flag=True, help="Print the resolved configuration and stop.")
@json_option("one object with the run folder, and steps and loss if it trained")
def train(
    recipe: str, data: Path, out: Path, settings: tuple[str, ...], dry_run: bool, as_json: bool
) -> None:
    """Train a model, or go on with a run that was interrupted.

    \b
    Example:
      clipworks train --recipe tiny --data shards --out runs/tiny --set steps=20
    """
    from importlib.util import find_spec

    from clipworks.options import with_settings
    from clipworks.train.recipes import find

    config = with_settings(find(recipe), settings)
    if dry_run:
        click.echo(json.dumps(config.to_json(), indent=None if as_json else 1))
        return
    if find_spec("torch") is None:
        raise MissingExtraError("torch", "train")
    last = _train(config, data, out)
    if as_json:
        done = {"steps": last.step + 1, "loss": last.loss} if last else {}
        print_json({"out": str(out), **done})
    note(f"{out} is complete." if last else f"{out} was complete already.")


def _train(config: "TrainConfig", data: Path, out: Path) -> "Step | None":
    from clipworks.train.loop import train as run

    last: Step | None = None
    smooth_loss = 0.0
    with progress_bar("Training", "steps") as show:

        def on_step(step: "Step") -> None:
            nonlocal last, smooth_loss
            smooth_loss += (step.loss - smooth_loss) * (0.05 if last else 1)
            last = step
            speed = config.batch_size / step.seconds
            show(step.step + 1, config.steps, f"steps, loss {smooth_loss:.3f}, {speed:.0f} pairs/s")

        run(config, data, out, on_step=on_step)
    return last
