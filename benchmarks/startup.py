"""How long starting takes and how large the demo environment is; writes benchmarks/results/startup.json.

The demo is measured as a stranger meets it: the files of this clone are copied to an empty folder,
`make demo` runs there without pip's cache, and the clock stops when the first request for a vector has
been answered. Needs the package registry once.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, summarise, write_result

STARTS = 11
DEMO_STARTS = 3
DEMO_TIMEOUT_SECONDS = 600
IMPORT = "import time; start = time.perf_counter(); import clipworks; print(time.perf_counter() - start)"


def main() -> None:
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="clipworks-startup-") as folder:
        clone = Path(folder) / "clipworks"
        _copy_clone(clone)
        results["demo_first_start"] = summarise([_demo_seconds(clone)], "s")
        results["demo_next_start"] = summarise([_demo_seconds(clone) for _ in range(DEMO_STARTS)], "s")
        programs = clone / ".venv-demo" / "bin"
        results["demo_environment"] = _environment(clone / ".venv-demo")
        results["import_clipworks"] = summarise([_import_ms(programs) for _ in range(STARTS)], "ms")
        results["clipworks_help"] = summarise([_help_ms(programs) for _ in range(STARTS)], "ms")
    write_result("startup", results)


def _import_ms(programs: Path) -> float:
    done = subprocess.run([programs / "python", "-c", IMPORT], capture_output=True, text=True, check=True)
    return float(done.stdout) * 1000


def _help_ms(programs: Path) -> float:
    start = time.perf_counter()
    subprocess.run([programs / "clipworks", "--help"], stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - start) * 1000


def _copy_clone(target: Path) -> None:
    """Copy what git tracks or would track, as a fresh clone has it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def _demo_seconds(clone: Path) -> float:
    """Seconds from `make demo` to the answer to the first request for a vector."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PIP_NO_CACHE_DIR": "1"}
    start = time.perf_counter()
    with subprocess.Popen(
        ["make", "demo", f"ARGS=--port {port}"],
        cwd=clone,
        env=environment,
        stdout=sys.stderr,
        start_new_session=True,
    ) as process:
        try:
            while not _is_answered(port):
                if process.poll() is not None or time.perf_counter() - start > DEMO_TIMEOUT_SECONDS:
                    sys.exit("make demo ended or did not answer; its messages stand above.")
                time.sleep(0.02)
            return time.perf_counter() - start
        finally:
            os.killpg(process.pid, signal.SIGINT)


def _is_answered(port: int) -> bool:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/embeddings",
        data=json.dumps({"model": "pictogram", "input": ["a dog"]}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return bool(json.load(response)["data"])
    except (urllib.error.URLError, ConnectionError):
        return False


def _environment(folder: Path) -> dict[str, Any]:
    """Size on disk and whether torch is in it."""
    kilobytes = subprocess.run(
        ["du", "-sk", folder], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    program = "import importlib.util; print(importlib.util.find_spec('torch') is not None)"
    python = folder / "bin" / "python"
    answer = subprocess.run(
        [python, "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()
    return {"unit": "MB", "installed": round(int(kilobytes) / 1024), "has_torch": answer == "True"}


if __name__ == "__main__":
    main()
