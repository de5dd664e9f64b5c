"""Many entries -> one file: order, failures, resume after a kill, refusals; for both forms of file."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pytest

from clipworks.errors import ConfigError, DataError
from clipworks.model.engine import Engine
from clipworks.search import vectors_file
from clipworks.search.npz import write_npz
from clipworks.search.parts import Dtype, Parts
from clipworks.search.vectors_file import EmbedReport, Writer, embed_into
from tests.serve.colours import COLOURS, ColourEngine, picture

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

Embed = Callable[..., EmbedReport]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """10,000 texts: two whole parts and a piece."""
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"text {i} {list(COLOURS)[i % 4]}\n" for i in range(10_000)))
    return path


@pytest.fixture(params=["npz", "parquet"])
def form(request: pytest.FixtureRequest) -> tuple[str, Writer]:
    if request.param == "npz":
        return "npz", write_npz
    parquet = pytest.importorskip("clipworks.search.parquet", exc_type=ImportError)
    return "parquet", parquet.write_parquet


def read(path: Path) -> dict[str, Any]:
    """items, kinds, vectors and the header of either form."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    vectors = table["vector"].combine_chunks()
    return {
        "items": np.array(table["item"].to_pylist()),
        "kinds": np.array(table["kind"].to_pylist()),
        "vectors": vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(table), -1),
        **{key.decode(): np.array(value.decode()) for key, value in table.schema.metadata.items()},
    }


def test_pictures_and_texts_keep_the_order_of_the_input(
    tmp_path: Path, pictures: Path, engine: Engine, form: tuple[str, Writer]
) -> None:
    (tmp_path / "t.txt").write_text("a red thing\na blue thing\n")
    out = tmp_path / f"out.{form[0]}"
    sources = [pictures / "red.png", tmp_path / "t.txt", pictures / "deep" / "blue.png"]
    report = embed_into(out, sources, engine, write=form[1])
    assert (report.images, report.texts, report.failed, report.failed_file) == (2, 2, 0, None)
    values = read(out)
    assert values["items"].tolist() == [str(sources[0]), "a red thing", "a blue thing", str(sources[2])]
    assert values["kinds"].tolist() == ["image", "text", "text", "image"]
    assert (values["vectors"].dtype, values["vectors"].shape) == (np.float32, (4, 8))
    np.testing.assert_allclose(values["vectors"][:2], engine.embed_texts(["red"] * 2), atol=0.05)
    assert str(values["model"]) == engine.name
    for name in ("fingerprint", "precision", "preprocess"):
        assert str(values[name]) == getattr(engine, name)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [out.name, "pictures", "t.txt"]


def test_half_precision_is_the_rounded_vectors(
    tmp_path: Path, texts: Path, engine: Engine, form: tuple[str, Writer]
) -> None:
    values: dict[Dtype, Any] = {}
    dtypes: tuple[Dtype, ...] = ("f32", "f16")
    for dtype in dtypes:
        out = tmp_path / f"{dtype}.{form[0]}"
        embed_into(out, [texts], engine, write=form[1], dtype=dtype)
        values[dtype] = read(out)["vectors"]
    assert values["f16"].dtype == np.float16
    assert np.array_equal(values["f16"], values["f32"].astype(np.float16))


def test_failures_are_told_and_listed_with_reasons_and_the_rest_is_done(
    tmp_path: Path, pictures: Path, engine: Engine
) -> None:
    (pictures / "bad.png").write_bytes(b"")
    (tmp_path / "t.jsonl").write_text(f'{{"caption": "a"}}\n7\n{json.dumps({"caption": "x" * 200_000})}\n')
    out, told = tmp_path / "out.npz", []
    sources = [tmp_path / "none.png", pictures, tmp_path / "t.jsonl"]
    report = embed_into(out, sources, engine, write=write_npz, on_failure=told.append)
    assert (report.images, report.texts, report.failed) == (4, 1, 4)
    assert report.failed_file == tmp_path / "out.npz.failed.jsonl"
    rows = [json.loads(line) for line in report.failed_file.read_text().splitlines()]
    assert [row["reason"] for row in rows] == [failure.reason for failure in told]
    for row, words in zip(
        rows, ("does not exist", "empty (0 bytes)", "line 2 holds no", "200,000"), strict=True
    ):
        assert words in row["reason"]
    (pictures / "bad.png").unlink()
    assert embed_into(out, [pictures], engine, write=write_npz).failed == 0
    assert not report.failed_file.exists()


