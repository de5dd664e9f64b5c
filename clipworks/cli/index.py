"""`clipworks index`: make a folder of pictures searchable, keep it so, and look after the index."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipworks.cli.output import (
    SETTINGS,
    count_of,
    json_option,
    model_option,
    note,
    note_precision,
    print_json,
    print_table,
    progress_bar,
)
from clipworks.cli.steps import steps
from clipworks.errors import DataError, InputError

if TYPE_CHECKING:
    from clipworks.model.engine import Engine
    from clipworks.search.build_report import BuildReport
    from clipworks.search.videos import Sampling

_PATH = click.Path(path_type=Path)


@click.group(cls=steps("build", "SOURCE [OPTIONS]"), context_settings=SETTINGS)
def index() -> None:
    """Make a folder of pictures searchable, or look after its index.

    With a folder it builds the index or brings it up to date; see `clipworks index build --help`, the same
    command by name, for its options.

    \b
    Example:
      clipworks index examples/pictures --out pictures.index
      clipworks index check pictures.index
    """


@index.command(context_settings=SETTINGS)
@click.argument("source", type=_PATH)
@click.option("--out", type=_PATH, help="Folder of the index; SOURCE/.clipworks by default.")
@model_option()
@click.option("--report", is_flag=True, help="Only list the files that could not be used, and why.")
@click.option("--watch", is_flag=True, help="Go on: look for changes again and again.")
@click.option("--every", default=10.0, show_default=True, help="Seconds between two looks, with --watch.")
@click.option(
    "--frames",
    metavar="scenes|SECONDS",
    help="Of videos: a frame of each scene (at first), or every SECONDS.",
)
@click.option("--batch-size", default=32, show_default=True, help="Pictures per forward pass, 1 to 1024.")
@json_option("one object with the counts and the skipped files, with --watch one a change")
def build(  # noqa: PLR0913  # an argument for each option
    source: Path,
    out: Path | None,
    model: str,
    report: bool,
    watch: bool,
    every: float,
    frames: str | None,
    batch_size: int,
    as_json: bool,
) -> None:
    """Make a folder of pictures searchable, or bring its index up to date.

    SOURCE is a folder or a glob, or a file of captions (.txt or .jsonl) to be asked with pictures. Only what
    is new or has changed is embedded; what is gone is dropped; an
    interrupted run goes on where it stopped. A captions file in the folder (metadata.jsonl,
    captions.jsonl or labels.jsonl) and files beside the pictures (NAME.txt, NAME.xmp, NAME.json) give
    captions, tags and places. Videos are searched by their frames where the extra `video` is installed.

    \b
    Example:
      clipworks index examples/pictures --out pictures.index
    """
    from clipworks.search.opening import default_place
    from clipworks.search.pictures import find_pictures
    from clipworks.search.videos import read_sampling

    if report:
        _report(out or source, as_json)
        return
    if out is None and not source.is_dir():
        find_pictures([source])
        raise click.UsageError("Say with --out where the index of a glob or a file shall lie.")
    place = out or default_place(source)
    sampling = None if frames is None else read_sampling(frames)
    run = _Run(source, place, model, batch_size, sampling)
    done = run.once()
    _say(done, as_json, run.engine.precision_note if run.engine is not None else "")
    if watch:
        note(f"Watching {source}; Ctrl-C stops it.")
        _watch(run, every, as_json)
    if done.skipped:
        raise click.exceptions.Exit(1)


@index.command(context_settings=SETTINGS)
@click.argument("folder", type=_PATH)
@click.option("--repair", is_flag=True, help="Drop what is damaged; the next build makes it anew.")
@click.option("--files", is_flag=True, help="Read every picture again and compare its bytes, too.")
@json_option("one object with the counts and the problems")
def check(folder: Path, repair: bool, files: bool, as_json: bool) -> None:
    """Verify an index: the database, every vector, and with --files every picture.

    \b
    Example:
      clipworks index check pictures.index
    """
    from clipworks.search.check import check_index

    with progress_bar("Checking", "pictures") as show:
        report = check_index(folder, repairs=repair, with_files=files, on_progress=show)
    if as_json:
        problems = [{"id": one.id, "problem": one.problem} for one in report.problems]
        print_json({"count": report.count, "repaired": report.is_repaired, "problems": problems})
    else:
        for one in report.problems:
            click.echo(f"{one.id}: {one.problem}" if one.id else one.problem)
    note(f"{count_of(report.count, 'picture')} checked: {count_of(len(report.problems), 'problem')}.")
    if report.problems and not report.is_repaired:
        raise click.exceptions.Exit(1)


@index.command(context_settings=SETTINGS)
@click.argument("folder", type=_PATH)
@click.argument("store")
@json_option("one object with store and count")
def move(folder: Path, store: str, as_json: bool) -> None:
    """Search an index with another store from now on; its pictures and vectors stay as they are.

    STORE is exact (every vector is compared), signs (by the signs of the numbers, then exactly), ivf (lists
    of faiss in the index's folder), postgresql://USER@HOST/DATABASE (with pgvector), qdrant:http://HOST:6333
    or qdrant:FOLDER.

    \b
    Example:
      clipworks index move pictures.index ivf
    """
    from clipworks.search.stores import move

    count = move(folder, store)
    if as_json:
        print_json({"store": store, "count": count})
    note(f"{count_of(count, 'picture')} found by {store} from now on.")


class _Run:
    """Builds, with a model that is loaded when the first picture needs it and kept then."""

    def __init__(
        self, source: Path, place: Path, model: str, batch_size: int, sampling: "Sampling | None"
    ) -> None:
        self.engine: Engine | None = None
        self._sampling = sampling
        self._source, self._place = source, place
        self._model, self._batch_size = model, batch_size

    def once(self) -> "BuildReport":
        """One build with a progress bar."""
        from clipworks.search.build import update_index
        from clipworks.search.captions import index_captions, is_captions_file
        from clipworks.search.stores import update_chosen_store

        model = _lasting(self._model)
        if is_captions_file(self._source):
            with progress_bar("Indexing", "captions") as show:
                report = index_captions(self._source, self._place, self._load, model=model, on_progress=show)
            update_chosen_store(self._place)
            return report
        with progress_bar("Indexing", "pictures") as show:
            report = update_index(
                self._source,
                self._place,
                self._load,
                model=model,
                batch_size=self._batch_size,
                trusts_name=True,
                sampling=self._sampling,
                on_progress=show,
            )
        update_chosen_store(self._place)
        return report

    def _load(self) -> "Engine":
        from clipworks.model.loading import load

        if self.engine is None:
            self.engine = load(self._model)
        return self.engine


def _watch(run: _Run, seconds: float, as_json: bool) -> None:
    """Look again and again until Ctrl-C; only what changed is said."""
    import time

    while True:
        time.sleep(seconds)
        try:
            report = run.once()
        except (DataError, InputError) as error:  # a disk that is gone or full for a while
            note(f"Nothing done: {error}")
            continue
        if report.embedded or report.moved or report.removed:
            _say(report, as_json)


def _say(report: "BuildReport", as_json: bool, precision_note: str = "") -> None:
    from clipworks.search.videos import MISSING

    for one in report.skipped:
        note(f"Skipped: {one.reason}")
    if report.videos_left:
        note(f"{count_of(report.videos_left, 'video')} left out: {MISSING}")
    names = ("count", "embedded", "reused", "moved", "removed", "videos_left")
    counts: dict[str, Any] = {name: getattr(report, name) for name in names}
    if as_json:
        skipped = [{"path": str(one.path), "reason": one.reason} for one in report.skipped]
        print_json(
            {"out": str(report.out), **counts, "skipped": skipped, "seconds": round(report.seconds, 3)}
        )
    note_precision(precision_note)
    note(
        f"{count_of(report.count, report.noun)} in {report.out}: {report.embedded:,} embedded, "
        f"{report.reused:,} reused, {report.moved:,} moved, {report.removed:,} removed, "
        f"{len(report.skipped):,} skipped, {report.seconds:.1f} s."
    )


def _report(folder: Path, as_json: bool) -> None:
    from clipworks.search.opening import open_index

    library = open_index(folder)
    failures = library.failures()
    if as_json:
        rows = [{"path": name, "reason": reason} for name, reason in failures]
        print_json({"count": library.count(), "skipped": rows})
    elif failures:
        print_table(["file", "reason"], failures)
    counts = count_of(library.count(), "picture"), count_of(len(failures), "file")
    note(f"{counts[0]} in the index, {counts[1]} could not be used.")


def _lasting(model: str) -> str:
    """A name that still means the same model when the index is used from another folder."""
    return str(Path(model).resolve()) if Path(model).exists() else model
