"""`clipworks serve --ray` for real: two replicas, accounts in PostgreSQL, and an end that leaves nothing."""

import importlib.util
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner
from tiny_clip import TinyClip

from clipworks.cli import main
from clipworks.errors import ConfigError
from clipworks.serve.database import open_database
from clipworks.serve.settings import ServeSettings
from tests.serve.cluster import new_database
from tests.serve.paying import TEXT_COST, assert_books_agree, balance, bearer, new_key

ROOT = Path(__file__).parent.parent.parent
NEEDS_RAY = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason='needs Ray: pip install "clipworks[ray]"'
)


def test_without_ray_its_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "clipworks.serve.replicas", raising=False)
    for name in (
        "RAY_USAGE_STATS_ENABLED",
        "RAY_DEDUP_LOGS",
        "RAY_COLOR_PREFIX",
        "RAY_AUTH_MODE",
        "RAY_worker_niceness",
    ):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0")
    result = CliRunner().invoke(main, ["serve", "--ray"])
    assert result.exit_code == 1 and 'pip install "clipworks[ray]"' in result.output


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"require_keys": True}, "database is SQLite"),
        ({"metrics_port": 9464}, "metrics_port"),
        ({"min_replicas": 3}, "min_replicas is 3"),
        ({"max_replicas": 0}, "max_replicas is 0"),
        ({"memory_budget_bytes": 1}, "share one memory"),
    ],
)
def test_settings_that_replicas_cannot_have_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ServeSettings(workers="ray", **given)
    ServeSettings(workers="ray", require_keys=True, max_replicas=1)
    ServeSettings(workers="ray", require_keys=True, database="postgresql+psycopg://u@h/d")


def descendants(process: int) -> list[int]:
    """Every process below this one."""
    try:
        tasks = list(Path(f"/proc/{process}/task").iterdir())
        children = {int(one) for task in tasks for one in (task / "children").read_text().split()}
    except OSError:
        return []
    return [below for child in children for below in (child, *descendants(child))]


@contextmanager
def running(model: str, folder: Path, **settings: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Address and process of a server with two replicas; what it logs is in `folder / "log"`."""
    command = [sys.executable, "-m", "clipworks", "serve", "--ray", "--model", model, "--port", "0"]
    environment = {**os.environ, **settings, "TMPDIR": str(folder / "t"), "CLIPWORKS_MIN_REPLICAS": "2"}
    (folder / "t").mkdir()
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("Serving "), (folder / "log").read_text()[-3000:]
            yield line.split()[-1], process
        finally:
            process.kill()


def end(process: "subprocess.Popen[str]", how: signal.Signals) -> int:
    """Stop the server; fails where a process of it is still there later: after SIGKILL Ray takes a minute."""
    watched = [os.pidfd_open(one) for one in descendants(process.pid)]
    assert len(watched) >= 6, "Ray's own processes, the controller, the proxy and two replicas"
    process.send_signal(how)
    status = process.wait(90)
    for one in watched:
        assert select.select([one], [], [], 120)[0], "a process outlives its server"
        os.close(one)
    return status


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a name that is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@NEEDS_RAY
@pytest.mark.slow
def test_two_replicas_share_accounts_and_end_with_their_server(
    tiny_clip: TinyClip, short: Path, postgres: str
) -> None:
    place = new_database(postgres)
    database = open_database(place)
    _, secret = new_key(database)
    before = balance(database)
    settings = {"CLIPWORKS_REQUIRE_KEYS": "1", "CLIPWORKS_DATABASE": place}
    with running(tiny_clip.native, short, **settings) as (address, process):

        def ask(text: str, **more: str) -> httpx2.Response:
            head = {**bearer(secret), **more}
            return httpx2.post(f"{address}/v1/embeddings", json={"input": [text]}, headers=head, timeout=60)

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, [f"text {i}" for i in range(60)]))
        assert {answer.status_code for answer in answers} == {200}
        for _ in range(6):  # whichever replica it meets, it is charged once
            assert ask("again", **{"idempotency-key": "once"}).status_code == 200
        assert httpx2.get(f"{address}/readyz", timeout=30).status_code == 200
        assert httpx2.post(f"{address}/v1/embeddings", json={"input": "x"}, timeout=30).status_code == 401
        log = (short / "log").read_text()
        lines = [line for line in log.splitlines() if "POST /v1/embeddings 200" in line]
        assert len({line.split("pid=")[1].split(")")[0] for line in lines}) == 2
        assert secret not in log
        assert end(process, signal.SIGINT) == 130
    assert before - balance(database) == 61 * TEXT_COST
    assert_books_agree(database)
    database.close()
    assert list((short / "t").glob("clipworks-*")) == []


@NEEDS_RAY
@pytest.mark.slow
def test_nothing_outlives_a_killed_server_of_replicas(tiny_clip: TinyClip, short: Path) -> None:
    with running(tiny_clip.native, short) as (_, process):
        end(process, signal.SIGKILL)
