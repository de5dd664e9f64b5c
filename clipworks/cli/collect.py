"""`clipworks collect`: from the web to pairs and pictures."""

import click

from clipworks.cli.collect_pairs import pairs
from clipworks.cli.output import SETTINGS


@click.group(context_settings=SETTINGS, commands=[pairs])
def collect() -> None:
    """Collect image-text pairs from web archives, and the pictures from the web."""
