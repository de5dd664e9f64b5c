"""`clipworks embed`: pictures or texts to vectors in a file."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipworks.cli.output import (
    SETTINGS,
    count_of,
    json_option,
    model_option,
    note,
    note_precision,
    print_json,
    printable,
    progress_bar,
)
from clipworks.errors import ConfigError, DataError, MissingExtraError

if TYPE_CHECKING:
    from clipworks.model.loading import Precision
    from clipworks.model.preprocess import PreprocessMode
    from clipworks.search.entries import Failure
    from clipworks.search.parts import Dtype
    from clipworks.search.vectors_file import EmbedReport, Writer


@click.command(context_settings=SETTINGS)
@click.argument("sources", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="File to write: NAME.npz or NAME.parquet."
)
@model_option()
@click.option(
    "--precision",
    type=click.Choice(("auto", "f32", "bf16", "int8")),
    default="auto",
    show_default=True,
    help="Arithmetic of the towers; auto is the fastest that is faithful here.",
)
@click.option(
    "--device", default="cpu", show_default=True, help="cpu (OpenVINO), or cuda, cuda:N, torch-cpu (PyTorch)."
)
@click.option(
    "--preprocess",
    type=click.Choice(("standard", "reference", "scaled")),
    default="standard",
    show_default=True,
    help="How pictures become pixels; reference: bit for bit as behind published scores; scaled: quicker.",
)
@click.option(
    "--dtype",
    type=click.Choice(("f32", "f16")),
    default="f32",
    show_default=True,
    help="How numbers are stored; f16 halves the file.",
)
@json_option("one object with the counts")
def embed(
    sources: tuple[Path, ...],
    out: Path,
    model: str,
    precision: "Precision",
    device: str,
    preprocess: "PreprocessMode",
    dtype: "Dtype",
    as_json: bool,
) -> None:
    """Turn pictures and texts into vectors of unit length, and write them to a file.

    PATH is a picture, a folder, a glob, a tar shard, or a captions file whose texts are embedded:
    NAME.txt with one text a line, or NAME.jsonl with an object a line and the text under "caption".

    \b
    NAME.npz holds `vectors` float32 [N, D], `items` [N] (file name or text), `kinds` [N] ("image" or
    "text"), `model`, `fingerprint`, `precision` and `preprocess`. NAME.parquet holds the same, one row
    per item. Rows have the order of the input. What has no vector is listed in OUT.failed.jsonl.

    An interrupted run goes on where it stopped when the command is repeated.

    \b
    Example:
      clipworks embed examples/pictures --out vectors.npz
    """
    from clipworks.model.loading import load
    from clipworks.search.entries import Failure, count_entries, read_entries
    from clipworks.search.vectors_file import embed_into

    write = _writer(out)
    num_entries, num_failures = count_entries(sources)
    if not num_entries:
        for failure in read_entries(sources):
            if isinstance(failure, Failure):
                _report_failure(failure)
        raise DataError("There is nothing to embed.", "Name pictures, folders or a captions file.")
    engine = load(model, precision=precision, device=device, preprocess=preprocess)
    with progress_bar("Embedding", "items") as show:
        report = embed_into(
            out,
            sources,
            engine,
            write=write,
            dtype=dtype,
            on_progress=lambda done: show(done, num_entries + num_failures),
            on_failure=_report_failure,
        )
    if as_json:
        made_by = {"dim": engine.dim, "fingerprint": engine.fingerprint, "precision": engine.precision}
        print_json({**_counts(report, out), "dtype": dtype, **made_by})
    note_precision(engine.precision_note)
    note(_summary(report, out))
    if report.failed:
        raise click.exceptions.Exit(1)


def _counts(report: "EmbedReport", out: Path) -> dict[str, str | int | None]:
    return {
        "out": str(out),
        "failed_file": str(report.failed_file) if report.failed_file else None,
        "images": report.images,
        "texts": report.texts,
        "skipped": report.failed,
        "reused": report.reused,
    }


def _writer(out: Path) -> "Writer":
    """What writes a file of this name.

    Raises:
        ConfigError: another ending than .npz or .parquet.
        MissingExtraError: .parquet without pyarrow.
    """
    if out.suffix == ".npz":
        from clipworks.search.npz import write_npz

        return write_npz
    if out.suffix != ".parquet":
        raise ConfigError(f"--out is {str(out)!r}; its name must end in .npz or .parquet.")
    try:
        from clipworks.search.parquet import write_parquet
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise MissingExtraError("pyarrow", "search") from error
    return write_parquet


def _report_failure(failure: "Failure") -> None:
    note(f"Skipped: {printable(failure.reason)}")


def _summary(report: "EmbedReport", out: Path) -> str:
    pictures, texts = count_of(report.images, "picture"), count_of(report.texts, "text")
    what = (
        f"{pictures} and {texts}" if report.images and report.texts else texts if report.texts else pictures
    )
    reused = f", {report.reused:,} of them by the run before" if report.reused else ""
    return f"{what} embedded into {out}{reused}, {report.failed:,} skipped."
