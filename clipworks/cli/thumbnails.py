"""Small pictures in a terminal: two pixels in each character cell, as most terminals can show them."""

from collections.abc import Sequence
from pathlib import Path

import click

SIDE = 24
"""Pixels across and down; the picture takes that many columns and half as many lines."""


def show(pictures: Sequence[tuple[Path, str]]) -> None:
    """Print pictures with a line of words each; one that cannot be read keeps its words."""
    from clipworks.cli.output import printable
    from clipworks.errors import InputError
    from clipworks.model.preprocess import prepare

    for path, words in pictures:
        try:
            pixels = prepare(path, SIDE, mode="scaled")
        except InputError:
            click.echo(printable(words))
            continue
        for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
            cells = (click.style("▀", fg=tuple(a), bg=tuple(b)) for a, b in zip(upper, lower, strict=True))
            click.echo("".join(cells))
        click.echo(printable(words) + "\n")
