"""The long training of the next `pictogram`: `python -m recipes.pictogram_train --shards DIR RUN`.

Goes on where it stopped, exactly, whenever the command is repeated: after Ctrl-C or SIGTERM from the step
it was at, after a kill from the last saved state. The rate stays at its peak until the cooldown, so a run
can be ended earlier: `--end STEP --out COPY RUN` copies it with fewer steps, as if it had been begun so.
"""

import argparse
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from clipworks.errors import DataError
from clipworks.files import read_json, write_json
from clipworks.model.config import ClipConfig, TextConfig, VisionConfig
from clipworks.train.config import TrainConfig
from clipworks.train.loop import train
from clipworks.train.metrics import Step
from clipworks.train.recipes import pictogram

STEPS = 16_000
"""4.1 million pairs."""
COOLDOWN_STEPS = 3200
UNMASKED_STEPS = 800


def config(*, steps: int = STEPS) -> TrainConfig:
    """A narrower text tower than the shipped model's, since 28 languages need more rows of tokens."""
    model = ClipConfig(
        vision=VisionConfig(image_size=64, patch_size=8, width=256, layers=6, heads=4, mlp_width=1024),
        text=TextConfig(width=192, layers=4, heads=3, mlp_width=768),
        embed_dim=256,
        activation="gelu",
    )
    return replace(
        pictogram(),
        model=model,
        steps=steps,
        schedule="cooldown",
        cooldown_steps=COOLDOWN_STEPS,
        warmup_steps=200,
        unmasked_steps=UNMASKED_STEPS,
        ema_decay=0.998,
        save_every_steps=100,
        save_every_seconds=600.0,
        keep_every_steps=2000,
    )


def main() -> None:
    """Train, or copy a run that shall end earlier."""
    options = _parse_arguments()
    if options.end is not None:
        end_earlier(options.run, options.out, options.end)
        return
    if options.shards is None:
        sys.exit("Name the shards: python -m recipes.pictogram_train --shards DIR RUN")
    steps = _steps_of(options.run) or STEPS
    train(config(steps=steps), options.shards, options.run, on_step=_say)


def end_earlier(run: Path, out: Path, step: int) -> None:
    """Copy an unfinished run as one of fewer steps.

    Raises:
        DataError: the run is beyond the point from which the shorter one would have differed.
    """
    begun = read_json(run / "train.json")
    differs = step - max(COOLDOWN_STEPS, UNMASKED_STEPS)
    done = max(
        (json.loads(line)["step"] + 1 for line in (run / "metrics.jsonl").read_text().splitlines()), default=0
    )
    if done > differs:
        raise DataError(f"{run} has taken {done} steps; one of {step} would differ from step {differs} on.")
    shutil.copytree(run, out)
    begun["config"]["steps"] = step
    write_json(out / "train.json", begun)


def _steps_of(run: Path) -> int | None:
    path = run / "train.json"
    return int(read_json(path)["config"]["steps"]) if path.exists() else None


def _say(step: Step) -> None:
    if step.step % 20 == 0:
        sys.stderr.write(f"step {step.step}  loss {step.loss:.3f}  {step.seconds:.2f} s\n")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--shards", type=Path, help="folder of shards that recipes/pool.sh made")
    parser.add_argument("--end", type=int, help="copy the run to --out as one of so many steps")
    parser.add_argument("--out", type=Path, help="for --end")
    return parser.parse_args()


if __name__ == "__main__":
    main()
