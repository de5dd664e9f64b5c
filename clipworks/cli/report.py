"""`clipworks report`: results as a page and tables, models compared, a gate for CI."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipworks.cli.output import SETTINGS, count_of, json_option, note, print_json, print_table

if TYPE_CHECKING:
    from clipworks.evaluate.compare import Gate
    from clipworks.evaluate.report import Report


@click.command(context_settings=SETTINGS)
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the page and tables.  [default: DIR]"
)
@click.option(
    "--baseline",
    type=click.Path(path_type=Path),
    help="Results that those in DIR must not fall behind; status 1 where they do.",
)
@click.option(
    "--max-drop",
    default=0.3,
    show_default=True,
    type=click.FloatRange(0, 100),
    help="Points (of 100) that a task may fall below the baseline.",
)
@click.option(
    "--alpha",
    default=0.05,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="A larger fall counts only where its p value, corrected over tasks, is below this.",
)
@json_option("one object with models, averages, verdicts and differences")
@click.pass_context
def report(
    context: click.Context,
    folders: tuple[Path, ...],
    out: Path | None,
    baseline: Path | None,
    max_drop: float,
    alpha: float,
    as_json: bool,
) -> None:
    """Make report.html, report.csv and report.md of what `clipworks evaluate` wrote.

    Published numbers stand beside measured ones with a verdict. Two models are compared on the pictures that
    both saw. With --baseline it is a gate: status 1 where a task fell by more than --max-drop and not by
    chance.

    \b
    Example:
      clipworks report results
      clipworks report results/new --baseline results/old --max-drop 0.3
    """
    from clipworks.evaluate.compare import gate
    from clipworks.evaluate.report import read_report, write_report
    from clipworks.evaluate.results import find_incomplete, find_results

    for path in find_incomplete([*folders, *([] if baseline is None else [baseline])]):
        note(f"Left out: {path} is incomplete; evaluate again.")
    found = read_report(folders)
    if found.uncompared:
        note(f"Not compared, since the pictures or the metric differ: {', '.join(found.uncompared)}.")
    paths = write_report(found, out or (folders[0] if folders[0].is_dir() else folders[0].parent))
    checked = None
    if baseline is not None:
        results = [row for card in found.cards for row in card.results]
        checked = gate(results, find_results([baseline]), max_drop=max_drop / 100, alpha=alpha)
    if as_json:
        print_json(_as_json(found, checked, paths))
    else:
        rows = [
            [card.model, r["name"], r["metric"], "–" if r["value"] is None else f"{r['value']:.4f}"]
            for card in found.cards
            for _, r in card.results
        ]
        print_table(["model", "task", "metric", "value"], rows)
    note(f"Wrote {', '.join(str(path) for path in paths)}.")
    if checked is not None:
        _tell_gate(checked)
        if not checked.is_passed:
            context.exit(1)


def _as_json(found: "Report", checked: "Gate | None", paths: Sequence[Path]) -> dict[str, Any]:
    from dataclasses import asdict

    from clipworks.evaluate.compare import as_json

    value: dict[str, Any] = {
        "models": [
            {
                "model": card.model,
                "fingerprint": card.fingerprint,
                "values": {r["task"]: r["value"] for _, r in card.results},
                "averages": card.averages,
                "verdicts": [asdict(verdict) for verdict in card.verdicts],
            }
            for card in found.cards
        ],
        "differences": [as_json(row) for row in found.differences],
        "files": [str(path) for path in paths],
    }
    if checked is not None:
        value["gate"] = {
            "is_passed": checked.is_passed,
            "failed": [as_json(row) for row in checked.failed],
            "missing": list(checked.missing),
        }
    return value


def _tell_gate(checked: "Gate") -> None:
    for row in checked.failed:
        note(f"Fell: {row.task} {row.metric} {row.second:.4f} to {row.first:.4f} (p {row.p_corrected:.2g}).")
    for task in checked.missing:
        note(f"Missing: {task} is in the baseline and was not evaluated.")
    bounds = f"fell by more than {100 * checked.max_drop:g} points at level {checked.alpha:g}"
    if checked.is_passed:
        note(f"The gate passed: no task {bounds}.")
    else:
        fell = count_of(len(checked.failed), "task")
        note(f"The gate failed: {fell} {bounds}, {len(checked.missing)} missing.")
