"""`clipworks collect fetch`: the pictures of a list of addresses, into shards."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipworks.cli.output import (
    SETTINGS,
    json_option,
    note,
    print_json,
    print_table,
    settings_option,
    stage_progress,
)
from clipworks.errors import MissingExtraError

if TYPE_CHECKING:
    from clipworks.collect.fetch import FetchJob
    from clipworks.collect.settings import FetchConfig

_FILES = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(context_settings=SETTINGS)
@click.argument("source", metavar="PAIRS", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of shards to write.")
@click.option(
    "--archives", multiple=True, type=_FILES, help="WARC file whose own pictures are used; repeatable."
)
@click.option("--opt-outs", multiple=True, type=_FILES, help="List of hosts and addresses; repeatable.")
@click.option(
    "--blocklist", multiple=True, type=_FILES, help="List of addresses and picture hashes; repeatable."
)
@click.option("--retry-failed", is_flag=True, help="PAIRS is a fetched folder: ask again for what failed.")
@click.option("--url-column", default="", help="Column of addresses.  [default: image_url or url]")
@click.option("--caption-column", default="", help="Column of texts.  [default: texts, caption, text or alt]")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Picture processes.")
@settings_option(" (docs/fetch.md)")
@click.option("--dry-run", is_flag=True, help="Print the plan and the settings, and stop.")
@json_option("one object with the counts")
def fetch(  # noqa: PLR0913  # an argument for each option
    source: Path,
    out: Path,
    archives: tuple[Path, ...],
    opt_outs: tuple[Path, ...],
    blocklist: tuple[Path, ...],
    retry_failed: bool,
    url_column: str,
    caption_column: str,
    workers: int,
    settings: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Fetch the pictures of a list of addresses into shards, in img2dataset's layout.

    PAIRS is a folder of `clipworks collect pairs`, or a parquet, csv, tsv, jsonl or txt file, or a folder
    of them. Every row is in OUT/NNNNN.parquet with what became of it. Obeyed are robots.txt (as
    "clipworks"), X-Robots-Tag, TDM-Reservation and the opt-out lists. An interrupted run goes on where it
    stopped when the command is repeated.

    \b
    Example:
      clipworks collect fetch pairs --out images --archives crawl.warc.gz
      clipworks collect fetch images --retry-failed --out images-again
    """
    from dataclasses import replace

    try:
        from clipworks.collect.fetch import FetchJob, check_job, fetch_images, retry_job
        from clipworks.collect.lists import find_list
        from clipworks.collect.settings import FetchConfig, with_fetch_settings
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "curate") from error

    config = with_fetch_settings(FetchConfig(), settings)
    job = (
        retry_job(source, config)
        if retry_failed
        else FetchJob(links=find_list(source, url_column=url_column, caption_column=caption_column))
    )
    job = replace(job, archives=archives, opt_outs=opt_outs, blocklists=blocklist)
    if dry_run:
        check_job(job, config)
        _print_plan(job, config, as_json)
        return
    with stage_progress("Fetching", "shards", out) as show:
        manifest = fetch_images(job, out, config, workers=workers, show=show)
    _print_counts(out, manifest, as_json)


def _print_plan(job: "FetchJob", config: "FetchConfig", as_json: bool) -> None:
    from dataclasses import asdict

    from clipworks.collect.lists import guess_rows

    rows = guess_rows(job.links)
    shards = -(-rows // config.rows_per_shard)
    # At the most, every shard takes as long as it may; what 42 % of a web list give is DataComp's share.
    most_hours = shards * config.shard_seconds / config.shards_at_once / 3600
    plan = {
        "rows_at_most": rows,
        "shards": shards,
        "hours_at_most": round(most_hours, 2),
        "pictures_about": round(0.42 * rows),
        "url_column": job.links.url_column,
        "caption_column": job.links.caption_column,
        "settings": asdict(config),
    }
    if as_json:
        print_json(plan)
        return
    groups = [value for value in plan["settings"].values() if isinstance(value, dict)]  # type: ignore[attr-defined]
    print_table([], [[name, f"{value}"] for name, value in plan.items() if name != "settings"])
    for group in groups:
        print_table([], [[f"  {name}", f"{value}"] for name, value in group.items()])


def _print_counts(out: Path, manifest: Mapping[str, Any], as_json: bool) -> None:
    counts = manifest["counts"]
    num_kept = counts.get("ok", 0) + counts.get("archived", 0)
    if as_json:
        print_json({"out": str(out), "rows": manifest["rows"], "pictures": num_kept, "counts": counts})
    else:
        rows = sorted(counts.items(), key=lambda item: -item[1])
        print_table(["what became of it", "rows"], [[name, f"{number:,}"] for name, number in rows])
    if not num_kept:
        first = max(counts, key=counts.get)
        note(f"No picture was kept, mostly because of {first!r}; docs/fetch.md says what that means.")
    note(f"{num_kept:,} pictures of {manifest['rows']:,} rows in {out}.")
