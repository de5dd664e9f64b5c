"""`clipworks demo` as a real process."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest


@pytest.mark.slow
def test_the_demo_takes_the_next_free_port_and_prints_commands_that_work() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "clipworks", "demo", "--port", str(port)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            assert process.stderr.readline().startswith(f"Port {port} is taken; using ")
            lines = iter(process.stdout.readline, "")
            address = next(line.strip() for line in lines if line.strip().startswith("http://"))
            curl = [line for _, line in zip(range(5), lines, strict=False)]
            assert any(f"curl {address}/v1/embeddings" in line for line in curl)
            with urllib.request.urlopen(f"{address}/?q=a+dog", timeout=30) as response:
                assert "dog" in response.read().decode()
            body = json.dumps({"model": "pictogram", "input": ["a dog"]}).encode()
            request = urllib.request.Request(
                f"{address}/v1/embeddings", body, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=30) as response:
                assert len(json.load(response)["data"]) == 1
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in errors
