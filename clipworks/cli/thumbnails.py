"""Small pictures in a terminal: two pixels in each character cell, as most terminals can show them."""

from collections.abc import Sequence
from pathlib import Path

import click

SIDE = 24
"""Pixels across and down; the picture takes that many columns and half as many lines."""


def show(pictures: Sequence[tuple[Path, str, str]]) -> None:
    """Print pictures, each given as path, id and a line of words; one that cannot be read keeps its words."""
    from clipworks.cli.output import printable
    from clipworks.errors import ClipworksError
    from clipworks.model.preprocess import prepare
    from clipworks.search.frames import picture_bytes

    for path, item_id, words in pictures:
        try:
            pixels = prepare(picture_bytes(path, item_id), SIDE, mode="scaled")
        except (ClipworksError, OSError):
            click.echo(printable(words))
            continue
        for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
            cells = (click.style("▀", fg=tuple(a), bg=tuple(b)) for a, b in zip(upper, lower, strict=True))
            click.echo("".join(cells))
        click.echo(printable(words) + "\n")
