"""Fetching from a web of which most is dead or slow, beside img2dataset; benchmarks/results/fetching.json.

Both programs get the same list, the same timeouts, as many picture processes as there are cores, names that
are resolved in no time, and make webdataset shards as DataComp's were made (longer side at most 512, files
that need no change kept). clipworks asks each host for robots.txt and tdmrep.json as well. The server of
`fetching_web.py` is a process of its own. Ways take turns; a ratio is taken round by round, of completed
pictures by the seconds from the beginning of the first shard to the end of the last, so that the start of
either program does not count. img2dataset is installed in an environment of its own:

    python -m venv /tmp/i2d && /tmp/i2d/bin/pip install img2dataset
    python -m benchmarks.fetching speed endless memory --peer /tmp/i2d/bin/python [--rows 20000]

`--ways` measures some of them, `--add` keeps the rounds that are there, on a machine that others need, too.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import Any

from benchmarks.fetching_web import MIX, write_rows
from benchmarks.machine import RESULTS, ROOT, write_result

SERVER_PORT = 9931
TIMEOUT_SECONDS = 10
"""For each socket, which is all that img2dataset has; for clipworks also for the whole address."""
PROCESSES = 2
FINISH_SECONDS = 60
ROWS_OF_MEMORY = (1_000, 100_000, 1_000_000)

WAYS: Mapping[str, int] = {"clipworks": 0, "img2dataset": 256, "img2dataset 1024": 1024}
"""Way -> threads of each of img2dataset's processes; 256 is its default."""

PEER = """
import socket
import sys
from benchmarks.fetching_web import PORT, place_of

connect = socket.create_connection
def connected(address, *args, **kwargs):
    host, port = address
    return connect((place_of(host), {server} if port == PORT else 1), *args, **kwargs)
socket.create_connection = connected

if __name__ == "__main__":
    from img2dataset import download
    source, out, rows, threads = sys.argv[1:]
    download(url_list=source, output_folder=out, input_format="csv", url_col="url", caption_col="caption",
        output_format="webdataset", processes_count={processes}, thread_count=int(threads), image_size=512,
        resize_mode="keep_ratio_largest", resize_only_if_bigger=True, skip_reencode=True, encode_quality=95,
        timeout={timeout}, retries=0, number_sample_per_shard=int(rows), compute_hash="sha256",
        user_agent_token="benchmark")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Time fetching beside img2dataset.")
    parser.add_argument("modes", nargs="+", choices=("speed", "endless", "memory"))
    parser.add_argument("--peer", type=Path, help="Python of an environment with img2dataset.")
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=("clipworks", "img2dataset"))
    parser.add_argument("--rows", type=int, default=20_000, help="of the list, for speed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--add", action="store_true", help="to the rounds that are there")
    parser.add_argument("--settings", nargs="*", default=(), help="of clipworks, NAME=VALUE")
    options = parser.parse_args()
    path = RESULTS / "fetching.json"
    results: dict[str, Any] = json.loads(path.read_text())["results"] if path.is_file() else {}
    measures: Mapping[str, Callable[[Path, argparse.Namespace, dict[str, Any]], dict[str, Any]]] = {
        "speed": _speed,
        "endless": _endless,
        "memory": _memory,
    }
    for mode in options.modes:
        with tempfile.TemporaryDirectory(prefix="clipworks-fetch-") as folder, _server() as server:
            options.server = server
            results[mode] = measures[mode](Path(folder), options, results.get(mode, {}))
        write_result("fetching", results)


def _speed(folder: Path, options: argparse.Namespace, found: dict[str, Any]) -> dict[str, Any]:
    """Ways in turn, each with everything made anew."""
    source = folder / "rows.csv"
    write_rows(source, options.rows)
    runs: dict[str, list[dict[str, Any]]] = found.get("runs", {}) if options.add else {}
    for _ in range(options.rounds):
        for way in options.ways:
            out = folder / "out"
            command = _command(way, options, source, out, options.rows // PROCESSES)
            busy = _cpu_seconds(options.server)
            with _Watched(command) as watched:
                watched.process.wait()
            run = {**_completed(out), **watched.found(), "server_cpu_s": 0.0}
            run["server_cpu_s"] = round(_cpu_seconds(options.server) - busy, 1)
            runs.setdefault(way, []).append(run)
            print(way, run, file=sys.stderr)
            shutil.rmtree(out)
    return {
        "rows": options.rows,
        "mix_percent": dict(MIX),
        "timeout_s": TIMEOUT_SECONDS,
        "processes": PROCESSES,
        "runs": runs,
        "ratio_of_pictures_per_s": _ratios(runs),
    }


def _ratios(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """clipworks by each other way: round by round, their median and their spread."""
    found = {}
    for way in runs:
        if way != "clipworks" and runs.get("clipworks"):
            pairs = zip(runs["clipworks"], runs[way], strict=False)
            ratios = sorted(ours["pictures_per_s"] / theirs["pictures_per_s"] for ours, theirs in pairs)
            found[way] = {
                "n": len(ratios),
                "median": round(median(ratios), 2),
                "from": round(ratios[0], 2),
                "to": round(ratios[-1], 2),
            }
    return found


def _endless(folder: Path, options: argparse.Namespace, _: dict[str, Any]) -> dict[str, Any]:
    """With a few bodies that never end, and drips of an hour: who ends?"""
    source = folder / "rows.csv"
    write_rows(source, 960, {"ok": 90, "long": 5, "endless": 5})
    result: dict[str, Any] = {"rows": 960, "limit_s": FINISH_SECONDS}
    for way in options.ways:
        out = folder / "out"
        with _Watched(_command(way, options, source, out, 240), most_mb=6000) as watched:
            try:
                watched.process.wait(FINISH_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            is_done = watched.process.poll() == 0
        result[way] = {"finished": is_done, **watched.found()}
        shutil.rmtree(out, ignore_errors=True)
    return result


def _memory(folder: Path, options: argparse.Namespace, _: dict[str, Any]) -> dict[str, Any]:
    """Shards of 1,000 rows, more and more of them: 2 % live pictures, the rest dead names."""
    peaks = {}
    for rows in ROWS_OF_MEMORY:
        source, out = folder / "rows.csv", folder / "out"
        write_rows(source, rows, {"ok": 2, "dead": 98})
        with _Watched(_command("clipworks", options, source, out, 1_000, workers=1)) as watched:
            watched.process.wait()
        peaks[str(rows)] = watched.found()
        print(rows, peaks[str(rows)], file=sys.stderr)
        shutil.rmtree(out)
    found = [one["peak_mb"] for one in peaks.values()]
    return {
        "unit": "MB, RSS of all processes",
        "peaks": peaks,
        "spread": round(max(found) / min(found) - 1, 3),
    }


def _command(
    way: str, options: argparse.Namespace, source: Path, out: Path, rows: int, workers: int = PROCESSES
) -> list[str]:
    """What is run; shards have at most 10,000 rows, which is img2dataset's default, too."""
    rows = min(rows, 10_000)
    if way != "clipworks":
        program = source.with_name("peer.py")
        text = PEER.format(server=SERVER_PORT, processes=PROCESSES, timeout=TIMEOUT_SECONDS)
        program.write_text(text, encoding="utf-8")
        return [str(options.peer), str(program), str(source), str(out), str(rows), str(WAYS[way])]
    words = [sys.executable, "-m", "benchmarks.fetching_ours", str(source), str(out), str(SERVER_PORT)]
    settings = [f"{name}_seconds={TIMEOUT_SECONDS}" for name in ("connect", "read", "total")]
    settings += [f"rows_per_shard={rows}", "image_size=512", "resize_mode=keep_ratio_largest"]
    return [*words, str(workers), *settings, *options.settings]


