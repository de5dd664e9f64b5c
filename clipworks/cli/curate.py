"""`clipworks curate`: from pairs to curated shards."""

from pathlib import Path
from typing import Any

import click

from clipworks.cli.curate_hashes import hashes
from clipworks.cli.curate_recipe import recipe
from clipworks.cli.curate_texts import texts
from clipworks.cli.output import (
    SETTINGS,
    count_of,
    json_option,
    note,
    print_json,
    progress_bar,
    stage_progress,
)
from clipworks.cli.steps import steps
from clipworks.errors import MissingExtraError

_FILE = click.Path(path_type=Path)


@click.group(
    cls=steps(str(recipe.name), "DIR --recipe NAME --out DIR [OPTIONS]"),
    commands=[recipe, texts, hashes],
    context_settings=SETTINGS,
)
def curate() -> None:
    """Choose from a pool of pictures and texts: by a recipe, or one step at a time.

    With a folder of fetched pictures and a recipe it writes shards to train on; see
    `clipworks curate recipe --help`, the same command by name, for its options.

    \b
    Example:
      clipworks curate images --recipe small --out curated
      clipworks curate metadata --wordnet /usr/share/wordnet --out entries.json
      clipworks curate match pairs --metadata entries.json --out matches
      clipworks curate balance matches --pairs pairs --metadata entries.json --out balanced
    """


