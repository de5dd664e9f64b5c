"""How fast pairs come out of web archives, beside other ways; writes benchmarks/results/curation.json.

Sections are modules of their own, `curation_NAME.py`, with a function `measure`. All ways of a section read
the same file in one process and take turns; ratios are taken round by round, and their median is reported.
Needs benchmarks/requirements-peers.txt.

    python -m benchmarks.curation [--only warc wat] [--archive minicrawl.warc.gz] [--rounds 7]
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import curation_warc, curation_wat
from benchmarks.machine import RESULTS, ROOT, describe_commit, describe_machine, write_result

Measure = Callable[[Path, int], dict[str, Any]]
"""An archive and a number of rounds -> what was measured."""

SECTIONS: Mapping[str, Measure] = {"warc": curation_warc.measure, "wat": curation_wat.measure}

ARCHIVES = (ROOT / "../shared/data/crawl/minicrawl.warc.gz", ROOT / "examples/crawl/scikit.warc.gz")
"""The first of them that is there is measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the way from web archives to pairs beside other ways.")
    parser.add_argument(
        "--only", nargs="+", choices=tuple(SECTIONS), help="sections to measure; the rest is kept"
    )
    parser.add_argument("--archive", type=Path, help="WARC file to read")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    archive = arguments.archive or next(path for path in ARCHIVES if path.is_file())
    for section in arguments.only or SECTIONS:
        started = time.perf_counter()
        found = SECTIONS[section](archive, arguments.rounds)
        about = {"machine": describe_machine(), "commit": describe_commit(), "archive": archive.name}
        keep(section, {**about, "seconds": round(time.perf_counter() - started), **found})


def keep(section: str, found: dict[str, Any]) -> None:
    """Write what was measured; what stands there of other sections, a moment ago perhaps, stays."""
    path = RESULTS / "curation.json"
    before: dict[str, Any] = json.loads(path.read_text())["results"] if path.is_file() else {}
    write_result("curation", {**before, section: found})


if __name__ == "__main__":
    main()
