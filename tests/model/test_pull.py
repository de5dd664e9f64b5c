"""Fetching is tested against a small server on the loopback address that speaks the Hub's protocol."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import safetensors.numpy
from tiny_clip import TinyClip

from clipworks.errors import CheckpointError, ConfigError
from clipworks.model.pull import BUILTIN, public_name, resolve

pytestmark = pytest.mark.slow

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cut_in_parts(folder: Path) -> None:
    """Replace a folder's weights by two files and an index."""
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(sorted(tensors))}
    for part in set(places.values()):
        held = {name: tensors[name] for name in tensors if places[name] == part}
        safetensors.numpy.save_file(held, folder / part)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


@pytest.fixture
def hub(tiny_clip: TinyClip, tiny_clip_quick: TinyClip, tmp_path: Path) -> Iterator[str]:
    """Address of a Hub; the repositories are the folders below, and those of a branch end in `@branch`.

    While the file `stuck` is there, weights stop arriving in the middle.
    """
    someone = tmp_path / "hub" / "someone"
    shutil.copytree(tiny_clip_quick.folders["hf"], someone / "tiny")
    shutil.copytree(tiny_clip.folders["open_clip"], someone / "tiny@exact")
    shutil.copytree(tiny_clip.folders["hf"], someone / "parts")
    cut_in_parts(someone / "parts")
    (someone / "empty").mkdir()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, *, with_body: bool) -> None:
            repository, _, rest = self.path.strip("/").partition("/resolve/")
            revision, _, name = rest.partition("/")
            is_main = revision in ("main", COMMIT)
            folder = tmp_path / "hub" / (repository if is_main else f"{repository}@{revision}")
            commit = COMMIT if is_main else COMMIT[::-1]
            if not folder.is_dir() or not (folder / name).is_file():
                self.send_response(404)
                code = "RepoNotFound" if is_main else "RevisionNotFound"
                self.send_header("X-Error-Code", "EntryNotFound" if folder.is_dir() else code)
                self.send_header("X-Repo-Commit", commit)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = (folder / name).read_bytes()
            self.send_response(200)
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if with_body and (tmp_path / "stuck").exists() and name.endswith(".safetensors"):
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
                (tmp_path / "halfway").touch()
                self.rfile.read(1)  # until the other side is gone
            elif with_body:
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


