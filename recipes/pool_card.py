"""The data card of a pool and its credits: `python -m recipes.pool_card WORK PACKAGES [--docs]`.

Writes `pool.md`, `pool.svg`, `ATTRIBUTION.md` and `data_manifest.json` beside what `recipes/pool.sh` made;
with `--docs` the card and its plot go to docs/ as well. Every number is counted in the shards' tables.
"""

import argparse
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from clipworks.files import atomic_write, read_json, read_manifest, write_json
from clipworks.plots import Line, draw_lines
from clipworks.stage import part_files
from clipworks.tables import read_batches

COLUMNS = ("texts", "kind", "source", "licence", "title", "author", "home", "caption")
SETS_SHOWN = 25
RANKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """What the tables of a folder hold."""

    kinds: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    sets: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    captions: Counter[str] = field(default_factory=Counter)
    """By the kind of caption."""
    texts: Counter[str] = field(default_factory=Counter)
    per_picture: Counter[int] = field(default_factory=Counter)
    origins: dict[str, tuple[str, str, str, str]] = field(default_factory=dict)
    """By set: title, author, licence, address."""

    @property
    def pictures(self) -> int:
        """How many rows there are."""
        return self.kinds.total()


def main() -> None:
    """Count, and write the four files."""
    options = _parse_arguments()
    work: Path = options.work
    before, after = count(work / "pictures"), count(work / "shards")
    card = render(work, options.packages, before, after)
    _write(work / "pool.md", card)
    _write(work / "pool.svg", plot(before, after))
    _write(work / "ATTRIBUTION.md", attribution(after))
    write_json(work / "data_manifest.json", data_manifest(work, options.packages, after))
    if options.docs:
        for name in ("pool.md", "pool.svg"):
            shutil.copyfile(work / name, ROOT / "docs" / name)


def count(folder: Path) -> Counts:
    """Count the rows with a picture of a finished folder."""
    counts = Counts()
    for path in part_files(folder, ".parquet"):
        for batch in read_batches(path, [*COLUMNS, "status"]):
            for row in batch.to_pylist():
                if row["status"] == "success":
                    _add(counts, row)
    return counts


def _add(counts: Counts, row: dict[str, Any]) -> None:
    counts.kinds[row["kind"]] += 1
    counts.licences[row["licence"]] += 1
    counts.sets[row["source"]] += 1
    counts.names[row["caption"]] += 1
    counts.per_picture[len(row["texts"])] += 1
    for one in row["texts"]:
        counts.captions[one["key"]] += 1
        counts.texts[one["text"]] += 1
    counts.origins[row["source"]] = (row["title"], row["author"], row["licence"], row["home"])


def render(work: Path, packages: Path, before: Counts, after: Counts) -> str:
    """The card as a page of Markdown."""
    lists = read_json(work / "lists/lists.json")
    fates = read_manifest(work / "pictures")["counts"]
    manifest = read_manifest(work / "shards")
    rules = manifest["config"]["rules"]
    settings = manifest["config"]["settings"]
    inputs = _inputs(packages)
    texts = sum(after.captions.values())
    sections = [
        _HEAD.format(
            pictures=after.pictures,
            texts=texts,
            distinct=len(after.texts),
            names=len(after.names),
            sets=len(after.sets),
        ),
        "## From the packages to the pool\n",
        table(("what", "pictures"), [("drawings and files in the lists", sum(lists["rows"].values()))])
        + "".join(f"| {name.replace('_', ' ')} | {number:,} |\n" for name, number in sorted(fates.items())),
        table(
            ("step", "rule", "of", "seen", "kept"),
            [(one["step"], one["rule"], one["unit"], one["seen"], one["kept"]) for one in rules],
        ),
        _rules_words(settings, lists),
        "## Kinds of pictures\n",
        table(
            ("kind", "drawn", "in the pool"),
            [(kind, before.kinds[kind], after.kinds[kind]) for kind, _ in before.kinds.most_common()],
        ),
        "## Captions\n",
        table(("kind of caption", "captions"), after.captions.most_common()),
        _captions_words(after),
        "![How many pictures have a name, by rank](pool.svg)\n",
        "## Licences\n",
        table(("licence", "pictures"), after.licences.most_common()),
        "## Sets\n",
        table(
            ("set", "licence", "pictures"),
            [(name, after.origins[name][2], number) for name, number in after.sets.most_common(SETS_SHOWN)],
        ),
        f"and {max(len(after.sets) - SETS_SHOWN, 0)} more; `ATTRIBUTION.md` beside the shards names all.\n",
        "## What was left out\n",
        table(("reason", "number"), lists["left_out"].items()),
        "## Packages\n",
        table(
            ("package", "version", "registry", "sha256"),
            [(one["name"], one["version"], one["registry"], f"`{one['sha256'][:12]}…`") for one in inputs],
        ),
        _GAPS,
    ]
    return "\n".join(sections)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown; numbers with commas."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for row in rows:
        words = [f"{value:,}" if isinstance(value, int) else str(value) for value in row]
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