@contextmanager
def _server() -> Iterator[int]:
    """The server in a process of its own, while the block runs; its number."""
    command = [sys.executable, "-m", "benchmarks.fetching_web", str(SERVER_PORT)]
    with subprocess.Popen(command, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == b"ready\n"
            yield process.pid
        finally:
            process.kill()


class _Watched:
    """A program in a group of its own: its seconds, and the most memory of all its processes together."""

    def __init__(self, command: Sequence[str], most_mb: int = 0) -> None:
        self._begun = time.perf_counter()
        self._cpu = os.times()
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=_environment(), start_new_session=True, stdout=subprocess.DEVNULL
        )
        self._peak_mb = 0
        self._most_mb = most_mb
        self._seconds = self._cpu_seconds = 0.0
        self._done = Event()
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> "_Watched":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._seconds = time.perf_counter() - self._begun
        self._done.set()
        self._thread.join()
        self._end()
        now = os.times()
        self._cpu_seconds = sum(now[2:4]) - sum(self._cpu[2:4])

    def found(self) -> dict[str, Any]:
        """What was seen: from start to end, the work of its processors, and memory."""
        return {
            "whole_s": round(self._seconds, 1),
            "cpu_s": round(self._cpu_seconds, 1),
            "peak_mb": self._peak_mb,
        }

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            mb = sum(_rss_mb(process) for process in _group(self.process.pid))
            self._peak_mb = max(self._peak_mb, round(mb))
            if self._most_mb and mb > self._most_mb:
                self._end()

    def _end(self) -> None:
        for process in _group(self.process.pid):
            try:
                os.kill(process, 9)
            except ProcessLookupError:
                pass
        self.process.wait()


def _environment() -> dict[str, str]:
    wanted = {"PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled", "NO_ALBUMENTATIONS_UPDATE": "1"}
    return {**os.environ, **wanted}


def _group(leader: int) -> list[int]:
    """The processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader:
                found.append(int(entry.name))
    return found


def _rss_mb(process: int) -> float:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _completed(out: Path) -> dict[str, Any]:
    """Pictures, and the seconds from the beginning of the first shard to the end of the last."""
    shards = [json.loads(path.read_text()) for path in out.glob("*_stats.json")]
    pictures = sum(int(one["successes"]) for one in shards)
    seconds = max(one["end_time"] for one in shards) - min(one["start_time"] for one in shards)
    return {
        "pictures": pictures,
        "seconds": round(seconds, 1),
        "pictures_per_s": round(pictures / seconds, 1),
    }


if __name__ == "__main__":
    main()