def settings(home: Path, endpoint: str, *, is_offline: bool = False) -> dict[str, str]:
    """The environment of a process that asks this Hub and keeps its files in `home`."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return environment | {
        "HF_HOME": str(home),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": "1" if is_offline else "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


def run(
    code: str, home: Path, endpoint: str, *, is_offline: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own: huggingface_hub reads its settings when it is imported."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=settings(home, endpoint, is_offline=is_offline),
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


def test_a_revision_is_fetched_and_kept_beside_the_main_one(hub: str, tmp_path: Path) -> None:
    code = (
        "import clipworks\n"
        "for name in ('someone/tiny@exact', 'someone/tiny'):\n"
        "    engine = clipworks.load(name, precision='f32')\n"
        "    print(engine.name, engine.config.activation)\n"
    )
    for endpoint in (hub, "http://127.0.0.1:9"):
        done = run(code, tmp_path / "home", endpoint)
        assert done.stdout == "someone/tiny@exact gelu\nsomeone/tiny quick_gelu\n", done.stderr


def test_weights_in_parts_are_fetched_with_every_part(hub: str, tmp_path: Path) -> None:
    code = "import clipworks\nprint(clipworks.load('someone/parts', precision='f32').fingerprint)\n"
    online = run(code, tmp_path / "home", hub)
    assert len(online.stdout) == 65, online.stderr
    assert run(code, tmp_path / "home", hub, is_offline=True).stdout == online.stdout
    (part,) = (tmp_path / "home").rglob("model-00002-of-00002.safetensors")
    part.unlink()
    assert run(code, tmp_path / "home", hub).stdout == online.stdout


def test_weights_that_another_program_fetched_are_used_with_their_normalisation(
    hub: str, tmp_path: Path
) -> None:
    processor = tmp_path / "hub" / "someone" / "tiny" / "preprocessor_config.json"
    values = json.loads(processor.read_text())
    processor.write_text(json.dumps(values | {"image_mean": [0.5, 0.5, 0.5]}))
    fetch = (
        "import huggingface_hub\n"
        "for name in ('config.json', 'model.safetensors'):\n"
        "    huggingface_hub.hf_hub_download('someone/tiny', name)\n"
    )
    assert run(fetch, tmp_path / "home", hub).returncode == 0
    code = "import clipworks\nprint(clipworks.load('someone/tiny').config.preprocess.mean)\n"
    offline = run(code, tmp_path / "home", hub, is_offline=True)
    assert (
        "not known whether someone/tiny has open_clip_config.json, preprocessor_config.json, vocab.json"
        in offline.stderr
    )
    assert run(code, tmp_path / "home", hub).stdout == "(0.5, 0.5, 0.5)\n"


def test_a_process_that_is_killed_while_it_fetches_leaves_nothing_to_be_read(
    hub: str, tmp_path: Path
) -> None:
    (tmp_path / "stuck").touch()
    home = tmp_path / "home"
    with subprocess.Popen(
        [sys.executable, "-c", LOAD], env=settings(home, hub), stderr=subprocess.DEVNULL
    ) as process:
        while not (tmp_path / "halfway").exists():
            assert process.poll() is None
        process.kill()
    assert list(home.glob("hub/*/snapshots/*/*.safetensors")) == []
    code = (
        "import clipworks\n"
        "try:\n    clipworks.load('someone/tiny')\n"
        "except clipworks.CheckpointError as error:\n    print(error.message)\n"
    )
    offline = run(code, home, hub, is_offline=True)
    assert offline.stdout == "someone/tiny is not on this machine and the Hub cannot be reached.\n"
    (tmp_path / "stuck").unlink()
    assert run(LOAD, home, hub).stdout == "someone/tiny quick_gelu (1, 32)\n"


def test_what_cannot_be_fetched_is_one_sentence(hub: str, tmp_path: Path) -> None:
    code = (
        "from clipworks import CheckpointError\n"
        "from clipworks.model.pull import resolve\n"
        "for name in ('someone/nothing', 'someone/empty', 'someone/tiny@none', 'someone/a..b'):\n"
        "    try:\n"
        "        resolve(name)\n"
        "    except CheckpointError as error:\n"
        "        print(error.message)\n"
    )
    done = run(code, tmp_path / "home", hub)
    first, second, third, fourth = done.stdout.splitlines()
    assert first == "The Hub has no public model 'someone/nothing'."
    assert second.startswith("someone/empty has none of the files open_clip_model.safetensors, ")
    assert third == "someone/tiny has no branch, tag or commit 'none'."
    assert fourth.startswith("someone/a..b could not be fetched: ")


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


@pytest.mark.parametrize(
    ("name", "repository"),
    [
        ("ViT-B-16-quickgelu/metaclip_fullcc", "facebook/metaclip-b16-fullcc2.5b"),
        ("ViT-B-16/metaclip_fullcc", "facebook/metaclip-b16-fullcc2.5b"),
        ("ViT-B-32/datacomp_xl_s13b_b90k", "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K"),
        ("ViT-L-14/datacomp_xl_s13b_b90k", "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"),
        ("vit-b-16/openai", "openai/clip-vit-base-patch16"),
        ("ViT-B-32/laion2b_s34b_b79k@refs/pr/1", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
    ],
)
def test_open_clips_names_are_known(name: str, repository: str) -> None:
    assert public_name(name) == repository


def test_a_path_is_taken_as_it_is(tiny_clip: TinyClip) -> None:
    assert resolve(tiny_clip.native) == tiny_clip.folders["native"]
    assert public_name(tiny_clip.native) == "native"


def test_an_unknown_name_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(ConfigError, match="There is no model named 'pictogramm'. Nearest: pictogram"):
        resolve("pictogramm")


def test_a_hub_model_is_called_by_its_id() -> None:
    assert public_name("laion2b-b32") == "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    assert public_name("someone/tiny") == "someone/tiny"


@pytest.mark.parametrize("name", ["./no-folder", "/no/folder", "../no-folder"])
def test_a_path_that_is_not_there_is_no_unknown_name(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"There is no model at {name}"):
        resolve(name)
