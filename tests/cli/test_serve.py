"""`clipworks serve` as a real process, and the settings it takes."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.conftest import TinyClip


@contextmanager
def running(*arguments: str | Path) -> "Iterator[subprocess.Popen[str]]":
    """The command as a process, which is not there any more afterwards."""
    command = [sys.executable, "-m", "clipworks", *map(str, arguments)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # else a test that fails would wait for it


@pytest.mark.slow
def test_a_server_says_its_address_answers_and_stops_on_ctrl_c(
    run: Run, folder: Path, tiny_clip: TinyClip
) -> None:
    run("index", folder)
    with running("serve", "--port", "0", "--model", tiny_clip.native, "--index", folder) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Serving native on http://127.0.0.1:")
        address = line.split()[-1]
        with urllib.request.urlopen(f"{address}/v1/models", timeout=30) as response:
            assert [row["id"] for row in json.load(response)["data"]] == ["native"]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors and errors.endswith("Interrupted.\n")


def test_a_taken_port_is_one_sentence(run: Run, tiny_clip: TinyClip) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("serve", "--port", str(port), status=1)
    assert f"port {port}" in result.stderr and "--port" in result.stderr


def test_a_taken_port_for_the_metrics_is_one_sentence(
    run: Run, tiny_clip: TinyClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("CLIPWORKS_METRICS_PORT", str(port))
        result = run("serve", "--port", "0", "--model", tiny_clip.native, status=1)
        said = run("serve", "--port", str(port), status=1).stderr
    assert f"port {port}" in result.stderr and "CLIPWORKS_METRICS_PORT" in result.stderr
    assert "Traceback" not in result.stderr
    assert f"metrics_port and port are both {port}" in said and "--port" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--port", "70000"), "port is 70000"),
        (("--host", "0.0.0.0"), "--insecure"),
        (("--index", "/nowhere"), "/nowhere does not exist"),
    ],
)
def test_wrong_settings_are_said_before_a_model_is_loaded(
    run: Run, arguments: tuple[str, ...], words: str
) -> None:
    assert words in run("serve", *arguments, status=1).stderr


def test_a_wrong_variable_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPWORKS_MAX_IMAGES", "many")
    assert "CLIPWORKS_MAX_IMAGES" in run("serve", status=1).stderr


def test_a_misspelt_variable_is_noted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPWORKS_MAX_IMAGE", "3")
    said = run("serve", "--port", "70000", status=1).stderr
    assert "no setting CLIPWORKS_MAX_IMAGE; is CLIPWORKS_MAX_IMAGES meant?" in said


def test_a_file_of_models_and_a_model_are_not_given_together(run: Run) -> None:
    said = run("serve", "--models", "models.toml", "--model", "pictogram", status=2).stderr
    assert "give one of them" in said


@pytest.mark.parametrize("order", [1, -1])
def test_ray_and_another_place_to_compute_are_not_given_together(run: Run, order: int) -> None:
    flags = [("--ray",), ("--workers", "thread")][::order]
    assert "--workers thread: give one" in run("serve", *flags[0], *flags[1], status=2).stderr


def test_two_models_of_one_name_are_refused(run: Run, tiny_clip: TinyClip, tmp_path: Path) -> None:
    (tmp_path / "native").symlink_to(tiny_clip.native)
    other = tmp_path / "copy" / "native"
    other.mkdir(parents=True)
    for file in Path(tiny_clip.native).iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    result = run("serve", "--model", tiny_clip.native, "--model", other, status=1)
    assert "is served already" in result.stderr


def test_a_file_lists_the_models_and_a_wrong_one_is_said_before_anything_starts(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "models.toml").write_text("[models.pictogram]\nsauce = 1\n")
    assert "Nearest: source" in run("serve", "--models", tmp_path / "models.toml", status=1).stderr


@pytest.mark.parametrize("workers", ["process", "thread"])
def test_a_model_that_cannot_be_loaded_ends_the_server_with_a_sentence(
    run: Run, tmp_path: Path, workers: str
) -> None:
    (tmp_path / "empty").mkdir()
    arguments = ("serve", "--port", "0", "--model", tmp_path / "empty", "--workers", workers)
    result = run(*arguments, status=1)
    assert str(tmp_path / "empty") in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("workers", ["process", "thread"])
@pytest.mark.slow
def test_models_answer_under_the_names_of_their_file(
    tmp_path: Path, tiny_clip: TinyClip, workers: str
) -> None:
    roster = tmp_path / "models.toml"
    roster.write_text(f'[models.mine]\nsource = "{tiny_clip.native}"\nprecision = "f32"\naliases = ["m"]\n')
    with running("serve", "--port", "0", "--models", roster, "--workers", workers) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Serving mine on http://127.0.0.1:")
        body = json.dumps({"model": "m", "input": ["a dog"]}).encode()
        request = urllib.request.Request(
            f"{line.split()[-1]}/v1/embeddings", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            assert json.load(response)["model"] == "mine"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
