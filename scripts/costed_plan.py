"""What all of Common Crawl would take: write the tables of docs/plan.md; `--check` only says if they agree.

Rates are those measured here: of archives and of fetching from benchmarks/results/ (curation.json and
fetching.json), of curation's steps from clipworks/curate/costs.py. Everything else is an assumption that
stands in `Assumptions`, each with its source; change one there and run this again.
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from clipworks.curate.costs import RATES

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "plan.md"
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- written by scripts/costed_plan.py -->", "<!-- / -->"

Rates = dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Assumptions:
    """What was not measured here."""

    warc_gb: float = 1.05
    """Of one WARC file: 30,374 files of 28.94 TiB (Common Crawl, September 2016)."""
    wat_gb: float = 0.37
    """Of one WAT file: 30,374 files of 10.35 TiB (the same)."""
    rows_per_file: float = 300_000 * 1.75
    """Pairs of a file: 300,000 with absolute addresses (cc2dataset), 75 % more by relative ones (#40)."""
    bytes_per_row: float = 364
    """Of a parquet row of a pair: 3.2 TB for 8.8 billion (cc2dataset, a tenth of all crawls)."""
    unique_share: float = 0.2
    """Rows left when addresses count once: 40 billion -> 8 billion (cc2dataset, 130,000 files)."""
    unique_share_of_all: float = 0.06
    """The same over all crawls: 1.5 trillion -> 88 billion (cc2dataset, 5,000,000 files)."""
    language_share: float = 0.45
    """Texts in the wanted language, English: 2.3 of LAION-5B's 5.85 billion, rounded up."""
    match_share: float = 0.5
    """Texts that hold an entry (MetaCLIP drops about half)."""
    balance_share: float = 0.25
    """Matched pairs that balancing keeps: 1.6 billion -> 400 million (MetaCLIP, t = 20,000)."""
    success_share: float = 0.42
    """Addresses that still give a picture (DataComp)."""
    bytes_asked: float = 96_000
    """Of an answer, on the wire: 130 MB/s at 1,350 pictures/s (img2dataset)."""
    bytes_kept: float = 41_000
    """Of a picture in a shard: 240 TB for 5.85 billion at 384 pixels (LAION-5B)."""
    requests_per_row: float = 1.2
    """Of fetching: the address, its redirects, and the host's robots.txt and tdmrep.json."""
    dollars_per_core_hour: float = 0.04
    """Spot price of a virtual core."""
    dollars_per_tb_month: float = 23.0
    """List price of object storage; the work takes a month."""
    dollars_per_million_requests: float = 0.4
    """List price of GET from object storage; what is asked of the web costs nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One row of a table."""

    name: str
    rows_in: float
    rows_out: float
    core_hours: float
    read_tb: float = 0.0
    written_tb: float = 0.0
    requests: float = 0.0
    """Of object storage, or of the web."""
    dollars: float = 0.0


def measured_rates() -> Rates:
    """Rows or compressed bytes per second and core."""
    found, fetching = (
        json.loads((RESULTS / name).read_text(encoding="utf-8"))["results"]
        for name in ("curation.json", "fetching.json")
    )
    speed = fetching["speed"]
    run = speed["runs"]["clipworks"][0]
    return {
        "warc_bytes": found["warc"]["bytes_per_core_second"],
        "wat_bytes": found["wat"]["bytes_per_core_second"],
        "fetch": speed["rows"] / run["seconds"] / speed["processes"],
        **{name: rate.rows_per_second for name, rate in RATES.items()},
    }


def plan(files: int, source: str, rates: Rates, given: Assumptions) -> list[Step]:
    """The steps of MetaCLIP's way over so many `warc` or `wat` files, in order, and their sum."""
    size = files * (given.warc_gb if source == "warc" else given.wat_gb) * 1e9
    rows = files * given.rows_per_file
    unique = rows * given.unique_share
    wanted = unique * given.language_share
    matched = wanted * given.match_share
    kept = matched * given.balance_share
    pictures = kept * given.success_share
    written = given.bytes_per_row
    parsing_seconds = size / rates[f"{source}_bytes"]
    stages = [
        (
            f"collect pairs ({source.upper()})",
            files,
            rows,
            parsing_seconds,
            size,
            rows * written,
        ),
        ("one row of each address", rows, unique, rows / rates["same"], rows * written, unique * written),
        ("curate texts", unique, wanted, unique / rates["english"], unique * written, wanted * written),
        ("curate match", wanted, matched, wanted / rates["match"], wanted * written, matched * 60),
        ("curate balance", matched, kept, matched / rates["balance"], matched * written, kept * written),
        ("collect fetch", kept, pictures, kept / rates["fetch"], 0.0, pictures * given.bytes_kept),
        (
            "duplicates and new shards",
            pictures,
            pictures,
            pictures / rates["same"] + pictures / rates["list"] + pictures / rates["pack"],
            pictures * given.bytes_kept,
            pictures * given.bytes_kept,
        ),
    ]
    steps = []
    for name, first, last, seconds, read, wrote in stages:
        is_fetch = name == "collect fetch"
        requests = first * given.requests_per_row if is_fetch else (read + wrote) / 64e6
        steps.append(
            Step(
                name=name,
                rows_in=first,
                rows_out=last,
                core_hours=seconds / 3600,
                read_tb=(kept * given.success_share * given.bytes_asked if is_fetch else read) / 1e12,
                written_tb=wrote / 1e12,
                requests=requests,
                dollars=seconds / 3600 * given.dollars_per_core_hour
                + wrote / 1e12 * given.dollars_per_tb_month
                + (0.0 if is_fetch else requests / 1e6 * given.dollars_per_million_requests),
            )
        )
    sums = {name: sum(getattr(one, name) for one in steps) for name in _SUMMED}
    return [*steps, Step(name="all", rows_in=files, rows_out=pictures, **sums)]


def tables(rates: Rates, given: Assumptions) -> str:
    """The Markdown that stands between the marks."""
    parts = []
    of_all = replace(given, unique_share=given.unique_share_of_all)
    for title, files, source, assumed in (
        ("One crawl: 90,000 WARC files", 90_000, "warc", given),
        ("One crawl: 90,000 WAT files", 90_000, "wat", given),
        ("All crawls: 5,000,000 WAT files", 5_000_000, "wat", of_all),
    ):
        lines = [
            f"## {title}",
            "",
            "| step | rows in | rows out | core-hours | TB read | TB written | requests | dollars |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for step in plan(files, source, rates, assumed):
            cells = [step.rows_in, step.rows_out, step.core_hours, step.read_tb, step.written_tb]
            numbers = [*map(_short, [*cells, step.requests, step.dollars])]
            lines.append(f"| {step.name} | {' | '.join(numbers)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def rate_lines(rates: Rates) -> str:
    """The rates that the tables rest on."""
    lines = ["| measured rate, one core | |", "|---|--:|"]
    for name, words, scale in (
        ("warc_bytes", "WARC, compressed MB/s", 1e6),
        ("wat_bytes", "WAT, compressed MB/s", 1e6),
        ("same", "one of equal rows, rows/s", 1),
        ("english", "languages of texts, texts/s", 1),
        ("match", "matching, texts/s", 1),
        ("balance", "balancing, rows/s", 1),
        ("fetch", "fetching from a web of 58 % dead or slow links, addresses/s", 1),
        ("list", "listing tars, pictures/s", 1),
        ("pack", "packing new shards, pictures/s", 1),
    ):
        lines.append(f"| {words} | {_short(rates[name] / scale)} |")
    return "\n".join(lines)


def assumption_lines(given: Assumptions) -> str:
    """The assumptions with their sources, as they stand in this file."""
    source = Path(__file__).read_text(encoding="utf-8").split("class Assumptions")[1].split("@dataclass")[0]
    lines = ["| assumption | value | source |", "|---|--:|---|"]
    rows = source.splitlines()
    for number, row in enumerate(rows):
        name = row.strip().partition(":")[0]
        if row.startswith("    ") and hasattr(given, name):
            words = rows[number + 1].strip().replace('"', "")
            lines.append(f"| `{name}` | {_plain(getattr(given, name))} | {words} |")
    return "\n".join(lines)


def fill(text: str) -> str:
    """The page with what is computed now between its marks."""
    rates, given = measured_rates(), Assumptions()
    first, _, rest = text.partition(BEGIN)
    sections = ["## Rates", rate_lines(rates), "## Assumptions", assumption_lines(given)]
    body = "\n\n".join([tables(rates, given), *sections])
    return f"{first}{BEGIN}\n\n{body}\n\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Write the page, or say that it is stale."""
    text = PAGE.read_text(encoding="utf-8")
    filled = fill(text)
    if "--check" in sys.argv[1:]:
        if filled != text:
            sys.exit("docs/plan.md differs. Run: python scripts/costed_plan.py")
    else:
        PAGE.write_text(filled, encoding="utf-8")


def _plain(number: float) -> str:
    return f"{number:,.0f}" if number >= 1000 else f"{number:g}"


def _short(number: float) -> str:
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e4, " k")):
        if number >= size:
            return f"{number / (1e3 if unit == ' k' else size):,.3g}{unit}"
    return f"{number:,.3g}" if number < 100 else f"{number:,.0f}"


_SUMMED = ("core_hours", "read_tb", "written_tb", "requests", "dollars")


if __name__ == "__main__":
    main()
