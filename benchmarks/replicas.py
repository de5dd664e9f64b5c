"""One server process against two replicas of Ray Serve on the same cores; writes benchmarks/results/ray.json.

The requests of `benchmarks/serving.py`: one JPEG of 640 x 480 each, in base64, a ViT-B/32 of random weights
in int8, from 1, 8 and 32 clients that each wait for their answer, on the same machine. Needs the extra `ray`.
"""

import argparse
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.machine import write_result
from benchmarks.serving import Bench, children_of, free_port, rounded, server

CLIENTS = (1, 8, 32)
REPLICAS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--folder", type=Path, help="keep model and pictures here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clipworks-replicas-") as temporary:
        bench = Bench(given.folder or Path(temporary), given.seconds, "process")
        results = {
            "one process": measure(bench, ["--workers", "process"]),
            f"{REPLICAS} replicas": measure(bench, ["--ray"]),
        }
    one, several = (row["32 clients"]["requests_per_second"] for row in results.values())
    results["ratio at 32 clients"] = rounded(several / one)
    write_result("ray", results)


def measure(bench: Bench, flags: list[str]) -> dict[str, Any]:
    """Start, memory and requests a second of one server."""
    started = time.monotonic()
    with serving(bench, flags) as (address, process_id):
        seconds = time.monotonic() - started
        loads = {f"{n} clients": bench.load(address, "/v1/embeddings", n) for n in CLIENTS}
        memory, count = memory_below(process_id)
    return {"start_seconds": rounded(seconds), **loads, "resident_bytes": memory, "processes": count}


@contextmanager
def serving(bench: Bench, flags: list[str]) -> Iterator[tuple[str, int]]:
    port = free_port()
    os.environ["CLIPWORKS_MIN_REPLICAS"] = os.environ["CLIPWORKS_MAX_REPLICAS"] = str(REPLICAS)
    command = [sys.executable, "-m", "clipworks", "serve", "--models", str(bench.roster), "--port", str(port)]
    with server([*command, *flags], f"http://127.0.0.1:{port}/readyz") as process:
        wait_until_ready(f"http://127.0.0.1:{port}/readyz")
        yield f"http://127.0.0.1:{port}", process.pid


def wait_until_ready(address: str) -> None:
    """Ray's proxy says 404 until a replica is there."""
    until = time.monotonic() + 180
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(address, timeout=10):
                return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"{address} is not ready")


def memory_below(process_id: int) -> tuple[int, int]:
    """Resident bytes of a process and all below it, shared pages counted in each; and how many they are."""
    pages = int(Path(f"/proc/{process_id}/statm").read_text().split()[1])
    total, count = pages * os.sysconf("SC_PAGE_SIZE"), 1
    for child in children_of(process_id):
        more, others = memory_below(child)
        total, count = total + more, count + others
    return total, count


if __name__ == "__main__":
    main()
