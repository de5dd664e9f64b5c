"""`clipworks evaluate prepare`: data of one's own into the layout of published evaluation sets."""

from pathlib import Path

import click

from clipworks.cli.output import SETTINGS, Line, count_of, json_option, note, print_json, print_table


@click.command(context_settings=SETTINGS)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option(
    "--template",
    "templates",
    multiple=True,
    type=Line(),
    envvar="CLIPWORKS_TEMPLATE",
    help="Sentence with {c} for the class; repeatable.  [default: a photo of a {c}.]",
)
@click.option("--classes", type=click.Path(path_type=Path), help="Class names, one a line, for idx and CSV.")
@click.option("--like", metavar="TASK", help="Take class names and templates of a known task.")
@click.option(
    "--invert", is_flag=True, help="Black for white, in idx files and tables that are light on dark."
)
@json_option("pictures of each split")
def prepare(
    source: Path,
    out: Path,
    templates: tuple[str, ...],
    classes: Path | None,
    like: str | None,
    invert: bool,
    as_json: bool,
) -> None:
    """Turn SOURCE into the layout that `clipworks evaluate` and CLIP_benchmark read.

    SOURCE is a folder of class folders (with train, val and test above them or not), a folder with a list
    (captions.jsonl, metadata.jsonl or labels.jsonl: rows with file and captions, or file, class and perhaps
    split), a folder with idx files as MNIST's, or a .csv with pixels and the label last.

    \b
    Example:
      clipworks evaluate prepare my-pictures --out data/mine --template "a photo of a {c}, a kind of bird."
      clipworks evaluate prepare fashion --like fashion_mnist --out data/fashion_mnist
    """
    from clipworks.evaluate.prepare import DEFAULT_TEMPLATES, write_layout
    from clipworks.evaluate.sources import open_source
    from clipworks.evaluate.wording import read_lines, wording_like

    names: tuple[str, ...] = ()
    if like is not None:
        names, known = wording_like(like)
        templates = templates or known
    if classes is not None:
        names = read_lines(classes)
    found = open_source(source, classes=names, is_inverted=invert)
    counts = write_layout(found, out, templates=templates or DEFAULT_TEMPLATES)
    if as_json:
        print_json({"splits": counts, "classes": list(found.classes)})
    else:
        print_table(["split", "pictures"], [[split, f"{count:,}"] for split, count in counts.items()])
    what = count_of(len(found.classes), "class") if found.classes else "captions"
    note(f"{out} holds {what.replace('classs', 'classes')}; evaluate it with --suite {out.name}.")
