"""Two real servers behind a third; one of them is killed under load, and comes back with the wrong model."""

import os
import signal
import socket
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

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def running(*arguments: str, **variables: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    command = [sys.executable, "-m", "clipworks", "serve", "--workers", "thread", *arguments]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **variables},
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("Serving "), line
            yield line.split()[-1], process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def write_roster(folder: Path, model: str, ports: list[int], routing: str) -> Path:
    rows = "".join(
        f'{{ name = "up{i}", url = "http://127.0.0.1:{port}/v1", model = "{model}", private = true,'
        " timeout_seconds = 20 },\n"
        for i, port in enumerate(ports)
    )
    path = folder / "models.toml"
    path.write_text(f'[models.gate]\nrouting = "{routing}"\nproviders = [\n{rows}]\n')
    return path


@pytest.mark.parametrize("routing", ["health", "latency"])
def test_no_request_fails_when_a_provider_is_killed_and_it_is_used_again_when_it_is_back(
    tiny_clip: TinyClip, tmp_path: Path, routing: str
) -> None:
    ports = [free_port(), free_port()]
    model = ("--model", tiny_clip.native)
    roster = write_roster(tmp_path, Path(tiny_clip.native).name, ports, routing)
    answers: list[tuple[int, str]] = []
    vectors: set[str] = set()
    is_over = threading.Event()

    def ask(address: str) -> None:
        with httpx2.Client(timeout=60) as client:
            while not is_over.is_set():
                body = {"input": ["a dog"], "encoding_format": "base64"}
                answer = client.post(f"{address}/v1/embeddings", json=body)
                answers.append((answer.status_code, answer.headers.get("x-provider", answer.text)))
                if answer.status_code == 200:
                    vectors.add(answer.json()["data"][0]["embedding"])

    def wait_for(count: int, provider: str) -> None:
        start = len(answers)
        for _ in range(6000):
            if sum(name == provider for _, name in answers[start:]) >= count:
                return
            threading.Event().wait(0.01)
        raise AssertionError(answers[-20:])

    with (
        running(*model, "--port", str(ports[1])),
        running("--models", str(roster), "--port", "0") as (address, _),
        ThreadPoolExecutor(CLIENTS) as pool,
    ):
        with running(*model, "--port", str(ports[0])) as (_, first):
            clients = [pool.submit(ask, address) for _ in range(CLIENTS)]
            try:
                wait_for(30, "up0")
                os.kill(first.pid, signal.SIGKILL)
                wait_for(100, "up1")
            except BaseException:
                is_over.set()
                raise
        try:
            with running(*model, "--port", str(ports[0])):
                wait_for(30, "up0")
                is_over.set()
                for client in clients:
                    client.result()
        finally:
            is_over.set()
    assert {status for status, _ in answers} == {200}, [one for one in answers if one[0] != 200][:5]
    assert len(vectors) == 1, "the same vector, whoever made it"


def test_a_provider_that_comes_back_with_another_checkpoint_is_not_used(
    tiny_clip: TinyClip, tiny_clip_quick: TinyClip, tmp_path: Path
) -> None:
    ports = [free_port(), free_port()]
    roster = write_roster(tmp_path, "native", ports, "health")
    with (
        running("--model", tiny_clip.native, "--port", str(ports[1])),
        running("--models", str(roster), "--port", "0") as (address, _),
        httpx2.Client(timeout=60) as client,
        running("--model", tiny_clip_quick.native, "--port", str(ports[0])),
    ):
        for _ in range(6000):
            states = {
                one["name"]: one["status"]
                for one in client.get(f"{address}/v1/models/gate").json()["providers"]
            }
            if states["up0"] == "refused":
                break
            threading.Event().wait(0.01)
        assert states == {"up0": "refused", "up1": "live"}
        answer = client.post(f"{address}/v1/embeddings", json={"input": "a dog"})
        assert answer.headers["x-provider"] == "up1"


def test_the_engine_here_says_what_the_model_is_and_another_checkpoint_is_refused(
    tiny_clip: TinyClip, tiny_clip_quick: TinyClip, tmp_path: Path
) -> None:
    with running("--model", tiny_clip.native, "--port", "0") as (address, _):
        roster = tmp_path / "models.toml"
        roster.write_text(
            f'[models.gate]\nsource = "{tiny_clip_quick.native}"\n'
            f'providers = [{{ name = "local" }}, {{ name = "up", url = "{address}/v1", '
            'model = "native", private = true }]\n'
        )
        with running("--models", str(roster), "--port", "0") as (gate, _):
            row = httpx2.get(f"{gate}/v1/models/gate", timeout=60).json()
            for _ in range(6000):
                if row["providers"][1]["status"] == "refused":
                    break
                threading.Event().wait(0.01)
                row = httpx2.get(f"{gate}/v1/models/gate", timeout=60).json()
            assert [one["status"] for one in row["providers"]] == ["live", "refused"]
