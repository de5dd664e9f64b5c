"""What balancing does to a pool, as JSON and as a page: head and tail, the curve, entries without matches."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from html import escape
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np

from clipworks.curate.balance import expected_texts, tail_share_of
from clipworks.curate.matches import COUNTS_SUFFIX, Counts, add_counts, describe_metadata, read_counts
from clipworks.curate.metadata import read_entries
from clipworks.errors import ConfigError
from clipworks.files import atomic_write, read_manifest
from clipworks.plots import Line, draw_lines
from clipworks.stage import Made, Source, run_stage

NUM_TOP = 20
MAX_ZERO = 1000
NUM_POINTS = 200
JSON, PAGE = "report.json", "report.html"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What is told of one language."""

    language: str
    """Code; "" where the metadata names none."""
    t: int
    """Texts of an entry up to which all are kept."""
    entries: int
    """Length of the list."""
    entries_without_matches: int
    """Entries that no text holds."""
    entries_above_t: int
    """Head entries."""
    matches: int
    """Sum of the counts."""
    head_share: float
    """Share of the matches that entries above t have."""
    tail_share: float
    """Share of the matches that entries below t have."""
    kept_matches: int
    """Sum of the counts in what is kept."""
    top: tuple[tuple[str, int, int], ...]
    """The entries with the most matches: entry, matches, matches kept."""
    zero: tuple[str, ...]
    """The first entries without matches."""
    curve: tuple[tuple[int, int, int], ...]
    """Ranks by matches, ascending and even on a log scale, and there: rank, matches, matches kept."""


def write_report(counts: Path, balanced: Path, out: Path, *, metadata: Sequence[Path]) -> dict[str, Any]:
    """Write `report.json` and `report.html`; a stage of one part.

    Args:
        counts: the finished folder of `count_matches`.
        balanced: the finished folder of `balance_pairs` with these counts.
        out: folder to write.
        metadata: the entry lists that were matched with.

    Returns:
        What `report.json` holds.

    Raises:
        ConfigError: the metadata is not the one that was matched with.
        DataError: a folder is unfinished or a file unreadable.
    """
    manifest = read_manifest(balanced)
    digests = [one["sha256"] for one in manifest["config"]["metadata"]]
    if [one.digest for one in describe_metadata(metadata)] != digests:
        raise ConfigError(
            f"{balanced} was made with other metadata.", "Name the lists that were matched with."
        )
    report = describe_balance(counts, balanced, metadata)
    text = dumps(report, indent=1, ensure_ascii=False) + "\n"

    def work(source: Source, folder: Path) -> Made:
        for name, content in ((JSON, text), (PAGE, render_page(report))):
            with atomic_write(folder / name) as file:
                file.write(content.encode(errors="backslashreplace"))
        return Made(rows=1, files=[JSON, PAGE])

    source = Source(name="report", path=str(balanced), digest=sha256(text.encode()).hexdigest())
    run_stage(work, [source], out, stage="report", config={})
    return report


def describe_balance(counts: Path, balanced: Path, metadata: Sequence[Path]) -> dict[str, Any]:
    """What there is to tell, as JSON values.

    Raises:
        DataError: a folder is unfinished or a file unreadable.
    """
    manifest = read_manifest(balanced)
    total = read_counts(counts)
    files = [name for part in manifest["parts"] for name in part["files"] if name.endswith(COUNTS_SUFFIX)]
    kept = add_counts([balanced / name for name in files], len(total))
    expected, deviation = expected_texts(balanced)
    parts = []
    first = 0
    for path, limit in zip(metadata, manifest["config"]["t"].values(), strict=True):
        entries = read_entries(path)
        here = slice(first, first + len(entries.texts))
        parts.append(describe_part(entries.texts, entries.language, limit, total[here], kept[here]))
        first += len(entries.texts)
    matched = read_manifest(counts)
    return {
        "mode": manifest["config"]["mode"],
        "rule": manifest["config"]["texts"],
        "seed": manifest["config"]["seed"],
        "pairs": {"in": manifest["counts"].get("pairs", 0), "kept": manifest["rows"]},
        "texts": {
            "matched": manifest["counts"].get("matched_texts", 0),
            "kept": manifest["counts"].get("kept_texts", 0),
            "expected": round(expected, 3),
            "standard_deviation": round(deviation, 3),
        },
        "matches": matched["counts"]["matches"],
        "languages": [asdict(part) for part in parts],
    }


