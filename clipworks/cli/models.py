"""`clipworks models`: the catalogue, a model's page, models side by side."""

from typing import Any

import click

from clipworks.cli.output import SETTINGS, json_option, print_json, print_table
from clipworks.cli.specs import print_comparison, print_page, short_name


@click.group(invoke_without_command=True, context_settings=SETTINGS)
@json_option("one object per model, one a line")
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the models that are known by name.

    Needs no network; nothing is fetched.

    \b
    Example:
      clipworks models
      clipworks models show laion2b-b32
      clipworks models compare openai-b16 metaclip-b16
    """
    if context.invoked_subcommand is not None:
        return
    from clipworks.model import catalogue, specs

    found = [specs.describe_row(row) for row in catalogue.rows()]
    if as_json:
        for one in found:
            print_json(one)
    else:
        headers = ("name", "id", "size", "ImageNet", "38 tasks", "commercial use", "here")
        print_table(headers, [_line(one) for one in found])


@models.command(context_settings=SETTINGS)
@click.argument("name")
@json_option("one object")
def show(name: str, as_json: bool) -> None:
    """Say everything that is known of a model: shape, costs, training, licence, scores, limits.

    NAME is a name of the catalogue, or the path of a checkpoint, of which only the config and the head of
    the weights file are read. Needs no network, and no weights.

    \b
    Example:
      clipworks models show pictogram
      clipworks models show runs/mine/model.safetensors --json
    """
    from clipworks.model.specs import describe

    found = describe(name)
    if as_json:
        print_json(found)
    else:
        print_page(found)


@models.command(context_settings=SETTINGS)
@click.argument("names", nargs=-1, required=True, metavar="NAME NAME...")
@json_option("one object with the models and their common scores")
def compare(names: tuple[str, ...], as_json: bool) -> None:
    """Show models side by side: specs, and the published scores that all of them have.

    Within a suite the tasks come in the order of their difference, the best value of each after a `*`.
    NAME as in `clipworks models show`.

    \b
    Example:
      clipworks models compare openai-b16 metaclip-b16
      clipworks models compare datacomp-b32 laion2b-b32 datacomp-l14 --json
    """
    from clipworks.model.comparison import compare as compare_scores
    from clipworks.model.scores import scores_of
    from clipworks.model.specs import describe

    found = [describe(name) for name in names]
    comparison = compare_scores([scores_of(one["id"]) for one in found])
    if not as_json:
        print_comparison(found, comparison)
        return
    lines = [
        {
            "suite": line.suite,
            "task": line.task,
            "metric": line.metric,
            "values": line.values,
            "best": [found[place]["id"] for place in line.best],
            "difference": round(line.difference, 6),
        }
        for line in (*comparison.averages, *comparison.tasks)
    ]
    print_json({"models": found, "scores": lines, "wins": comparison.wins()})


def _line(specs: dict[str, Any]) -> tuple[str, ...]:
    scores = (
        "" if value is None else f"{value:.2%}" for value in (specs["imagenet"], specs["average_of_38"])
    )
    size = f"{specs['parameters']['total'] / 1e6:.0f} M"
    here = "yes" if specs["folder"] else "no"
    return short_name(specs), specs["id"], size, *scores, specs["commercial_use"], here
