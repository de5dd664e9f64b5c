"""`clipworks search`: ask an index."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipworks.cli.output import SETTINGS, json_option, note, print_json, print_table

if TYPE_CHECKING:
    from clipworks.search.store import Result


@click.command(context_settings=SETTINGS)
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("text", required=False)
@click.option("--image", type=click.Path(path_type=Path), help="Look for pictures like this one.")
@click.option("--limit", default=10, show_default=True, help="Number of hits, 1 to 1000.")
@click.option("--model", metavar="MODEL", help="The model that made the index, if it lies elsewhere now.")
@json_option("one object with is_relevant, threshold and hits")
def search(
    index: Path, text: str | None, image: Path | None, limit: int, model: str | None, as_json: bool
) -> None:
    """Find pictures by words, or by another picture with --image.

    INDEX is an index, or a folder of pictures that was indexed. Where nothing fits, that is said
    before the nearest pictures are shown.

    \b
    Example:
      clipworks search pictures.index "musical instrument"
    """
    if (text is None) == (image is None):
        raise click.UsageError("Give either a text or --image.")
    from clipworks.model.loading import load
    from clipworks.search.embedded import open_index
    from clipworks.search.query import search as run_search

    store = open_index(index)
    engine = load(model or store.header.model)
    result = run_search(store, engine, text=text, image=image, limit=limit)
    if as_json:
        print_json(result.to_json())
    else:
        _print(result)


def _print(result: "Result") -> None:
    if not result.is_relevant:
        note("Nothing relevant found; these are the nearest pictures.")
    columns = [("score", [f"{hit.score:.3f}" for hit in result.hits])]
    for name in ("caption", "licence", "path"):
        cells = [str(getattr(hit, name)) for hit in result.hits]
        if any(cells):
            columns.append((name, cells))
    print_table([name for name, _ in columns], list(zip(*(cells for _, cells in columns), strict=True)))