@curate.command(context_settings=SETTINGS)
@click.option(
    "--wordnet", type=_FILE, help="Folder with WordNet 3.0's data.noun: /usr/share/wordnet on Debian."
)
@click.option(
    *("--unigrams", "--ngrams", "ngrams"),
    multiple=True,
    type=_FILE,
    help="Counts of words and pairs, `word count` or `word word count` a line; several files add up.",
)
@click.option(
    "--wikipedia",
    multiple=True,
    type=_FILE,
    help="Dump of articles (.xml, .xml.bz2) or plain text (.txt, .gz, .bz2) to count words and pairs in.",
)
@click.option(
    "--pageviews",
    multiple=True,
    type=_FILE,
    help="Hourly page views (.gz), for titles; all hours to sum over.",
)
@click.option("--out", required=True, type=_FILE, help="File to write.")
@click.option(
    "--set",
    "choices",
    multiple=True,
    metavar="NAME=VALUE",
    help="language, min_count, min_pmi, min_views, min_hourly_views, project, max_entries or "
    "distinct_in_memory.",
)
@click.option("--dry-run", is_flag=True, help="Say how much would be read.")
@json_option("one object with the counts of each source")
def metadata(
    wordnet: Path | None,
    ngrams: tuple[Path, ...],
    wikipedia: tuple[Path, ...],
    pageviews: tuple[Path, ...],
    out: Path,
    choices: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make the list of entries that texts are matched against.

    It holds "0" to "99", WordNet's names, Wikipedia's words, word pairs and titles, in this order, each once.

    \b
    Example:
      clipworks curate metadata --wordnet /usr/share/wordnet --out entries.json
      clipworks curate metadata --wikipedia dewiki-articles.xml.bz2 --set language=de --out entries.de.json
    """
    from clipworks.curate.metadata import check_replaceable, count_dead, write_entries
    from clipworks.curate.sources import MetadataConfig, MetadataFiles, gather_entries
    from clipworks.options import with_settings

    files = MetadataFiles(wordnet=wordnet, ngrams=ngrams, wikipedia=wikipedia, pageviews=pageviews)
    config = with_settings(MetadataConfig(), choices)
    check_replaceable(out)
    if dry_run:
        size = files.num_bytes()
        _tell({"out": str(out), "bytes": size}, as_json, f"Would read {size:,} bytes.")
        return
    with progress_bar("Reading", "bytes") as show:
        entries = gather_entries(files, config, scratch=out.parent, show=show)
    write_entries(out, entries)
    told: dict[str, Any] = {"out": str(out), "entries": len(entries.texts), "sha256": entries.digest}
    told |= {"dead": count_dead(entries.texts), "sources": {n: dict(c) for n, c in entries.sources.items()}}
    added = ", ".join(f"{count.get('added', 0):,} from {name}" for name, count in entries.sources.items())
    _tell(told, as_json, f"{len(entries.texts):,} entries in {out}: {added}.")


@curate.command(context_settings=SETTINGS)
@click.argument("pairs", type=_FILE)
@click.option(
    "--metadata", "lists", multiple=True, required=True, type=_FILE, help="Entry list; one per language."
)
@click.option(
    "--mode", default="metaclip", show_default=True, help="How texts are read: metaclip, metaclip2 or folded."
)
@click.option("--out", required=True, type=_FILE, help="Folder to write.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option("--dry-run", is_flag=True, help="Say how many pairs would be matched.")
@json_option("one object with the counts")
def match(
    pairs: Path, lists: tuple[Path, ...], mode: str, out: Path, workers: int, dry_run: bool, as_json: bool
) -> None:
    """Find the entries in each text of a folder of pairs.

    An interrupted run goes on where it stopped.

    \b
    Example:
      clipworks curate match pairs --metadata entries.json --out matches --workers 2
    """
    require_curate_extra()
    from clipworks.curate.matches import describe_metadata, match_pairs, table_sources
    from clipworks.files import read_manifest

    if dry_run:
        table_sources(pairs)
        described = describe_metadata(lists)
        told = {"pairs": read_manifest(pairs)["rows"], "entries": sum(one.count for one in described)}
        _tell(told, as_json, f"Would match {told['pairs']:,} pairs with {told['entries']:,} entries.")
        return
    with stage_progress("Matching", "parts", out) as show:
        manifest = match_pairs(pairs, out, metadata=lists, mode=mode, workers=workers, show=show)
    counts = {"texts": 0, "matched_texts": 0, "matches": 0, **manifest["counts"]}
    if "failed_sources" in counts:
        note(f"{count_of(counts['failed_sources'], 'part')} could not be read; see {out / 'manifest.json'}.")
    if not counts["matches"]:
        note("No text holds an entry: are the list and the texts of one language and script?")
    words = f"{counts['matched_texts']:,} of {counts['texts']:,} texts hold an entry"
    _tell({"out": str(out), **counts}, as_json, f"{words}, {counts['matches']:,} matches.")


@curate.command(context_settings=SETTINGS)
@click.argument("matches", type=_FILE)
@click.option("--pairs", required=True, type=_FILE, help="Folder of pairs that the matches were made of.")
@click.option(
    "--metadata", "lists", multiple=True, required=True, type=_FILE, help="What they were matched with."
)
@click.option("--out", required=True, type=_FILE, help="Folder for counts/, pairs/ and report/.")
@click.option(
    "--set",
    "choices",
    multiple=True,
    metavar="NAME=VALUE",
    help="t, tail_share (0.06 where t is not given), texts (each, one or all), seed or anchor.",
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option("--dry-run", is_flag=True, help="Count, and say t and the tail share; keep nothing.")
@json_option("one object with counts and the report's place")
def balance(
    matches: Path,
    pairs: Path,
    lists: tuple[Path, ...],
    out: Path,
    choices: tuple[str, ...],
    workers: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Keep texts so that no entry dominates: MetaCLIP's balancing.

    Which texts are kept depends on seed and uid alone, not on parts, workers or order.

    \b
    Example:
      clipworks curate balance matches --pairs pairs --metadata entries.json --out balanced \\
        --set t=20000
    """
    require_curate_extra()
    from clipworks.curate.balance import BalanceConfig, balance_pairs, check_out, tail_shares, thresholds
    from clipworks.curate.matches import check_metadata, count_matches, sum_counts
    from clipworks.curate.report import PAGE, write_report
    from clipworks.files import read_manifest
    from clipworks.options import with_settings

    config = with_settings(BalanceConfig(), choices)
    check_out(out)
    check_metadata(matches, lists)
    if dry_run:
        counts, described = sum_counts(matches), read_manifest(matches)["config"]["metadata"]
        limits = thresholds(counts, described, config)
        shares = tail_shares(counts, described, limits)
        words = ", ".join(
            f"{limit:,}{f' for {name}' if name else ''}, with {shares[name]:.1%} of the matches below it"
            for name, limit in limits.items()
        )
        _tell({"t": limits, "tail_share": shares}, as_json, f"t would be {words}.")
        return
    with stage_progress("Balancing", "parts", out / "pairs") as show:
        count_matches(matches, out / "counts")
        folders = (pairs, matches, out / "counts", out / "pairs")
        balance_pairs(*folders, config=config, workers=workers, show=show)
    report = write_report(out / "counts", out / "pairs", out / "report", metadata=lists)
    texts, kept = report["texts"], report["pairs"]
    told = {"out": str(out), "report": str(out / "report" / PAGE), "pairs": kept, "texts": texts}
    note(f"Report: {out / 'report' / PAGE}")
    if not texts["matched"]:
        note(f"No text was kept, since none in {matches} holds an entry.")
    words = f"{kept['kept']:,} of {kept['in']:,} pairs kept; {texts['kept']:,} texts"
    _tell(told, as_json, f"{words}, {texts['expected']:,.0f} expected.")


def require_curate_extra() -> None:
    """Say what to install where the packages of curation are missing.

    Raises:
        MissingExtraError: one of them is not installed.
    """
    from importlib.util import find_spec

    for package in ("numba", "daachorse", "pyarrow"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "curate")


def _tell(values: dict[str, Any], as_json: bool, words: str) -> None:
    if as_json:
        print_json(values)
    else:
        click.echo(words)
