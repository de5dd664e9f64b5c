"""The real server under load loses its worker to SIGKILL: only what was in work fails."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from tiny_clip import TinyClip

ROOT = Path(__file__).parent.parent.parent
CLIENTS = 6


@contextmanager
def running(model: str) -> Iterator[tuple[str, int]]:
    """Address and process of a server with one worker process."""
    command = [sys.executable, "-m", "clipworks", "serve", "--model", model, "--port", "0"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("Serving "), line
            yield line.split()[-1], process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def worker_of(server: int) -> int:
    """The server's one child that answers for a model."""
    tasks = Path(f"/proc/{server}/task")
    found = {int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()}
    (child,) = found
    return child


@pytest.mark.slow
def test_a_killed_worker_costs_the_requests_in_work_and_is_replaced_within_five_seconds(
    tiny_clip: TinyClip,
) -> None:
    outcomes: list[tuple[float, int]] = []
    has_warmed, is_over = threading.Event(), threading.Event()

    def ask(address: str) -> None:
        with httpx2.Client(timeout=30) as client:
            while not is_over.is_set():
                answer = client.post(f"{address}/v1/embeddings", json={"input": ["a dog", "a red boat"]})
                outcomes.append((time.monotonic(), answer.status_code))
                if len(outcomes) > 50:
                    has_warmed.set()
                if answer.status_code == 503:
                    assert int(answer.headers["retry-after-ms"]) > 0

    with running(tiny_clip.native) as (address, server):
        threads = [threading.Thread(target=ask, args=(address,)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        assert has_warmed.wait(30)
        first = worker_of(server)
        killed = time.monotonic()
        os.kill(first, signal.SIGKILL)
        while not any(when > killed + 0.2 and status == 200 for when, status in list(outcomes)):
            assert time.monotonic() < killed + 5, "no answer within five seconds"
            has_warmed.wait(0)
        is_over.set()
        for thread in threads:
            thread.join()
        assert worker_of(server) != first
        assert httpx2.get(f"{address}/readyz", timeout=30).status_code == 200
    statuses = [status for _, status in outcomes]
    assert set(statuses) <= {200, 503} and statuses.count(503) <= CLIENTS


@pytest.mark.slow
def test_no_worker_outlives_its_server(tiny_clip: TinyClip) -> None:
    with running(tiny_clip.native) as (_, server):
        worker = worker_of(server)
        watched = os.pidfd_open(worker)
        os.kill(server, signal.SIGKILL)
        assert select.select([watched], [], [], 10)[0]
        os.close(watched)
