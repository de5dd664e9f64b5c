"""The runner: a folder of pictures, a recipe, a folder of curated shards.

The steps of the plan are stages in `.steps` below the new folder, each with a manifest that counts what its
rules saw and kept; the shards come last, and their manifest holds the recipe and all the counts. A step
whose manifest is there is not done again, so a run that was killed goes on where it stopped and a finished
one does nothing; the bytes are those of an undisturbed run.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from clipworks.curate.plan import Input, Step, find_input, make_plan
from clipworks.curate.pool import sources_of
from clipworks.curate.recipes import CurateConfig
from clipworks.curate.report import PAGE
from clipworks.curate.steps import REPORT, Job, State, as_json, run_step
from clipworks.errors import ConfigError, DataError
from clipworks.files import MANIFEST, exclusive_lock, read_json, read_manifest, write_json
from clipworks.stage import ShowProgress, Workers

STEPS_FOLDER = ".steps"
BEGUN = "recipe.json"


def curate(
    folder: Path,
    out: Path,
    config: CurateConfig,
    *,
    recipe: str = "",
    workers: int = 1,
    cluster: Workers | None = None,
    show: ShowProgress | None = None,
) -> dict[str, Any]:
    """Curate a folder of fetched shards, or of metadata alone, into a new folder.

    Args:
        folder: shards of `collect fetch`, img2dataset or DataComp; or tables without shards, of which the
            rows that stay are written.
        out: NNNNNNNN.tar, .parquet and _stats.json, and the manifest; resumed if it was begun.
        config: what is kept; a recipe's, or one's own.
        recipe: its name, for the manifest.
        workers: processes.
        cluster: a Ray cluster that this program is connected to, where all work is done instead; its
            machines share both folders.
        show: told when a part of a step is done; the words name the step.

    Returns:
        `out`, `rows` (of the input), `pictures` (packed, or rows that were written), `failed_tables`,
        `report` (of balancing, or empty) and `rules`: step, rule, unit, seen and kept of each.

    Raises:
        ConfigError: a setting is wrong, or the folder was begun with other settings or another input.
        DataError: the input cannot be read, another process writes the folder, or the disk is full.
        MissingExtraError: a package is not installed.
    """
    place = find_input(folder)
    plan = make_plan(place, config)
    steps = out / STEPS_FOLDER
    try:
        steps.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(steps / ".lock", wait=False):
            details = {"recipe": recipe, "settings": asdict(config)}
            _begin(steps, details | {"input": _digest_of(place)})
            job = Job(
                place=place,
                config=config,
                details=details,
                workers=workers,
                cluster=cluster,
                on_ray=cluster is not None,
                show=show,
            )
            return _run(plan, job, out)
    except BlockingIOError as error:
        raise DataError(
            f"{out} is being written by another process.", "Wait for it, or choose another --out."
        ) from error


def folder_of(plan: Sequence[Step], number: int, out: Path) -> Path:
    """Where a step writes, counted from 1: the last one into the folder itself."""
    if number == len(plan):
        return out
    return out / STEPS_FOLDER / f"{number:02d}-{plan[number - 1].kind}"


def _run(plan: Sequence[Step], job: Job, out: Path) -> dict[str, Any]:
    state = State(pool=replace(job.place.pool, copies_rows=False))
    report = ""
    for number, step in enumerate(plan, start=1):
        folder = folder_of(plan, number, out)
        words = f"{step.title} (step {number} of {len(plan)})"
        now = replace(job, show=None if job.show is None else partial(_show, job.show, words))
        state = run_step(step, number, now, state, folder)
        if step.kind == "balance":
            report = str(folder / REPORT / PAGE)
    manifests = [path for path in (out / STEPS_FOLDER).glob(f"*/{MANIFEST}")]
    failed = [read_json(path)["counts"].get("failed_sources", 0) for path in manifests]
    return {
        "out": str(out),
        "rows": job.place.rows,
        "pictures": read_manifest(out)["rows"],
        "failed_tables": max(failed, default=0),
        "report": report,
        "rules": as_json(state.rules),
    }


def _show(show: ShowProgress, words: str, done: int, total: int, _: str) -> None:
    show(done, total, words)


def _begin(steps: Path, job: Mapping[str, Any]) -> None:
    """Say what the run is begun with, or see that it is the same.

    Raises:
        ConfigError: it was begun with something else.
    """
    wanted = json.loads(json.dumps(job))
    if not (steps / BEGUN).exists():
        write_json(steps / BEGUN, wanted)
        return
    old = read_json(steps / BEGUN)
    for name, value in {**wanted, **wanted["settings"]}.items():
        before = {**old, **old["settings"]}.get(name)
        if name == "settings" or before == value:
            continue
        words = "another input" if name == "input" else f"{name} {before!r}, not {value!r}"
        raise ConfigError(
            f"{steps.parent} was begun with {words}.",
            "Use the same, choose another --out, or delete that folder.",
        )


def _digest_of(place: Input) -> str:
    return sha256(" ".join(source.digest for source in sources_of(place.pool)).encode()).hexdigest()
