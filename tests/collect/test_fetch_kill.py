import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from picture_web import running_pictures

from clipworks.files import is_complete

PROGRAM = Path(__file__).with_name("fetch_program.py")
ROOT = PROGRAM.parent.parent.parent


def started(source: Path, out: Path, port: int) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(PROGRAM), str(source), str(out), str(port)]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def hashes(folder: Path) -> dict[str, str]:
    """Name -> hash of everything but the statistics, which tell how long it took."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith("_stats.json")
    }


def processes_of(session: int) -> list[str]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(stat.parent.name)
    return found


@pytest.mark.slow
def test_a_fetch_that_is_killed_ten_times_ends_with_the_same_bytes(tmp_path: Path) -> None:
    with running_pictures() as web:
        source = tmp_path / "list.csv"
        kinds = ["ok", "ok", "ok", "missing", "noai", "slow/0.05", "cut", "broken"]
        lines = [f"http://h{i % 60}.example/{kinds[i % 8]}/{i}.jpg,Text {i}" for i in range(300)]
        lines += [f"http://dead{i}.example/ok/{i},Dead {i}" for i in range(20)]
        source.write_text("\n".join(["url,caption", *lines, ""]))
        whole = tmp_path / "whole"
        begun = time.monotonic()
        assert started(source, whole, web.port).wait(120) == 0
        seconds = time.monotonic() - begun

        draw = random.Random(7)
        broken = tmp_path / "broken"
        for _ in range(10):
            process = started(source, broken, web.port)
            try:
                process.wait(draw.uniform(0.1, 0.9) * seconds)
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
            deadline = time.monotonic() + 20
            while processes_of(process.pid):  # what it began ends by itself
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert started(source, broken, web.port).wait(120) == 0
        assert is_complete(broken) and hashes(broken) == hashes(whole)
        manifest = json.loads((whole / "manifest.json").read_text())
        assert manifest["rows"] == 320 and len(manifest["parts"]) == 16
        assert not [path.name for path in broken.iterdir() if path.name.endswith(".part")]
