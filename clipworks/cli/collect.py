"""`clipworks collect`: from the web to pairs and pictures."""

import click

from clipworks.cli.collect_fetch import fetch
from clipworks.cli.collect_pairs import pairs
from clipworks.cli.output import SETTINGS


@click.group(context_settings=SETTINGS, commands={"pairs": pairs, "fetch": fetch})
def collect() -> None:
    """Collect image-text pairs from web archives, and the pictures from the web.

    \b
    Example:
      clipworks collect pairs crawl.warc.gz --out pairs
      clipworks collect fetch pairs --out images --archives crawl.warc.gz
    """
