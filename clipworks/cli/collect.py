"""`clipworks collect`: from the web to pairs and pictures."""

import click

from clipworks.cli.collect_fetch import fetch
from clipworks.cli.collect_pairs import pairs
from clipworks.cli.collect_pictures import pictures
from clipworks.cli.output import SETTINGS


@click.group(context_settings=SETTINGS, commands={"pairs": pairs, "fetch": fetch, "pictures": pictures})
def collect() -> None:
    """Collect image-text pairs from web archives, and pictures from the web or from this machine.

    \b
    Example:
      clipworks collect pairs crawl.warc.gz --out pairs
      clipworks collect fetch pairs --out images --archives crawl.warc.gz
      clipworks collect pictures icons.jsonl --out images
    """
