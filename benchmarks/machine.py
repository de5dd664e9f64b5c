"""What every benchmark shares: which machine and commit a number belongs to, and how it is written down."""

import json
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def describe_machine() -> str:
    """One line: processor, usable cores, memory, system and Python."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{_processor()}, {cores} cores, {memory_gib:.0f} GiB, {system}"


def describe_commit() -> str:
    """The short commit id; `+changes` follows where files differ from it, `unknown` stands outside git."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown"
    return commit + ("+changes" if _git("status", "--porcelain", "--", ".", ":!benchmarks/results") else "")


def summarise(values: Sequence[float], unit: str) -> dict[str, Any]:
    """The row of one measured thing: n, median and 95th percentile (nearest rank) in `unit`."""
    ordered = sorted(values)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return {
        "unit": unit,
        "n": len(ordered),
        "median": round(statistics.median(ordered), 3),
        "p95": round(p95, 3),
    }


def write_result(name: str, results: dict[str, Any]) -> None:
    """Print the result and write it to benchmarks/results/NAME.json."""
    document = {
        "benchmark": name,
        "machine": describe_machine(),
        "commit": describe_commit(),
        "results": results,
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")
    print(text, end="")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown processor")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
