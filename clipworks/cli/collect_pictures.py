"""`clipworks collect pictures`: lists of drawings and files, into shards."""

from pathlib import Path

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

_DRAWN = ("resvg", "rsvg-convert", "pixels")


@click.command(context_settings=SETTINGS)
@click.argument("lists", metavar="LIST...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of shards to write.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@settings_option(": side (64 pixels), rows_per_shard (5000) or rsvg (true)")
@click.option("--dry-run", is_flag=True, help="Say how many rows there are, and stop.")
@json_option("one object with the counts")
def pictures(
    lists: tuple[Path, ...], out: Path, workers: int, settings: tuple[str, ...], dry_run: bool, as_json: bool
) -> None:
    """Draw lists of SVG documents and picture files into shards of squares, in img2dataset's layout.

    LIST is a file of JSON lines, or a folder of them. A row has `svg` (a document) or `file` (a path
    beside the list), `texts` (captions, or {key, text}), and any other columns. What cannot be drawn or
    is blank is a row with a reason. An interrupted run goes on where it stopped.

    \b
    Example:
      clipworks collect pictures icons.jsonl --out images --set side=64
    """
    try:
        from clipworks.collect.drawings import DrawRules
        from clipworks.collect.pictures import draw_pictures, find_lists
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "curate") from error
    from clipworks.options import with_settings

    rules = with_settings(DrawRules(), settings)
    if dry_run:
        rows = {str(path): len(path.read_bytes().splitlines()) for path in find_lists(lists)}
        if as_json:
            print_json({"out": str(out), "rows": rows})
        else:
            print_table(["list", "rows"], [[name, f"{count:,}"] for name, count in rows.items()])
        return
    with stage_progress("Drawing", "shards", out) as show:
        manifest = draw_pictures(lists, out, rules, workers=workers, show=show)
    counts = manifest["counts"]
    num_drawn = sum(counts.get(name, 0) for name in _DRAWN)
    if as_json:
        print_json({"out": str(out), "rows": manifest["rows"], "pictures": num_drawn, "counts": counts})
    else:
        rows_by_fate = sorted(counts.items(), key=lambda item: -item[1])
        print_table(["what became of it", "rows"], [[name, f"{number:,}"] for name, number in rows_by_fate])
    note(f"{num_drawn:,} pictures of {manifest['rows']:,} rows in {out}.")
