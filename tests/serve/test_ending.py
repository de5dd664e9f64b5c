"""The end of the process comes in time, whatever hangs in it, and says what it left."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

HANGING = """
import logging, sys, threading
from clipworks.serve.ending import leave, leave_within
logging.basicConfig()
threading.Thread(target=threading.Event().wait, name="a call").start()
print("begun", end="")
{end}
"""

HANGING_MODEL = """
import sys, threading
from clipworks.cli.serve import run_and_leave
from clipworks.serve.app import run
from clipworks.serve.fleet import fleet_of_engines
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ColourEngine

class Hanging(ColourEngine):
    def embed_texts(self, texts, *, batch_size=64):
        print("working", flush=True)
        threading.Event().wait()

settings = ServeSettings(port=0, drain_seconds=0.1, shutdown_seconds=0.5)
fleet = fleet_of_engines(settings, {"colours": Hanging()})
run_and_leave(fleet, lambda: run(settings, fleet, on_ready=lambda address: print(address, flush=True)))
"""


@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        ("leave(())", 0, ""),
        ("leave((), 130)", 130, ""),
        ("leave(['a call of m'])", 1, "ends without having finished: a call of m."),
        ("leave_within(0.05)", 1, "ends without having finished: MainThread, a call."),
    ],
)
def test_a_thread_that_hangs_does_not_hold_up_the_end(end: str, status: int, words: str) -> None:
    command = [sys.executable, "-c", HANGING.format(end=end)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (status, "begun"), done.stderr
    assert words in done.stderr and bool(words) == bool(done.stderr)


@pytest.mark.slow
def test_a_call_of_a_model_that_never_returns_is_given_up_and_named() -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HANGING_MODEL], cwd=ROOT, text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        asking = [
            sys.executable,
            "-c",
            f"import httpx2; httpx2.post('{address}/v1/embeddings', json={{'input': 'a'}})",
        ]
        with subprocess.Popen(asking, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
            assert process.stdout.readline() == "working\n"
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
            assert time.monotonic() - started < 12
            client.wait(timeout=60)
    assert process.returncode == 1
    assert "ends without having finished: a call of colours texts." in errors
