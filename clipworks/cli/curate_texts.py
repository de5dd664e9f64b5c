"""`clipworks curate texts`: languages, lengths and listed words of the texts of pairs."""

from pathlib import Path

import click

from clipworks.cli.output import SETTINGS, count_of, json_option, note, print_json, stage_progress

_FILE = click.Path(path_type=Path)


@click.command(context_settings=SETTINGS)
@click.argument("pairs", type=_FILE)
@click.option("--out", required=True, type=_FILE, help="Folder to write.")
@click.option(
    "--set",
    "choices",
    multiple=True,
    metavar="NAME=VALUE",
    help="language_model, min_prob, toxic_words or blocklists.",
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option("--dry-run", is_flag=True, help="Check settings and lists; say how many pairs would be read.")
@json_option("one object with the counts")
def texts(
    pairs: Path, out: Path, choices: tuple[str, ...], workers: int, dry_run: bool, as_json: bool
) -> None:
    """Say of each text of a folder of pairs its language, its length and whether lists name it.

    The rows are written again with columns added; nothing is dropped. An interrupted run goes on where it
    stopped.

    \b
    Example:
      clipworks curate texts pairs --out texts
      clipworks curate texts pairs --out texts --set toxic_words=lists --set min_prob=0.5 --workers 2
    """
    from clipworks.cli.curate import require_curate_extra
    from clipworks.files import read_manifest
    from clipworks.options import with_settings

    require_curate_extra()
    from clipworks.curate.matches import table_sources
    from clipworks.curate.settings import TextsConfig
    from clipworks.curate.texts import check_lists, describe_texts

    config = with_settings(TextsConfig(), choices)
    if dry_run:
        check_lists(config)
        table_sources(pairs)
        rows = read_manifest(pairs)["rows"]
        told = {"out": str(out), "pairs": rows}
        print_json(told) if as_json else click.echo(f"Would read the texts of {rows:,} pairs.")
        return
    with stage_progress("Reading", "parts", out) as show:
        manifest = describe_texts(pairs, out, config, workers=workers, show=show)
    counts = {"pairs": 0, "texts": 0, **manifest["counts"]}
    if "failed_sources" in counts:
        note(f"{count_of(counts['failed_sources'], 'part')} could not be read; see {out / 'manifest.json'}.")
    if as_json:
        print_json({"out": str(out), **counts})
        return
    languages = {name.split()[1]: count for name, count in counts.items() if name.startswith("language ")}
    first = sorted(languages, key=lambda code: (-languages[code], code))[:5]
    words = [f"{code} {languages[code]:,}" for code in first]
    flags = [name for name in ("toxic_texts", "blocked_pairs") if name in counts]
    words += [f"{counts[name]:,} {name.replace('_', ' ')}" for name in flags]
    click.echo(f"{counts['texts']:,} texts of {counts['pairs']:,} pairs: {', '.join(words)}.")
