"""`clipworks curate DIR --recipe NAME`: from fetched pictures to curated shards."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipworks.cli.output import (
    SETTINGS,
    count_of,
    json_option,
    note,
    print_json,
    print_table,
    settings_option,
    stage_progress,
)
from clipworks.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from clipworks.curate.plan import Input, Step


@click.command(context_settings=SETTINGS)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--recipe",
    required=True,
    metavar="NAME",
    help="metaclip, datacomp-basic, datacomp-clip-score, datacomp-1b, laion or small.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of shards to write.")
@settings_option(" (docs/curate.md)")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Do it on a Ray cluster: local, auto or ray://HOST:PORT. Its machines share both folders.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan, the rows and what it costs, and stop.")
@json_option("one object with what each rule saw and kept")
def recipe(
    folder: Path,
    recipe: str,
    out: Path,
    settings: tuple[str, ...],
    workers: int,
    ray: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Curate a folder of fetched pictures by a recipe, into shards that `clipworks train` reads.

    DIR is what `clipworks collect fetch` wrote, or shards of img2dataset or DataComp. An interrupted run
    goes on where it stopped when the command is repeated.

    \b
    Example:
      clipworks curate images --recipe small --out curated
      clipworks curate images --recipe metaclip --set metadata=entries.json --out curated --workers 2
    """
    try:
        from clipworks.curate.plan import find_input, make_plan
        from clipworks.curate.recipes import find
        from clipworks.curate.run import curate
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "curate") from error
    from clipworks.options import with_settings

    config = with_settings(find(recipe), settings)
    if not folder.is_dir():
        reason = "it is a file" if folder.exists() else "it does not exist"
        raise DataError(
            f"{folder} is not a folder of tables: {reason}.",
            "Give a folder of fetched pictures, or a step: metadata, texts, hashes, match, balance.",
        )
    if dry_run:
        place = find_input(folder)
        _print_plan(place, make_plan(place, config), as_json)
        return
    with _cluster(ray) as cluster, stage_progress("Curating", "parts", out) as show:
        done = curate(folder, out, config, recipe=recipe, workers=workers, cluster=cluster, show=show)
    if as_json:
        print_json(done)
    else:
        _print_rules(done["rules"])
    if done["failed_tables"]:
        note(f"{count_of(done['failed_tables'], 'table')} could not be read; see {out}/.steps.")
    if done["damaged_tars"]:
        words = f"{count_of(done['damaged_tars'], 'damaged tar')}, of which the rest is left out"
        note(f"{words}; {out}/.steps/*-list/manifest.json says damaged_tars of each.")
    emptied = next((rule for rule in done["rules"] if not rule["kept"]), None)
    if emptied and not done["pictures"]:
        note(f"Nothing is left: {emptied['rule']!r} (step {emptied['step']}) kept 0 of {emptied['seen']:,}.")
    if done["report"]:
        note(f"Report: {done['report']}")
    note(f"{done['pictures']:,} of {done['rows']:,} rows in {out}.")


def _cluster(address: str | None) -> Any:
    """The cluster at an address, to be entered; nothing where there is none."""
    if address is None:
        return nullcontext()
    try:
        from clipworks.curate.cluster import Cluster
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "ray") from error
    return Cluster(address)


def _print_plan(place: "Input", plan: "Sequence[Step]", as_json: bool) -> None:
    from clipworks.curate.costs import cost_of

    costs = cost_of(place, plan)
    steps = [
        {
            "step": number,
            "kind": step.kind,
            "title": step.title,
            "what": step.what,
            "rows_at_most": place.rows,
            "core_seconds": cost.core_seconds,
            "bytes": cost.num_bytes,
            "rate_of": cost.source,
        }
        for number, (step, cost) in enumerate(zip(plan, costs, strict=True), start=1)
    ]
    if as_json:
        print_json({"rows": place.rows, "tables": len(place.pool.tables), "steps": steps})
        return
    rows = [
        [
            str(one["step"]),
            str(one["title"]) + (f": {one['what']}" if one["kind"] in ("filter", "captions") else ""),
            f"{one['core_seconds']:,.1f}",
            _size(int(str(one["bytes"]))),
        ]
        for one in steps
    ]
    seconds, size = sum(cost.core_seconds for cost in costs), sum(cost.num_bytes for cost in costs)
    print_table(
        ["step", "what", "core seconds", "written"], [*rows, ["", "all", f"{seconds:,.1f}", _size(size)]]
    )
    note(f"{place.rows:,} rows in {count_of(len(place.pool.tables), 'table')}; each step at most as many.")


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.1f} MB"


def _print_rules(rules: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        [str(one["step"]), one["rule"], one["unit"], f"{one['seen']:,}", f"{one['kept']:,}"] for one in rules
    ]
    print_table(["step", "rule", "of", "seen", "kept"], rows)
