"""Fetching from a web of which most is dead or slow, beside img2dataset: `fetch` in results/curation.json.

One loopback server (tests/picture_web.py) stands behind 10,000 hosts, about one for each row as in a
shuffled list of the web. Both programs get the same rows,
the same timeouts and two picture processes, and make webdataset shards as DataComp's were made (longer
side at most 512, files that need no change kept). img2dataset asks for
http://127.x.y.z, clipworks for names that its own resolver leads to the same addresses; it asks for
robots.txt and tdmrep.json as well. img2dataset is installed in an environment of its own:

    python -m venv /tmp/i2d && /tmp/i2d/bin/pip install img2dataset
    python -m benchmarks.curation_fetch --peer /tmp/i2d/bin/python [--rows 10000] [--endless] [--memory]
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Any

from benchmarks.machine import RESULTS, ROOT, write_result

NUM_HOSTS = 10_000
TIMEOUT_SECONDS = 10
PORT = 9931
PROCESSES = 2
FINISH_SECONDS = 90

MIX = {
    "ok": 42,
    "missing": 13,
    "dead": 10,
    "refused": 6,
    "hang": 15,
    "slow/25": 7,
    "drip/12": 7,
}
"""What an address gives, percent: 29 are dead, 29 slow. A `drip` is 12 s long, so that the peer can end."""

PEER = """
import sys
from img2dataset import download
if __name__ == "__main__":
    source, out, rows = sys.argv[1:]
    download(url_list=source, output_folder=out, input_format="csv", url_col="url", caption_col="caption",
        output_format="webdataset", processes_count={processes}, thread_count=256, image_size=512,
        resize_mode="keep_ratio_largest", resize_only_if_bigger=True, skip_reencode=True, encode_quality=95,
        timeout={timeout}, retries=0, number_sample_per_shard=int(rows), compute_hash="sha256",
        user_agent_token="benchmark")
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", type=Path, help="Python of an environment with img2dataset.")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--endless", action="store_true", help="Only see who ends where bodies do not.")
    parser.add_argument("--memory", action="store_true", help="Measure memory at 1k, 100k and 1M rows.")
    parser.add_argument("--role", choices=("ours", "ours-memory"), help="Used by this program itself.")
    parser.add_argument("paths", nargs="*", type=Path)
    options = parser.parse_args()
    if options.role:
        _fetch(options.paths[0], options.paths[1], options.role, options.rows)
        return
    found = json.loads(_results().read_text())["results"] if _results().exists() else {}
    results: dict[str, Any] = found.get("fetch", {})
    with tempfile.TemporaryDirectory(prefix="clipworks-fetch-") as folder, _Server():
        if options.peer and options.endless:
            results["endless"] = _finish(Path(folder), options.peer)
        elif options.peer:
            results["speed"] = _compare(Path(folder), options.peer, options.rows, options.repeats)
        if options.memory:
            results["memory"] = _memory(Path(folder))
    write_result("curation", {**found, "fetch": results})


def _results() -> Path:
    return RESULTS / "curation.json"


class _Server:
    """The server in a process of its own."""

    def __enter__(self) -> None:
        program = [sys.executable, str(ROOT / "tests" / "picture_web.py"), str(PORT)]
        self.process = subprocess.Popen(program, env={**os.environ, "PYTHONPATH": str(ROOT)})
        time.sleep(3)

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def write_rows(path: Path, kinds: Sequence[str], *, is_peer: bool) -> None:
    """A csv of addresses, one for each kind, spread over the hosts."""
    draw = random.Random(5)
    with path.open("w", encoding="utf-8") as file:
        file.write("url,caption\n")
        for number, kind in enumerate(kinds):
            host = draw.randrange(NUM_HOSTS)
            name = f"127.1.{host // 200}.{1 + host % 200}" if is_peer else f"h{host}.example"
            port = PORT if is_peer else 8080
            if kind == "dead":
                name = f"dead{host}.invalid"
            elif kind == "refused":
                name, port = (name, 1) if is_peer else (f"refused{host}.example", 8080)
            file.write(f"http://{name}:{port}/{kind}/{number}.jpg,a picture with number {number}\n")


def _kinds(rows: int, mix: dict[str, int]) -> list[str]:
    draw = random.Random(3)
    return draw.choices(list(mix), list(mix.values()), k=rows)


