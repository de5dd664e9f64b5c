"""`clipworks models`: the catalogue."""

from typing import TYPE_CHECKING, Any

import click

from clipworks.cli.output import SETTINGS, json_option, print_json, print_table

if TYPE_CHECKING:
    from clipworks.model.catalogue import CatalogueRow


@click.group(invoke_without_command=True, context_settings=SETTINGS)
@json_option("one object per model, one a line")
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the models that are known by name.

    \b
    Example:
      clipworks models
      clipworks models show laion2b-b32
    """
    if context.invoked_subcommand is not None:
        return
    from clipworks.model import catalogue

    rows = catalogue.rows()
    if as_json:
        for row in rows:
            print_json(_describe(row))
    else:
        print_table(
            ("name", "short name", "architecture", "licence", "what"),
            [(row.id, ", ".join(row.short_names), row.architecture, row.licence, row.title) for row in rows],
        )


@models.command(context_settings=SETTINGS)
@click.argument("name")
@json_option("one object")
def show(name: str, as_json: bool) -> None:
    """Say everything that is known of one model.

    \b
    Example:
      clipworks models show pictogram
    """
    from clipworks.model import catalogue

    values = _describe(catalogue.find(name))
    if as_json:
        print_json(values)
        return
    scores = values.pop("scores")
    shown = [(key.replace("_", " "), _words(value)) for key, value in values.items() if value]
    shown += [(task, f"{score:.2%}") for task, score in scores.items()]
    print_table((), shown)


def _describe(row: "CatalogueRow") -> dict[str, Any]:
    return {
        "id": row.id,
        "short_names": list(row.short_names),
        "title": row.title,
        "source": row.source,
        "architecture": row.architecture,
        "image_size": row.config.vision.image_size if row.config else None,
        "dim": row.config.embed_dim if row.config else None,
        "activation": row.config.activation if row.config else None,
        "training_data": row.training_data,
        "licence": row.licence,
        "scores": dict(row.scores),
    }


def _words(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
