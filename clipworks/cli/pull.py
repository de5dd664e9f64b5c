"""`clipworks pull`: fetch a model ahead of its use."""

import click

from clipworks.cli.output import SETTINGS, json_option, print_json, print_table


@click.command(context_settings=SETTINGS)
@click.argument("name")
@json_option("one object")
def pull(name: str, as_json: bool) -> None:
    """Fetch the model NAME, read it once, and say where it is; later it needs no network.

    NAME is a name of the catalogue or a Hugging Face id, at a branch, tag or commit where one follows
    the sign @. A path is read and checked the same way.

    \b
    Example:
      clipworks pull laion2b-b32
      clipworks pull openai/clip-vit-base-patch16@main
    """
    from clipworks.model.loading import open_checkpoint
    from clipworks.model.pull import public_name

    checkpoint = open_checkpoint(name)
    values = {
        "name": public_name(name),
        "path": str(checkpoint.path),
        "form": checkpoint.family,
        "activation": checkpoint.config.activation,
        "image_size": checkpoint.config.vision.image_size,
        "dim": checkpoint.config.embed_dim,
        "fingerprint": checkpoint.fingerprint,
    }
    if as_json:
        print_json(values)
    else:
        print_table((), [(key.replace("_", " "), str(value)) for key, value in values.items()])