def describe_part(entries: Sequence[str], language: str, t: int, counts: Counts, kept: Counts) -> Part:
    """What there is to tell of one list.

    Args:
        entries: the list.
        language: its language.
        t: its threshold.
        counts: uint64 [entries], texts that hold each.
        kept: uint64 [entries], those of them that balancing kept.
    """
    order = np.argsort(-counts.astype(np.int64), kind="stable")
    total = int(counts.sum())
    zero = np.flatnonzero(counts == 0)
    with_matches = len(counts) - len(zero)
    ranks = np.unique(np.geomspace(1, max(with_matches, 1), NUM_POINTS).round().astype(int))[:with_matches]
    return Part(
        language=language,
        t=t,
        entries=len(entries),
        entries_without_matches=len(zero),
        entries_above_t=int(np.count_nonzero(counts > t)),
        matches=total,
        head_share=int(counts[counts > t].sum()) / total if total else 0.0,
        tail_share=tail_share_of(counts, t),
        kept_matches=int(kept.sum()),
        top=tuple((entries[n], int(counts[n]), int(kept[n])) for n in order[:NUM_TOP] if counts[n]),
        zero=tuple(entries[n] for n in zero[:MAX_ZERO]),
        curve=tuple((int(r), int(counts[order[r - 1]]), int(kept[order[r - 1]])) for r in ranks),
    )


def render_page(report: Mapping[str, Any]) -> str:
    """The report as one HTML page that needs no other file."""
    pairs, texts = report["pairs"], report["texts"]
    facts = [
        ("pairs kept", f"{pairs['kept']:,} of {pairs['in']:,}"),
        ("texts kept", f"{texts['kept']:,} of {texts['matched']:,} that hold an entry"),
        ("expected", f"{texts['expected']:,.1f} ± {texts['standard_deviation']:,.1f}"),
        *(("mode", report["mode"]), ("rule", report["rule"]), ("seed", str(report["seed"]))),
    ]
    body = [f"<h1>Balanced pairs</h1>{_facts(facts)}"]
    body += [_section(part) for part in report["languages"]]
    style = (
        "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "td,th{text-align:left;padding:.1rem 1rem .1rem 0}td.n{text-align:right}svg{width:100%;height:auto}"
        "@media(prefers-color-scheme:dark){body{background:#111;color:#eee}}"
    )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><style>{style}</style>'
    return (
        f'<!doctype html><html lang="en"><head>{head}<title>Balanced pairs</title></head><body>'
        + "\n".join([*body, "</body></html>\n"])
    )


def _section(part: Mapping[str, Any]) -> str:
    shares = f"{part['head_share']:.1%} of the matches; below t {part['tail_share']:.1%}"
    facts = [
        ("entries", f"{part['entries']:,}, {part['entries_without_matches']:,} without a match"),
        ("t", f"{part['t']:,}"),
        ("above t", f"{part['entries_above_t']:,} entries with {shares}"),
        ("matches", f"{part['matches']:,}, {part['kept_matches']:,} kept"),
    ]
    ranks = [point[0] for point in part["curve"]]
    lines = [
        Line(label="pool", xs=ranks, ys=[point[1] for point in part["curve"]]),
        Line(label="kept", xs=ranks, ys=[point[2] for point in part["curve"]]),
    ]
    title = f"Texts that hold an entry, by the entry's rank; the line across is t = {part['t']:,}"
    chart = draw_lines(
        lines, title=title, x_label="rank", x_scale="decades", y_scale="decades", level=part["t"]
    )
    rows = "".join(
        f'<tr><td>{escape(entry)}</td><td class="n">{count:,}</td><td class="n">{kept:,}</td></tr>'
        for entry, count, kept in part["top"]
    )
    table = f"<table><tr><th>entry</th><th>matches</th><th>kept</th></tr>{rows}</table>"
    zero = ", ".join(escape(one) for one in part["zero"][:100])
    name = escape(part["language"]) or "All texts"
    return (
        f"<h2>{name}</h2>{_facts(facts)}{chart}<h3>Most frequent</h3>{table}"
        f"<details><summary>Entries without a match, the first hundred</summary><p>{zero}</p></details>"
    )


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts)
    return f"<table>{rows}</table>"
