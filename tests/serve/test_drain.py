"""SIGTERM: not ready first, requests in work finished, then the end with 0. With a real process."""

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
import sys, time
from clipworks.serve.app import run
from clipworks.serve.fleet import fleet_of_engines
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ColourEngine

class SlowEngine(ColourEngine):
    def embed_texts(self, texts, *, batch_size=64):
        if "slow" in texts:
            print("working", flush=True)
            sys.stdin.readline()
        return super().embed_texts(texts)

settings = ServeSettings(port=0, drain_seconds=float(sys.argv[1]), log_format="json")
fleet = fleet_of_engines(settings, {"colours": SlowEngine()})
run(settings, fleet, on_ready=lambda address: print(address, flush=True))
"""


def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    data = None if body is None else json.dumps(body)
    connection.request(method, path, data, {"content-type": "application/json"})
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end, "it did not come to pass within 30 seconds"


@pytest.mark.slow
def test_a_server_that_is_told_to_stop_is_first_not_ready_then_finishes_its_work_and_ends_well() -> None:
    command = [sys.executable, "-c", PROGRAM, "3"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout is not None and process.stdin is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        assert ask(port, "GET", "/readyz")[0] == 200
        answers: list[tuple[int, bytes]] = []
        worker = threading.Thread(
            target=lambda: answers.append(ask(port, "POST", "/v1/embeddings", {"input": "slow"}))
        )
        worker.start()
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGTERM)
        until(lambda: ask(port, "GET", "/readyz")[0] == 503)
        assert json.loads(ask(port, "GET", "/readyz")[1])["status"] == "stopping"
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as kept:
            kept.request("GET", "/livez")
            assert kept.getresponse().headers["connection"] == "close"
        assert ask(port, "GET", "/livez")[0] == 200
        assert answers == []
        process.stdin.write("go on\n")
        process.stdin.flush()
        worker.join(30)
        assert answers and answers[0][0] == 200
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    rows = [json.loads(line) for line in errors.splitlines()]
    assert {"POST", "GET"} <= {row.get("method") for row in rows} and "Traceback" not in errors


@pytest.mark.slow
def test_a_second_signal_ends_the_drain() -> None:
    command = [sys.executable, "-c", PROGRAM, "600"]
    with subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        process.send_signal(signal.SIGTERM)
        until(lambda: ask(port, "GET", "/readyz")[0] == 503)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