def test_pictures_inside_a_shard_are_embedded(tmp_path: Path, engine: Engine) -> None:
    from tests.search.test_entries import shard

    members = {"a.png": picture("red"), "a.txt": b"red", "b.png": b"no picture", "c.png": picture("blue")}
    path = shard(tmp_path / "m.tar", members)
    report = embed_into(tmp_path / "out.npz", [path], engine, write=write_npz)
    assert (report.images, report.failed) == (2, 1)
    values = read(tmp_path / "out.npz")
    assert values["items"].tolist() == [f"{path}/a.png", f"{path}/c.png"]
    np.testing.assert_allclose(values["vectors"], engine.embed_texts(["red", "blue"]), atol=1e-4)


def test_names_that_are_no_text_in_utf8_are_spelled_out(
    tmp_path: Path, engine: Engine, form: tuple[str, Writer]
) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png"))
    odd.write_bytes(picture("red"))
    (tmp_path / "t.jsonl").write_text('{"caption": "red \\ud83d"}\n')
    out = tmp_path / f"out.{form[0]}"
    embed_into(out, [odd, tmp_path / "t.jsonl"], engine, write=form[1])
    assert read(out)["items"].tolist() == [f"{tmp_path}/\\udcff.png", "red \\ud83d"]


def test_progress_counts_up_to_everything(tmp_path: Path, texts: Path, engine: Engine) -> None:
    told: list[int] = []
    sources = [texts, tmp_path / "none.png"]
    embed_into(tmp_path / "out.npz", sources, engine, write=write_npz, on_progress=told.append)
    assert told == [4096, 8192, 10_001]


# --- interruption ---------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from clipworks.search.vectors_file import embed_into
from clipworks.search.{module} import {write}
from tests.serve.colours import ColourEngine

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def write(file, parts):
    {write}(file, parts)
    die()

