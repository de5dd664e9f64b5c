"""`clipworks evaluate`: a model over published tasks, and data of one's own made ready for it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipworks.cli.evaluate_fetch import fetch
from clipworks.cli.evaluate_prepare import prepare
from clipworks.cli.output import (
    SETTINGS,
    json_option,
    note,
    print_json,
    print_table,
    progress_bar,
    settings_option,
)
from clipworks.cli.steps import steps

if TYPE_CHECKING:
    from clipworks.evaluate.run import Job, Plan

_FOLDER = click.Path(path_type=Path)


@click.group(
    cls=steps("model", "MODEL --suite NAME --data DIR --out DIR [OPTIONS]"),
    commands=[fetch, prepare],
    context_settings=SETTINGS,
)
def evaluate() -> None:
    """Evaluate a model on published tasks, or prepare data of one's own for it.

    See `clipworks evaluate model --help`, the same command by name, for its options.

    \b
    Example:
      clipworks evaluate prepare fashion --like fashion_mnist --invert --out data/fashion_mnist
      clipworks evaluate pictogram --suite fashion_mnist --data data --out results
      clipworks report results
    """


@evaluate.command(context_settings=SETTINGS)
@click.argument("name", metavar="MODEL")
@click.option(
    "--suite",
    required=True,
    metavar="NAME,NAME,...",
    help="Suites (datacomp38, vtab+, retrieval, fairness, ...), tasks, or a folder of one's own in --data.",
)
@click.option("--data", required=True, type=_FOLDER, help="Folder with the data sets, as published.")
@click.option("--out", required=True, type=_FOLDER, help="Folder for the results.")
@click.option("--verify", is_flag=True, help="Compare with the published row of the model, task by task.")
@settings_option(": precision, preprocess, prompts, probe, shots, draws or device")
@click.option("--dry-run", is_flag=True, help="Check the data, print the plan, and stop.")
@json_option("one line per task, the content of its JSON file; with --verify then one per verdict")
def model(
    name: str,
    suite: str,
    data: Path,
    out: Path,
    verify: bool,
    settings: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Evaluate MODEL on every task of the suites whose data are in --data.

    Each picture is embedded once, whatever number of tasks hold it, and kept in the cache. Results that are
    there are left alone; an interrupted run goes on when the command is repeated.

    \b
    Example:
      clipworks evaluate pictogram --suite fashion_mnist --data data --out results
    """
    from clipworks.evaluate.run import RunConfig, plan_run
    from clipworks.evaluate.run import evaluate as run
    from clipworks.evaluate.verify import require_published
    from clipworks.model.executor import describe_processor
    from clipworks.model.loading import load
    from clipworks.model.pull import public_name
    from clipworks.options import with_settings

    config = with_settings(RunConfig(), settings)
    plan = plan_run(suite, data, config)
    _note_left_out(plan, data)
    if dry_run:
        _print_plan([_planned(job) for job in plan.jobs], as_json)
        return
    if verify:
        require_published(public_name(name), [job.task.name for job in plan.jobs if job.probe is None])
    engine = load(name, precision=config.precision, device=config.device, preprocess=config.preprocess)
    rows: list[dict[str, Any]] = []

    def take(result: dict[str, Any], was_there: bool) -> None:
        rows.append(result)
        note(f"{result['name']}: {_told(result)}{' (was there)' if was_there else ''}")

    with progress_bar("Evaluating", "pictures") as show:
        folder = run(engine, plan, out, machine=describe_processor(), show=show, on_result=take)
    if as_json:
        for row in rows:
            print_json(row)
    else:
        print_table(["task", "metric", "value", "95 % interval", "n"], [_row(row) for row in rows])
    if verify:
        _print_verdicts(rows, as_json)
    note(f"{folder} holds the results; `clipworks report {out}` makes a page of them.")


def _note_left_out(plan: "Plan", data: Path) -> None:
    for keys, why in (
        ([task.key for task in plan.missing], f"Left out, since their data are not in {data}"),
        (list(plan.unprobed), "Without a linear probe, since there is no folder train"),
    ):
        if keys:
            note(f"{why}: {', '.join(keys[:8])}{' ...' if len(keys) > 8 else ''}.")


def _planned(job: "Job") -> dict[str, Any]:
    return {
        "task": job.key,
        "metric": job.task.metric,
        "pictures": sum(len(shard) for shard in job.pictures()),
        "published": job.task.size,
        "data_sha256": job.data_sha256,
    }


def _print_plan(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        for row in rows:
            print_json(row)
    else:
        print_table(
            ["task", "metric", "pictures"],
            [[str(r[k]) for k in ("task", "metric", "pictures")] for r in rows],
        )
    note("The data are whole; nothing was computed.")


def _print_verdicts(results: list[dict[str, Any]], as_json: bool) -> None:
    """The published row beside the measured one, and why tasks might deviate."""
    from dataclasses import asdict

    from clipworks.evaluate.verify import verdicts

    found = verdicts(results)
    if as_json:
        for one in found:
            print_json(asdict(one))
        return
    rows = [[v.task, f"{v.measured:.4f}", f"{v.published:.4f}", v.words] for v in found]
    print_table(["task", "measured", "published", "verdict"], rows)
    for one in found:
        for reason in one.reasons:
            note(f"{one.task}: {reason}")


def _told(result: dict[str, Any]) -> str:
    if result["value"] is None:
        return f"{len(result['metrics'])} numbers, no main metric"
    return f"{result['metric']} {result['value']:.4f}"


def _row(result: dict[str, Any]) -> list[str]:
    if result["value"] is None:
        return [result["task"], "-", "-", "-", f"{result['n']:,}"]
    low, high = result["interval_95"]
    return [
        result["task"],
        result["metric"],
        f"{result['value']:.4f}",
        f"{low:.4f} to {high:.4f}",
        f"{result['n']:,}",
    ]
