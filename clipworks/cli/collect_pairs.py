"""`clipworks collect pairs`: what web pages say of their pictures."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from clipworks.cli.output import (
    SETTINGS,
    count_of,
    json_option,
    note,
    print_json,
    print_table,
    stage_progress,
)
from clipworks.errors import DataError, MissingExtraError

_PACKAGES = ("ada_url", "deflate", "isal", "orjson", "pyarrow", "selectolax")
_SHOWN = (
    ("archives", "archives read"),
    ("failed_sources", "archives that could not be read"),
    ("records", "records"),
    ("damaged_records", "stretches of damage"),
    ("pages", "pages"),
    ("pages_with_images", "pages with pictures"),
    ("images", "pictures"),
    ("images_without_text", "without a text"),
    ("repeated_images", "again on the same page"),
    ("pairs", "pairs"),
    ("texts", "texts"),
)
"""Counts of the manifest that are printed, and their names for people."""


@click.command(context_settings=SETTINGS)
@click.argument("places", metavar="WARC...", nargs=-1, required=True)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of tables to write.")
@click.option("--keep-textless", is_flag=True, help="Also write rows of pictures that have no text.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option("--dry-run", is_flag=True, help="Print what is to be read and about how long it takes.")
@json_option("one object with the counts")
def pairs(
    places: tuple[str, ...],
    out: Path,
    keep_textless: bool,
    workers: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Read web archives and write the pictures of their pages with the texts beside them.

    WARC is a WARC or WAT file, plain or gzipped, a folder of them, a list of paths (NAME.paths,
    NAME.paths.gz) as Common Crawl publishes them, or an https:// or s3:// address.

    \b
    OUT/NAME.pairs.parquet has a row for each picture of a page: page_url, image_url, texts
    [{key, text}], uid, and where it was found. docs/collect.md lists the columns.

    When the command is repeated, an interrupted run goes on where it stopped, and what could not be read or
    fetched is tried again.

    \b
    Example:
      clipworks collect pairs crawl.warc.gz --out pairs
    """
    try:
        from clipworks.collect.crawl import collect_pairs, plan_pairs
    except ModuleNotFoundError as error:
        if error.name not in _PACKAGES:
            raise
        raise MissingExtraError(error.name, "curate") from error

    if dry_run:
        plan = asdict(plan_pairs(places, out))
        if as_json:
            print_json(plan)
        else:
            print_table((), [(name.replace("_", " "), f"{value:,.0f}") for name, value in plan.items()])
        return
    with stage_progress("Reading", "archives", out) as show:
        manifest = collect_pairs(places, out, keep_textless=keep_textless, workers=workers, show=show)
    counts = _counts(manifest)
    if as_json:
        print_json({"out": str(out), **counts})
    else:
        print_table((), [(words, f"{counts[name]:,}") for name, words in _SHOWN if counts.get(name)])
    _report(manifest)
    if not counts["pairs"] and counts.get("images"):
        note(f"No picture has a text; --keep-textless writes the {counts['images']:,} without.")
    elif not counts["pairs"] and counts.get("records"):
        note("No page with a picture was found: are these response or WAT records?")
    if counts["archives"] == counts.get("failed_sources"):
        raise DataError("No archive could be read.", "The reasons stand above.")


def _counts(manifest: Mapping[str, Any]) -> dict[str, int]:
    return {"archives": len(manifest["parts"]), "pairs": 0, **manifest["counts"]}


def _report(manifest: Mapping[str, Any]) -> None:
    """A line for each archive that could not be read, and how to try again."""
    failed = [part for part in manifest["parts"] if part.get("failure")]
    for part in failed:
        note(f"Skipped: {part['source']}: {part['failure']}")
    if failed:
        note(f"Repeat the command to try {count_of(len(failed), 'archive')} again.")