on_progress = lambda done: done >= {stop} and die()
embed_into(Path({out!r}), [Path({source!r})], ColourEngine(), write=write, on_progress=on_progress)
"""


@pytest.mark.parametrize("stop", [4096, 8192, 10**9], ids=["first part", "second part", "while writing"])
def test_a_killed_run_goes_on_to_the_same_bytes(
    tmp_path: Path, texts: Path, engine: Engine, form: tuple[str, Writer], stop: int
) -> None:
    name, write = form
    out, whole = tmp_path / f"out.{name}", tmp_path / f"whole.{name}"
    embed_into(whole, [texts], engine, write=write)
    names = {"module": name, "write": f"write_{name}", "stop": stop, "out": str(out), "source": str(texts)}
    process = subprocess.run([sys.executable, "-c", KILLED.format(**names)], cwd=ROOT, capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert not out.exists() and (tmp_path / f"{out.name}.parts").is_dir()
    report = embed_into(out, [texts], engine, write=write)
    assert report.reused == min(stop, 10_000)
    assert report.texts == 10_000
    assert out.read_bytes() == whole.read_bytes()
    assert not (tmp_path / f"{out.name}.parts").exists()


class Stop(Exception):
    """Ends a run in a test."""


def interrupt(out: Path, sources: list[Path], engine: Engine, *, after: int = 1) -> None:
    def stop(done: int) -> None:
        if done >= after:
            raise Stop

    with pytest.raises(Stop):
        embed_into(out, sources, engine, write=write_npz, on_progress=stop)


def test_a_resume_sends_nothing_twice_through_the_model(tmp_path: Path, texts: Path) -> None:
    first, second = ColourEngine(), ColourEngine()
    interrupt(tmp_path / "out.npz", [texts], cast(Engine, first), after=8192)
    report = embed_into(tmp_path / "out.npz", [texts], cast(Engine, second), write=write_npz)
    assert sum(count for _, count in first.calls) >= 8192
    assert second.calls == [("texts", 10_000 - 8192)]
    assert report.reused == 8192


def test_failures_of_the_run_before_are_told_again(tmp_path: Path, texts: Path, engine: Engine) -> None:
    told: list[Any] = []
    sources = [tmp_path / "none.png", texts]
    interrupt(tmp_path / "out.npz", sources, engine)
    report = embed_into(tmp_path / "out.npz", sources, engine, write=write_npz, on_failure=told.append)
    assert (report.failed, len(told)) == (1, 1)


def test_what_changed_since_the_interruption_is_embedded_again(
    tmp_path: Path, texts: Path, engine: Engine
) -> None:
    interrupt(tmp_path / "out.npz", [texts], engine, after=8192)
    lines = texts.read_text().splitlines()
    lines[5000] = "another text, blue"
    texts.write_text("\n".join(lines) + "\n")
    report = embed_into(tmp_path / "out.npz", [texts], engine, write=write_npz)
    assert report.reused == 4096
    embed_into(tmp_path / "whole.npz", [texts], engine, write=write_npz)
    assert (tmp_path / "out.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


def test_a_picture_that_changed_since_the_interruption_is_embedded_again(
    tmp_path: Path, pictures: Path, texts: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vectors_file, "PICTURES_PER_PART", 1)
    interrupt(tmp_path / "out.npz", [pictures, texts], engine, after=4)
    (pictures / "red.png").write_bytes(picture("green", side=20))
    report = embed_into(tmp_path / "out.npz", [pictures, texts], engine, write=write_npz)
    assert report.reused == 3
    place = read(tmp_path / "out.npz")["items"].tolist().index(str(pictures / "red.png"))
    vector = read(tmp_path / "out.npz")["vectors"][place]
    np.testing.assert_allclose(vector, engine.embed_texts(["green"])[0], atol=1e-4)


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-100], lambda data: b"", lambda data: data[:-9000] + bytes(99) + data[-8901:]],
)
def test_a_part_that_was_damaged_is_made_again(
    tmp_path: Path, texts: Path, engine: Engine, damage: Callable[[bytes], bytes]
) -> None:
    out = tmp_path / "out.npz"
    interrupt(out, [texts], engine, after=8192)
    part = tmp_path / "out.npz.parts" / "00000.npz"
    part.write_bytes(damage(part.read_bytes()))
    assert embed_into(out, [texts], engine, write=write_npz).reused == 4096
    assert read(out)["items"].tolist() == texts.read_text().splitlines()


# --- refusals -------------------------------------------------------------------------------------


def test_another_model_or_setting_into_an_unfinished_file_is_refused(
    tmp_path: Path, texts: Path, engine: Engine
) -> None:
    out = tmp_path / "out.npz"
    interrupt(out, [texts], engine)
    other = ColourEngine("other")
    with pytest.raises(ConfigError, match="was begun with model 'colours', not 'other'.*delete that folder"):
        embed_into(out, [texts], cast(Engine, other), write=write_npz)
    with pytest.raises(ConfigError, match="was begun with dtype 'f32', not 'f16'"):
        embed_into(out, [texts], engine, write=write_npz, dtype="f16")
    with pytest.raises(ConfigError, match="was begun with batch_size 32, not 8"):
        embed_into(out, [texts], engine, write=write_npz, batch_size=8)
    for name, value in {"precision": "bf16", "preprocess": "reference", "fingerprint": "0" * 64}.items():
        changed: Any = ColourEngine()
        setattr(changed, name, value)
        with pytest.raises(ConfigError, match=f"was begun with {name}"):
            embed_into(out, [texts], changed, write=write_npz)
    assert embed_into(out, [texts], engine, write=write_npz).texts == 10_000


def test_two_processes_do_not_write_one_file(tmp_path: Path, texts: Path, engine: Engine) -> None:
    folder = tmp_path / "out.npz.parts"
    folder.mkdir()
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="is being written by another process"):
            embed_into(tmp_path / "out.npz", [texts], engine, write=write_npz)
    assert embed_into(tmp_path / "out.npz", [texts], engine, write=write_npz).texts == 10_000


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path, texts: Path, engine: Engine) -> None:
    (tmp_path / "out.npz.parts").mkdir()
    (tmp_path / "out.npz.parts" / "mine.txt").write_text("x")
    with pytest.raises(DataError, match="holds other files"):
        embed_into(tmp_path / "out.npz", [texts], engine, write=write_npz)
    assert (tmp_path / "out.npz.parts" / "mine.txt").exists()


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path, texts: Path, engine: Engine) -> None:
    with pytest.raises(DataError, match="cannot be written: Not a directory"):
        embed_into(texts / "out.npz", [texts], engine, write=write_npz)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        embed_into(tmp_path / "folder.npz", [texts], engine, write=write_npz)


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(
    tmp_path: Path, texts: Path, engine: Engine
) -> None:
    def full(file: IO[bytes], parts: Parts) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "out.npz"
    with pytest.raises(DataError, match="No space left on device. Make room and repeat the command"):
        embed_into(out, [texts], engine, write=full)
    assert not out.exists()
    assert embed_into(out, [texts], engine, write=write_npz).reused == 10_000


def test_nothing_but_failures_writes_nothing(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(DataError, match="Nothing was embedded; 1 failed"):
        embed_into(tmp_path / "out.npz", [tmp_path / "bad.png"], engine, write=write_npz)
    assert not (tmp_path / "out.npz").exists() and not (tmp_path / "out.npz.parts").exists()


def test_a_batch_size_out_of_range_is_refused(tmp_path: Path, texts: Path, engine: Engine) -> None:
    with pytest.raises(ConfigError, match="batch_size is 0"):
        embed_into(tmp_path / "out.npz", [texts], engine, write=write_npz, batch_size=0)
