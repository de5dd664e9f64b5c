"""The real server under load loses its worker to SIGKILL: only what was in work fails."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
def test_a_killed_worker_costs_the_requests_in_work_and_is_replaced(tiny_clip: TinyClip) -> None:
    """How many seconds it takes is measured by `benchmarks/serving.py --kill`."""
    statuses: list[int] = []
    has_warmed, is_killed, is_back, is_over = (threading.Event() for _ in range(4))

    def ask(address: str) -> None:
        with httpx2.Client(timeout=60) as client:
            while not is_over.is_set():
                was_killed = is_killed.is_set()
                answer = client.post(f"{address}/v1/embeddings", json={"input": ["a dog", "a red boat"]})
                statuses.append(answer.status_code)
                if len(statuses) > 50:
                    has_warmed.set()
                if was_killed and answer.status_code == 200:
                    is_back.set()
                if answer.status_code == 503:
                    assert int(answer.headers["retry-after-ms"]) > 0

    with running(tiny_clip.native) as (address, server), ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(ask, address) for _ in range(CLIENTS)]
        try:
            assert has_warmed.wait(60)
            first = worker_of(server)
            os.kill(first, signal.SIGKILL)
            is_killed.set()
            assert is_back.wait(60)
        finally:
            is_over.set()
        for client in clients:
            client.result()
        assert worker_of(server) != first
        assert httpx2.get(f"{address}/readyz", timeout=60).status_code == 200
    assert set(statuses) <= {200, 503} and statuses.count(503) <= CLIENTS


@pytest.mark.slow
def test_no_worker_outlives_its_server(tiny_clip: TinyClip) -> None:
    with running(tiny_clip.native) as (_, server):
        worker = worker_of(server)
        watched = os.pidfd_open(worker)
        os.kill(server, signal.SIGKILL)
        assert select.select([watched], [], [], 10)[0]
        os.close(watched)
