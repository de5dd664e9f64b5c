"""`clipworks search`: ask an index."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from clipworks.cli.output import SETTINGS, Line, json_option, note, print_json, print_table

if TYPE_CHECKING:
    from clipworks.search.answer import Ask
    from clipworks.search.library import Library
    from clipworks.search.store import Hit, Result
    from clipworks.search.terms import Term


@click.command(context_settings=SETTINGS)
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("text", required=False)
@click.option("--image", metavar="FILE", help="Look for pictures like this FILE, or id:ID.")
@click.option(
    *("--plus", "plus"), multiple=True, type=Line(), metavar="TERM", help="Also this: see below. Repeatable."
)
@click.option(
    *("--minus", "minus"), multiple=True, type=Line(), metavar="TERM", help="And not this. Repeatable."
)
@click.option(
    *("--where", "where"),
    multiple=True,
    type=Line(),
    metavar="CONDITION",
    help="Only such pictures. Repeatable.",
)
@click.option(
    "--sort",
    type=click.Choice(["score", "newest", "oldest"]),
    default="score",
    show_default=True,
    help="Order of the pictures found.",
)
@click.option("--all", "everything", is_flag=True, help="Also what is not relevant, and every double.")
@click.option("--limit", default=10, show_default=True, help="Number of hits, 1 to 10000.")
@click.option("--thumbnails", is_flag=True, help="Show the pictures, in a terminal with colours.")
@click.option("--model", metavar="MODEL", help="The model that made the index, if it lies elsewhere now.")
@json_option("one object with is_relevant, threshold and hits, relevant or not")
def search(  # noqa: PLR0913 — one argument per option
    index: Path,
    text: str | None,
    image: str | None,
    plus: tuple[str, ...],
    minus: tuple[str, ...],
    where: tuple[str, ...],
    sort: str,
    everything: bool,
    limit: int,
    thumbnails: bool,
    model: str | None,
    as_json: bool,
) -> None:
    """Find pictures by words, by another picture, or by several of both.

    INDEX is an index, or a folder of pictures that was indexed. Where nothing fits, that is said and nothing
    shown. A TERM is words, @FILE, id:ID for a picture of the index, or words:TEXT for words in names,
    captions, tags and places; with a weight before it (0.5*stripes), and for the left half of a picture
    with [0,0,0.5,1] behind it. A CONDITION is taken>=2024-05, folder=trips/rome, camera=canon, place=rome,
    tag=anna, width>=1000, bytes<500000 or words="birthday cake"; != turns it round. Without a text or
    picture, the pictures that meet the conditions are listed.

    \b
    Example:
      clipworks search pictures.index "musical instrument"
    """
    from clipworks.search.answer import Ask
    from clipworks.search.filters import read_filter
    from clipworks.search.opening import open_index
    from clipworks.search.terms import Term, read_term

    if text is not None and image is not None:
        raise click.UsageError("Give a text or --image; more with --plus.")
    if text is not None and text.startswith(("@", "id:", "words:")):
        raise click.UsageError(f"{text!r} would be searched as words; give such a term with --plus.")
    if not (text is not None or image is not None or plus or where):
        raise click.UsageError("Give a text, --image, --plus or --where.")
    terms = [Term(text=text)] if text is not None else []
    if image is not None:
        terms.append(read_term(image if image.startswith("id:") else f"@{image}"))
    terms += [*(read_term(one) for one in plus), *(read_term(one, -1) for one in minus)]
    ask = Ask(
        limit=limit,
        filters=tuple(read_filter(one) for one in where),
        sort=sort,  # type: ignore[arg-type]
        is_cut=not (everything or as_json),
        is_folded=not everything,
    )
    result = _found(open_index(index), model, terms, ask)
    if as_json:
        print_json(result.to_json())
    else:
        _print(result, thumbnails, is_question=bool(terms))


def _found(library: "Library", model: str | None, terms: "list[Term]", ask: "Ask") -> "Result":
    from clipworks.model.loading import load
    from clipworks.search.query import search_terms
    from clipworks.search.stores import use_chosen_store

    use_chosen_store(library)
    needs_model = any(term.needs_model() for term in terms)
    engine = load(model or library.header.model) if needs_model else None
    return search_terms(library, engine, terms, ask)


def _print(result: "Result", thumbnails: bool, *, is_question: bool) -> None:
    if not result.hits and (not is_question or result.threshold is None):
        note("No picture meets the conditions.")
    elif is_question and not result.is_relevant:
        said = "these are the nearest pictures" if result.hits else "--all shows the nearest pictures"
        note(f"Nothing relevant found; {said}.")
    if not result.hits:
        return
    if thumbnails:
        from clipworks.cli.thumbnails import show

        show([(Path(hit.path), hit.id, _line(hit)) for hit in result.hits])
        return
    columns = [("score", [f"{hit.score:.3f}" for hit in result.hits])] if is_question else []
    parts = [name for name in result.hits[0].explained if name != "cosine"]
    columns += [(name, [f"{hit.explained[name]:.3f}" for hit in result.hits]) for name in parts]
    columns += [
        (name, cells)
        for name in ("taken", "caption", "licence")
        if any(cells := [str(getattr(hit, name)) for hit in result.hits])
    ]
    if any(at := [_at(hit) for hit in result.hits]):
        columns.append(("at", at))
    if any(hit.alike for hit in result.hits):
        columns.append(("alike", [f"+{len(hit.alike)}" if hit.alike else "" for hit in result.hits]))
    columns.append(("path", [hit.path for hit in result.hits]))
    print_table([name for name, _ in columns], list(zip(*(cells for _, cells in columns), strict=True)))


def _line(hit: "Hit") -> str:
    parts = (f"{hit.score:.3f}", hit.taken[:10], hit.caption, hit.path, _at(hit))
    return "  ".join(part for part in parts if part)


def _at(hit: "Hit") -> str:
    """Where in its video a frame is; empty of a picture."""
    from clipworks.search.videos import clock, file_of

    second = file_of(hit.id)[1]
    return "" if second is None else clock(second)
