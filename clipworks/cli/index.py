"""`clipworks index`: make a folder of pictures searchable."""

from pathlib import Path

import click

from clipworks.cli.output import (
    SETTINGS,
    count_of,
    json_option,
    model_option,
    note,
    note_precision,
    print_json,
    progress_bar,
)


@click.command(context_settings=SETTINGS)
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the index; SOURCE/.clipworks by default."
)
@model_option()
@json_option("one object with the counts and the skipped files")
def index(source: Path, out: Path | None, model: str, as_json: bool) -> None:
    """Make a folder of pictures searchable, or bring its index up to date.

    SOURCE is a folder or a glob. Only new and changed pictures are embedded; what is gone is dropped; an
    interrupted run goes on where it stopped. A captions file in the folder (metadata.jsonl,
    captions.jsonl or labels.jsonl) gives captions, licences and authors.

    \b
    Example:
      clipworks index examples/pictures --out pictures.index
    """
    from clipworks.model.loading import load
    from clipworks.search.build import build_index
    from clipworks.search.embedded import default_place
    from clipworks.search.pictures import find_pictures

    if out is None and not source.is_dir():
        find_pictures([source])
        raise click.UsageError("Say with --out where the index of a glob or a file shall lie.")
    place = out or default_place(source)
    find_pictures([source])  # a wrong name is said before the model is loaded
    engine = load(model)
    with progress_bar("Indexing", "pictures") as show:
        report = build_index(source, place, engine, model=_lasting(model), on_progress=show)
    for one in report.skipped:
        note(f"Skipped: {one.reason}")
    counts = {
        "count": report.count,
        "embedded": report.embedded,
        "reused": report.reused,
        "removed": report.removed,
    }
    if as_json:
        skipped = [{"path": str(one.path), "reason": one.reason} for one in report.skipped]
        print_json({"out": str(place), **counts, "skipped": skipped, "seconds": round(report.seconds, 3)})
    note_precision(engine.precision_note)
    note(
        f"{count_of(report.count, 'picture')} in {place}: {report.embedded:,} embedded, {report.reused:,} "
        f"reused, {report.removed:,} removed, {len(report.skipped):,} skipped, {report.seconds:.1f} s."
    )
    if report.skipped:
        raise click.exceptions.Exit(1)


def _lasting(model: str) -> str:
    """A name that still means the same model when the index is used from another folder."""
    return str(Path(model).resolve()) if Path(model).exists() else model