def plot(before: Counts, after: Counts) -> str:
    """Pictures of a name by the rank of the name, before and after curation."""
    lines = []
    for label, counts in (("drawn", before), ("in the pool", after)):
        ordered = sorted(counts.names.values(), reverse=True)
        ranks = [rank for rank in RANKS if rank <= len(ordered)]
        lines.append(Line(label=label, xs=ranks, ys=[ordered[rank - 1] for rank in ranks]))
    return draw_lines(
        lines,
        title="Pictures of a name",
        x_label="rank of the name",
        y_label="pictures",
        x_scale="decades",
        y_scale="decades",
    )


def attribution(counts: Counts) -> str:
    """The credits that CC BY and the other licences ask for."""
    rows = [(name, *counts.origins[name], number) for name, number in sorted(counts.sets.items())]
    return _CREDITS + "\n" + table(("set", "title", "author", "licence", "address", "pictures"), rows)


def data_manifest(work: Path, packages: Path, counts: Counts) -> dict[str, Any]:
    """What the pool was made from and which bytes it has, without the places where they lay."""
    manifest = read_manifest(work / "shards")
    tars = [(name, file) for part in manifest["parts"] for name, file in part["files"].items()]
    return {
        "pictures": counts.pictures,
        "inputs": _inputs(packages),
        "counts": {"kind": counts.kinds, "licence": counts.licences, "set": counts.sets},
        "rules": manifest["config"]["rules"],
        "shards": {name: file["sha256"] for name, file in tars if name.endswith(".tar")},
    }


def _inputs(packages: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (packages / "packages.jsonl").read_text().splitlines()]


def _rules_words(settings: dict[str, Any], lists: dict[str, Any]) -> str:
    distance = settings["phash_distance"]
    words = _SAME.format(distance=distance) if distance >= 0 else _ALL
    told = words + _CONTAMINATED.format(evaluation=settings["evaluation_distance"])
    there = lists.get("glyphs_there", 0)
    if there > lists["rows"].get("glyphs", there):
        told += _PART.format(taken=lists["rows"]["glyphs"], there=there)
    return told


def _captions_words(counts: Counts) -> str:
    often = ", ".join(f"{text} ({number:,})" for text, number in counts.names.most_common(12))
    once = sum(1 for number in counts.names.values() if number == 1)
    total = sum(number * times for number, times in counts.per_picture.items())
    return (
        f"A picture has {total / counts.pictures:.1f} captions on average. Of {len(counts.names):,} names "
        f"{once:,} stand once; the most frequent are {often}.\n"
    )


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder that recipes/pool.sh made")
    parser.add_argument("packages", type=Path, help="folder of the unpacked packages")
    parser.add_argument("--docs", action="store_true", help="write docs/pool.md and docs/pool.svg too")
    return parser.parse_args()


_HEAD = """<!-- Written by recipes/pool_card.py from the shards that recipes/pool.sh made. -->
# The pool of pictures behind `pictogram`

{pictures:,} pictures with {texts:,} captions ({distinct:,} different ones, {names:,} different names)
from {sets:,} sets of icons, emoji, clip art and photographs, all under licences that let the result be
given on. `recipes/pool.sh` makes it from packages of npm and Debian: [`collect pictures`](collect.md)
draws, [`curate`](curate.md) cleans. The photographs are an optional input (`PHOTOS=DIR`).
"""

_SAME = """Two pictures count as one where their perceptual hashes differ in at most {distance} of
64 bits.
"""

_ALL = """Pictures that look the same are all in this pool.
"""

_CONTAMINATED = """`contaminated` is how many were dropped because they differ in at most {evaluation} bits
from a picture of the suites that models are scored on: all 3-D emoji, 500 held-out
drawings, the test photographs. Fluent Emoji in any style is left out by name.
"""

_PART = """This pool was made with {taken:,} of the {there:,} one-colour glyphs (`PART`), drawn by
a hash of their names.
"""

_CREDITS = """# Pictures of the pool

Captions were made from names and tags of the sets, emojibase-data 17 (MIT, text of Unicode CLDR) and
WordNet 3.0 (Copyright 2006 by Princeton University, all rights reserved).
"""

_GAPS = """## Known gaps

- **Mostly drawings of a user interface.** Most pictures are one-colour glyphs and know the world as
  programs show it: a *window* is a frame, a *mouse* a device. The weights draw them less often than
  their number says.
- **Few photographs**, of 54 everyday things and animals and ten kinds of clothes; nearly no people,
  places or scenes.
- **One name, one meaning.** Synonyms and kinds come from WordNet's first senses, with a list of words
  that mean something else on a screen; a wrong sense is a wrong caption. Nobody has read them all;
  some 700 have the article of a word before an abbreviation (`a html file`).
- **Other languages name emoji only**, as Unicode's translators did.
- **No writing.** Letters, digits and trade marks are left out by name, which misses some.
- **Near-duplicates by a hash of brightness**: equal shapes in other colours of like brightness fall
  together, the same thing drawn anew does not.
"""


if __name__ == "__main__":
    main()
