"""`clipworks classify`: pictures against labels."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from clipworks.cli.inputs import find_each, read_lines
from clipworks.cli.output import (
    SETTINGS,
    Line,
    count_of,
    json_option,
    model_option,
    note,
    print_json,
    printable,
    progress_bar,
)
from clipworks.errors import ConfigError, InputError
from clipworks.model import prompts

if TYPE_CHECKING:
    from clipworks.model.engine import Engine
    from clipworks.search.store import Vectors

SHOWN_LABELS = 5


@click.command(context_settings=SETTINGS)
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--labels", metavar="TEXT", help='Labels, separated by commas: "a cat,a dog".')
@click.option(
    "--labels-file",
    type=click.Path(path_type=Path),
    help="Labels in a text file, one a line; these may hold commas.",
)
@click.option(
    "--label-set",
    type=click.Choice(prompts.LABEL_SETS),
    help="Labels by the name of a set: OpenAI's 1,000 class names of ImageNet.",
)
@click.option(
    "--template",
    "templates",
    multiple=True,
    type=Line(),
    envvar="CLIPWORKS_TEMPLATE",
    help='Sentence with {} for the label, as "a photo of a {}."; several are averaged.',
)
@click.option(
    "--template-set",
    type=click.Choice(prompts.TEMPLATE_SETS),
    help="Templates by the name of a set: OpenAI's 80 for ImageNet, or the simple 7 of them.",
)
@click.option(
    "--head",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Instead of labels: a head.safetensors of `clipworks probe` or `finetune`, for the model it names.",
)
@model_option()
@json_option("one object per picture, one a line, with all labels")
def classify(  # noqa: PLR0913  # an argument for each option
    images: tuple[Path, ...],
    labels: str | None,
    labels_file: Path | None,
    label_set: str | None,
    templates: tuple[str, ...],
    template_set: str | None,
    head: Path | None,
    model: str,
    as_json: bool,
) -> None:
    """Say which of your labels fits each picture best.

    IMAGES are files, folders or globs. The scores of a picture sum to 1 over the labels. A head has classes
    of its own and needs no labels.

    \b
    Example:
      clipworks classify examples/pictures/*.png --labels "a fox,a guitar,a bicycle"
    """
    from clipworks.model.loading import load
    from clipworks.search.bulk import embed_files

    if head is not None:
        if labels or labels_file or label_set or templates or template_set:
            raise click.UsageError("Give either --head or labels and templates.")
        _classify_with_head(head, images, model, as_json)
        return
    names = _read_labels(labels, labels_file, label_set)
    sentences = _read_templates(templates, template_set)
    paths, num_skipped = find_each(images)
    if paths:
        engine = load(model)
        with progress_bar("Reading the labels", "labels") as show:
            vectors = engine.label_head(names, sentences, on_progress=show)
        with progress_bar("Classifying", "pictures", is_streaming=True) as show:
            for done, (path, result) in enumerate(embed_files(engine, paths), start=1):
                if isinstance(result, InputError):
                    num_skipped += 1
                    note(f"Skipped: {result}")
                else:
                    _print(_describe(engine, path, names, result @ vectors.T), as_json)
                show(done, len(paths))
    if num_skipped:
        raise click.exceptions.Exit(1)


def _classify_with_head(file: Path, images: tuple[Path, ...], model: str, as_json: bool) -> None:
    """Print what a linear head says of each picture; one that cannot be used is said and skipped."""
    from clipworks.model.linear import read_head
    from clipworks.model.loading import load

    head = read_head(file)
    paths, num_skipped = find_each(images)
    if paths:
        # The arithmetic of the features that the head was fitted on.
        engine = load(model, precision="f32")
        head.require_model(engine)
        with progress_bar("Classifying", "pictures", is_streaming=True) as show:
            for done, path in enumerate(paths, start=1):
                try:
                    (scores,) = head.classify(engine, [path])
                except InputError as error:
                    num_skipped += 1
                    note(f"Skipped: {error}")
                else:
                    order = (-scores).argsort(kind="stable")
                    rows = [{"label": head.classes[i], "score": float(scores[i])} for i in order]
                    _print({"path": str(path), "labels": rows}, as_json)
                show(done, len(paths))
    if num_skipped:
        raise click.exceptions.Exit(1)


def _read_labels(labels: str | None, labels_file: Path | None, label_set: str | None) -> list[str]:
    if sum(source is not None for source in (labels, labels_file, label_set)) != 1:
        raise click.UsageError("Give either --labels, --labels-file, --label-set or --head.")
    if label_set is not None:
        return list(prompts.label_set(label_set))
    if labels_file is not None:
        names, place = read_lines(labels_file), str(labels_file)
    else:
        names = [label.strip() for label in (labels or "").split(",") if label.strip()]
        place = "--labels"
    if not names:
        raise ConfigError(f"{place} holds no label.", 'Give some, as in --labels "a cat,a dog".')
    return names


def _read_templates(templates: tuple[str, ...], template_set: str | None) -> tuple[str, ...] | None:
    if template_set is None:
        return templates or None
    if templates:
        raise click.UsageError("Give either --template or --template-set.")
    return prompts.template_set(template_set)


def _describe(engine: "Engine", path: Path, names: list[str], cosines: "Vectors") -> dict[str, Any]:
    scores = engine.probabilities(cosines)
    rows = [
        {"label": names[place], "score": float(scores[place]), "cosine": float(cosines[place])}
        for place in (-cosines).argsort(kind="stable")
    ]
    return {"path": str(path), "labels": rows}


def _print(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(row)
        return
    click.echo(printable(row["path"]))
    for label in row["labels"][:SHOWN_LABELS]:
        click.echo(f"  {label['score']:6.1%}  {printable(label['label'])}")
    left = len(row["labels"]) - SHOWN_LABELS
    if left > 0:
        click.echo(f"          and {count_of(left, 'label')} more")