def _compare(folder: Path, peer: Path, rows: int, repeats: int) -> dict[str, Any]:
    """Both in turn, each with everything made anew."""
    kinds = _kinds(rows, MIX)
    runs: dict[str, list[dict[str, float]]] = {"clipworks": [], "img2dataset": []}
    for _ in range(repeats):
        for name in runs:
            out = folder / "out"
            source = folder / "rows.csv"
            write_rows(source, kinds, is_peer=name == "img2dataset")
            command = _command(name, peer, source, out, rows // 4)
            started = time.perf_counter()
            with _Watched(command) as watched:
                watched.process.wait()
            seconds = time.perf_counter() - started
            completed = _completed(out)
            runs[name].append(
                {
                    "pictures": completed,
                    "seconds": round(seconds, 1),
                    "pictures_per_s": round(completed / seconds, 1),
                    "peak_mb": watched.peak_mb,
                }
            )
            print(name, runs[name][-1], file=sys.stderr)
            shutil.rmtree(out)
    best = {name: max(run["pictures_per_s"] for run in each) for name, each in runs.items()}
    return {
        "rows": rows,
        "mix_percent": MIX,
        "timeout_s": TIMEOUT_SECONDS,
        "processes": PROCESSES,
        "runs": runs,
        "unit": "completed pictures/s",
        "ratio": round(best["clipworks"] / best["img2dataset"], 2),
    }


def _finish(folder: Path, peer: Path) -> dict[str, Any]:
    """With a few bodies that never end, and drips of an hour: who ends?"""
    kinds = _kinds(960, {"ok": 90, "drip/18000": 5, "endless": 5})
    result: dict[str, Any] = {"rows": len(kinds), "limit_s": FINISH_SECONDS}
    for name in ("clipworks", "img2dataset"):
        out, source = folder / "out", folder / "rows.csv"
        write_rows(source, kinds, is_peer=name == "img2dataset")
        started = time.perf_counter()
        with _Watched(_command(name, peer, source, out, 240), most_mb=6000) as watched:
            try:
                watched.process.wait(FINISH_SECONDS)
            except subprocess.TimeoutExpired:
                pass
            is_done = watched.process.poll() == 0
        result[name] = {
            "finished": is_done,
            "seconds": round(time.perf_counter() - started, 1),
            "peak_mb": watched.peak_mb,
        }
        shutil.rmtree(out, ignore_errors=True)
    return result


def _memory(folder: Path) -> dict[str, Any]:
    """The same shards of 10,000 rows, more of them: 2 % live pictures, the rest dead names."""
    peaks = {}
    for rows in (1_000, 100_000, 1_000_000):
        source, out = folder / "rows.csv", folder / "out"
        write_rows(source, _kinds(rows, {"ok": 2, "dead": 98}), is_peer=False)
        command = _command("clipworks", Path(), source, out, 1_000, role="ours-memory")
        started = time.perf_counter()
        with _Watched(command) as watched:
            watched.process.wait()
        seconds = time.perf_counter() - started
        peaks[str(rows)] = {"peak_mb": watched.peak_mb, "seconds": round(seconds, 1)}
        print(rows, peaks[str(rows)], file=sys.stderr)
        shutil.rmtree(out)
    least = min(one["peak_mb"] for one in peaks.values())
    most = max(one["peak_mb"] for one in peaks.values())
    return {"unit": "MB, all processes", "peaks": peaks, "spread": round(most / least - 1, 3)}


def _command(
    name: str, peer: Path, source: Path, out: Path, rows_per_shard: int, role: str = "ours"
) -> list[str]:
    if name == "clipworks":
        words = [sys.executable, "-m", "benchmarks.curation_fetch", "--role", role]
        return [*words, "--rows", str(rows_per_shard), str(source), str(out)]
    program = source.with_name("peer.py")
    program.write_text(PEER.format(processes=PROCESSES, timeout=TIMEOUT_SECONDS), encoding="utf-8")
    return [str(peer), str(program), str(source), str(out), str(rows_per_shard)]


class _Watched:
    """A program in a group of its own; remembers the most memory that all its processes had together."""

    def __init__(self, command: Sequence[str], most_mb: int = 0) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "disabled"}
        environment["NO_ALBUMENTATIONS_UPDATE"] = "1"
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, start_new_session=True, stdout=subprocess.DEVNULL
        )
        self.peak_mb = 0
        self._most_mb = most_mb
        self._done = Event()
        self._thread = Thread(target=self._watch)

    def __enter__(self) -> "_Watched":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._end()

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            mb = sum(_rss_mb(process) for process in _group(self.process.pid))
            self.peak_mb = max(self.peak_mb, round(mb))
            if self._most_mb and mb > self._most_mb:
                self._end()

    def _end(self) -> None:
        for process in _group(self.process.pid):
            try:
                os.kill(process, 9)
            except ProcessLookupError:
                pass
        self.process.wait()


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


def _completed(out: Path) -> int:
    return sum(int(json.loads(path.read_text())["successes"]) for path in out.glob("*_stats.json"))


def _fetch(source: Path, out: Path, role: str, rows_per_shard: int) -> None:
    from clipworks.collect.fetch import FetchJob, Wires, fetch_images
    from clipworks.collect.lists import find_list
    from clipworks.collect.settings import FetchConfig, with_fetch_settings

    async def resolve(host: str, port: int) -> list[str]:
        if host.startswith("dead"):
            raise OSError("no such name")
        number = int(host.partition(".")[0].lstrip("hrefusd"))
        is_refused = host.startswith("refused")
        return [f"{9 if is_refused else 8}.1.{number // 200}.{1 + number % 200}"]

    def route(address: str, port: int) -> tuple[str, int]:
        return "127" + address[1:], 1 if address.startswith("9") else PORT

    config = with_fetch_settings(
        FetchConfig(),
        [
            f"rows_per_shard={rows_per_shard}",
            f"connect_seconds={TIMEOUT_SECONDS}",
            f"read_seconds={TIMEOUT_SECONDS}",
            f"total_seconds={TIMEOUT_SECONDS}",
            "image_size=512",
            "resize_mode=keep_ratio_largest",
        ],
    )
    wires = Wires(resolve=resolve, route=route)
    job = FetchJob(links=find_list(source))
    fetch_images(job, out, config, workers=PROCESSES if role == "ours" else 1, wires=wires)


if __name__ == "__main__":
    main()
