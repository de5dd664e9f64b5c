"""Published data are fetched at the pinned revision from a small Hub on the loopback address, and checked."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from evaluation_sets import labelled, write_set

from clipworks.evaluate.tasks import find_task

pytestmark = pytest.mark.slow

TASK = find_task("cifar10")
COMMIT = f"{TASK.revision}{'0' * 33}"
FETCH = (
    "import sys; from pathlib import Path\n"
    "from clipworks.evaluate.hub import fetch\n"
    "from clipworks.evaluate.tasks import find_task\n"
    "print(fetch(find_task(sys.argv[1]), Path(sys.argv[2]), show=print))\n"
)


class Hub(BaseHTTPRequestHandler):
    """Answers for one data set."""

    folder: Path
    asked: list[str]
    lies: Path

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        name = path.partition(f"/resolve/{COMMIT}/")[2]
        if "/api/" in path:
            self.send(json.dumps(self.listed(path)).encode(), with_body, "application/json")
        elif name and (self.folder / name).is_file():
            self.send((self.folder / name).read_bytes(), with_body, "application/octet-stream")
        else:
            self.send_error(404)

    def listed(self, path: str) -> object:
        if "/commits/" in path:
            date = "2023-01-21T00:00:00.000Z"
            return [{"id": COMMIT, "title": "x", "message": "", "authors": [], "date": date}]
        files = sorted(p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file())
        return {"id": TASK.repo, "sha": COMMIT, "siblings": [self.described(name) for name in files]}

    def described(self, name: str) -> dict[str, object]:
        data = (self.folder / name).read_bytes()
        lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        if self.lies.exists() and name.endswith("1.tar"):
            lfs["sha256"] = "0" * 64
        return {"rfilename": name, "size": len(data), **({"lfs": lfs} if name.endswith(".tar") else {})}

    def send(self, data: bytes, with_body: bool, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Address of a Hub with one data set, its folder, and the paths that were asked for."""
    folder = write_set(tmp_path / "hub", labelled(6, 10), per_shard=3)
    asked: list[str] = []
    handler = type("Handler", (Hub,), {"folder": folder, "asked": asked, "lies": tmp_path / "lies"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder, asked
    server.shutdown()
    server.server_close()
    thread.join()


def fetch(address: str, home: Path, task: str, data: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: huggingface_hub reads its settings when it is imported."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"HF_HOME": str(home), "HF_ENDPOINT": address, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-W", "ignore", "-c", FETCH, task, str(data)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_data_set_is_fetched_once_at_its_revision_and_every_shard_is_checked(
    hub: tuple[str, Path, list[str]], tmp_path: Path
) -> None:
    address, folder, asked = hub
    done = fetch(address, tmp_path / "home", "cifar10", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["test/0.tar", "test/1.tar", str(tmp_path / "data" / "wds_cifar10_test")]
    for name in ("test/0.tar", "test/1.tar", "test/nshards.txt"):
        assert (tmp_path / "data" / "wds_cifar10_test" / name).read_bytes() == (folder / name).read_bytes()
    asked.clear()
    assert fetch(address, tmp_path / "home", "cifar10", tmp_path / "data").returncode == 0
    assert not [path for path in asked if path.endswith(".tar")]


def test_a_shard_with_another_hash_is_removed(hub: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    (tmp_path / "lies").touch()
    done = fetch(hub[0], tmp_path / "home", "cifar10", tmp_path / "data")
    assert "1.tar has the sha256" in done.stderr and "DataError" in done.stderr
    assert not (tmp_path / "data" / "wds_cifar10_test" / "test" / "1.tar").exists()


def test_what_cannot_be_fetched_is_said(hub: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    assert "are not on the Hub" in fetch(hub[0], tmp_path / "home", "fashion_mnist", tmp_path).stderr
    assert "has no commit" in fetch(hub[0], tmp_path / "home", "mnist", tmp_path).stderr
    nowhere = fetch("http://127.0.0.1:9", tmp_path / "home", "cifar10", tmp_path)
    assert "NetError" in nowhere.stderr and "could not be fetched" in nowhere.stderr
