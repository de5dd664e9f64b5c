"""`clipworks curate hashes`: what an evaluation set's pictures look like, for `--set evaluation`."""

from pathlib import Path

import click

from clipworks.cli.output import SETTINGS, json_option, note, print_json

_FILE = click.Path(path_type=Path)


@click.command(context_settings=SETTINGS)
@click.argument("places", metavar="DIR...", nargs=-1, required=True, type=_FILE)
@click.option("--out", required=True, type=_FILE, help="File to write, .npy.")
@click.option("--dry-run", is_flag=True, help="Say which folders would be read, and stop.")
@json_option("one object with the counts")
def hashes(places: tuple[Path, ...], out: Path, dry_run: bool, as_json: bool) -> None:
    """Write the perceptual hashes of pictures that must not be in a pool.

    DIR is a folder of tar shards, or of picture files at any depth. A curation that is given the file with
    `--set evaluation=FILE` drops what looks like one of them.

    \b
    Example:
      clipworks curate hashes benchmarks/pictures --out held-out.npy
      clipworks curate images --recipe small --set evaluation=held-out.npy --out curated
    """
    from clipworks.cli.curate import require_curate_extra

    require_curate_extra()
    from clipworks.curate.references import write_hashes

    if dry_run:
        told = {"out": str(out), "folders": [str(place) for place in places]}
        print_json(told) if as_json else click.echo(f"Would read {', '.join(map(str, places))}.")
        return
    counts = {"unreadable": 0, **write_hashes(places, out)}
    if as_json:
        print_json({"out": str(out), **counts})
    else:
        click.echo(f"{counts['hashes']:,} hashes of {counts['pictures']:,} pictures in {out}.")
    if counts["unreadable"]:
        note(f"{counts['unreadable']:,} pictures could not be read.")
