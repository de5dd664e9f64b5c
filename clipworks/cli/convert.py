"""`clipworks convert`: a model in another library's form."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from clipworks.cli.output import SETTINGS, json_option, print_json

if TYPE_CHECKING:
    from clipworks.model.config import Activation
    from clipworks.model.formats import Family
    from clipworks.model.weights import Dtype


@click.command(context_settings=SETTINGS)
@click.argument("source", metavar="SRC")
@click.argument("folder", metavar="DST", type=click.Path(path_type=Path))
@click.option(
    "--to",
    required=True,
    type=click.Choice(["hf", "open_clip", "openai", "native"]),
    help="Whose form: transformers, open_clip, OpenAI's state dict, or our own.",
)
@click.option(
    "--dtype",
    type=click.Choice(["f32", "f16", "i8"]),
    default="f32",
    show_default=True,
    help="How numbers are stored; f16 and i8 round them. i8 is for --to native.",
)
@click.option(
    "--activation",
    type=click.Choice(["gelu", "quick_gelu"]),
    help="Only for a source that does not say it.",
)
@click.option("--image-size", type=int, metavar="N", help="Bring the model to pictures of N x N pixels.")
@click.option("--force", is_flag=True, help="Replace what an earlier convert wrote to DST.")
@json_option("one object with fingerprints, difference and the sha256 of each file")
def convert(
    source: str,
    folder: Path,
    to: str,
    dtype: str,
    activation: str | None,
    image_size: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the model SRC in another form, and check that it is the same model.

    SRC is a name, a Hugging Face id, or the path of a folder or weights file. DST gets weights, config
    files and a model card; it appears when all of it was read back and compared, or not at all.

    \b
    Example:
      clipworks convert pictogram pictogram-hf --to hf
    """
    from clipworks.model import convert as conversion
    from clipworks.model.loading import open_checkpoint
    from clipworks.model.pull import known_row, public_name

    checkpoint = open_checkpoint(
        source, activation=cast("Activation | None", activation), image_size=image_size
    )
    row = known_row(source)
    done = conversion.convert(
        checkpoint,
        folder,
        to=cast("Family", to),
        dtype=cast("Dtype", dtype),
        source=public_name(source),
        licence=row.licence if row else None,
        replace=force,
    )
    if as_json:
        values = {"out": str(done.folder), "to": done.family, "dtype": done.dtype}
        prints = {"fingerprint": done.fingerprint, "source_fingerprint": done.source_fingerprint}
        print_json({**values, **prints, "max_difference": done.max_difference, "files": dict(done.files)})
        return
    same = "the same model, bit for bit"
    if done.max_difference:
        same = f"weights differ by at most {done.max_difference:.2g} from the source"
    click.echo(f"{done.folder}: {len(done.files)} files, {same}.")
    click.echo(f"fingerprint {done.fingerprint}")
