"""Fetching is tested against a small server on the loopback address that speaks the Hub's protocol."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tiny_clip import TinyClip

from clipworks.errors import ConfigError
from clipworks.model.pull import BUILTIN, public_name, resolve

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tiny_clip_quick: TinyClip, tmp_path: Path) -> Iterator[str]:
    """Address of a Hub with `someone/tiny` (transformers' form) and `someone/empty` (no files)."""
    files = tmp_path / "hub" / "someone" / "tiny"
    shutil.copytree(tiny_clip_quick.folders["hf"], files)
    (tmp_path / "hub" / "someone" / "empty").mkdir()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, *, with_body: bool) -> None:
            repository, _, rest = self.path.strip("/").partition("/resolve/")
            folder, name = tmp_path / "hub" / repository, rest.partition("/")[2]
            if not folder.is_dir() or not (folder / name).is_file():
                self.send_response(404)
                code = "EntryNotFound" if folder.is_dir() else "RepoNotFound"
                self.send_header("X-Error-Code", code)
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = (folder / name).read_bytes()
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if with_body:
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def run(
    code: str, home: Path, endpoint: str, *, is_offline: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own: huggingface_hub reads its settings when it is imported."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": "1" if is_offline else "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


LOAD = (
    "import clipworks\n"
    "engine = clipworks.load('someone/tiny', precision='f32')\n"
    "print(engine.name, engine.config.activation, engine.embed_texts(['a cat']).shape)\n"
)


def test_a_model_is_fetched_once_and_then_needs_no_network(hub: str, tmp_path: Path) -> None:
    online = run(LOAD, tmp_path / "home", hub)
    assert online.stdout == "someone/tiny quick_gelu (1, 32)\n", online.stderr
    for is_offline in (True, False):
        again = run(LOAD, tmp_path / "home", "http://127.0.0.1:9", is_offline=is_offline)
        assert again.stdout == online.stdout, again.stderr


def test_what_cannot_be_fetched_is_one_sentence(hub: str, tmp_path: Path) -> None:
    code = (
        "from clipworks import CheckpointError\n"
        "from clipworks.model.pull import resolve\n"
        "for name in ('someone/nothing', 'someone/empty'):\n"
        "    try:\n"
        "        resolve(name)\n"
        "    except CheckpointError as error:\n"
        "        print(error.message)\n"
    )
    done = run(code, tmp_path / "home", hub)
    first, second = done.stdout.splitlines()
    assert first == "The Hub has no public model 'someone/nothing'."
    assert second.startswith("someone/empty has none of the files open_clip_model.safetensors, ")


@pytest.mark.parametrize("is_offline", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_model_that_is_not_here_without_a_network_says_so(tmp_path: Path, is_offline: bool) -> None:
    code = (
        "import clipworks\n"
        "try:\n"
        "    clipworks.load('openai-b16')\n"
        "except clipworks.CheckpointError as error:\n"
        "    print(error.message)\n"
    )
    done = run(code, tmp_path, "http://127.0.0.1:9", is_offline=is_offline)
    expected = "openai/clip-vit-base-patch16 is not on this machine and the Hub cannot be reached.\n"
    assert done.stdout == expected, done.stderr


def test_the_built_in_model_is_in_the_package() -> None:
    assert resolve("pictogram") == BUILTIN / "pictogram"
    assert public_name("builtin") == "pictogram"


def test_a_path_is_taken_as_it_is(tiny_clip: TinyClip) -> None:
    assert resolve(tiny_clip.native) == tiny_clip.folders["native"]
    assert public_name(tiny_clip.native) == "native"


def test_an_unknown_name_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(ConfigError, match="There is no model named 'pictogramm'. Nearest: pictogram"):
        resolve("pictogramm")


def test_a_hub_model_is_called_by_its_id() -> None:
    assert public_name("laion2b-b32") == "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    assert public_name("someone/tiny") == "someone/tiny"
