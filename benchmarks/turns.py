"""Calls that take turns, so that other load on the machine meets all of them; seconds of one core each."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PAUSE_SECONDS = 0.02


def take_turns(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of processor time of each call in each round, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            time.sleep(PAUSE_SECONDS)
            start = time.process_time()
            call()
            if number:
                times[name].append(time.process_time() - start)
    return times


def rows(times: Mapping[str, list[float]], peer: str, size_mb: float) -> dict[str, dict[str, Any]]:
    """For each call its MB/s, milliseconds, and how many times as fast as the peer it is."""
    found: dict[str, dict[str, Any]] = {}
    for name, seconds in times.items():
        ratios = [theirs / ours for theirs, ours in zip(times[peer], seconds, strict=True)]
        found[name] = {
            "mb_per_s_per_core": round(size_mb / statistics.median(seconds), 1),
            "median_ms": round(1000 * statistics.median(seconds), 1),
            "min_ms": round(1000 * min(seconds), 1),
            "n": len(seconds),
            "ratio": round(statistics.median(ratios), 2),
        }
    return found


def rates(times: Sequence[float], size_bytes: int, pairs: int, pages: int) -> dict[str, float]:
    """What a plan needs to know of a gzipped archive: bytes, pairs and pages a second of one core."""
    seconds = statistics.median(times)
    return {
        "bytes_per_core_second": round(size_bytes / seconds),
        "core_seconds_per_gb": round(1e9 * seconds / size_bytes, 1),
        "pairs_per_core_second": round(pairs / seconds),
        "pages_per_core_second": round(pages / seconds),
        "pairs_per_page": round(pairs / pages, 3),
    }
