"""The cache of converted weights: used once it is there, whole or not there, never a reason to fail."""

import errno
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipworks.errors import CheckpointError
from clipworks.files import sha256_file
from clipworks.model import converted
from clipworks.model.converted import read_converted

pytestmark = pytest.mark.slow


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own; the folder where copies will be."""
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights-1"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save({"a": torch.arange(6.0), "b": torch.ones(2).bfloat16()}, tmp_path / "x.bin")
    return tmp_path / "x.bin"


def refuse(*_: object) -> Any:
    raise AssertionError("read again")


def test_a_file_is_converted_once(cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_converted(file)
    assert [copy.name for copy in cache.glob("*.safetensors")] == [f"{sha256_file(file)}.safetensors"]
    monkeypatch.setattr(converted, "read_pickled", refuse)
    again = read_converted(file)
    assert again.keys() == first.keys() == {"a", "b"}
    assert all(np.array_equal(again[name], first[name]) for name in again)


def test_another_content_under_the_same_name_is_another_entry(cache: Path, file: Path) -> None:
    read_converted(file)
    torch.save({"a": torch.zeros(3)}, file)
    assert read_converted(file)["a"].tolist() == [0, 0, 0]
    assert len(list(cache.glob("*.safetensors"))) == 2


def test_a_damaged_copy_is_made_again(cache: Path, file: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_converted(file)
    (copy,) = cache.glob("*.safetensors")
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-4])
    assert read_converted(file)["a"].tolist() == list(range(6))
    assert "It is made again" in caplog.text
    assert copy.read_bytes() == whole


def test_a_file_with_code_leaves_no_copy(cache: Path, file: Path) -> None:
    torch.save(torch.nn.Linear(1, 1), file)
    with pytest.raises(CheckpointError, match="is a pickle that names"):
        read_converted(file)
    assert list(cache.glob("*safetensors*")) == []


def test_a_full_disk_is_a_warning_and_leaves_nothing(
    cache: Path, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert read_converted(file)["a"].tolist() == list(range(6))
    assert "No space left on device" in caplog.text and "CLIPWORKS_CACHE" in caplog.text
    assert [entry.name for entry in cache.iterdir()] == ["lock"]


def test_a_cache_that_cannot_be_made_is_a_warning(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path / "x.bin" / "below a file"))
    assert read_converted(file)["a"].tolist() == list(range(6))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_user_without_a_home_is_a_warning(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("CLIPWORKS_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert read_converted(file)["a"].tolist() == list(range(6))
    assert "there is no home folder for a cache" in caplog.text


READ = """
import pathlib, sys
from clipworks.model import converted
{before}
print(converted.read_converted(pathlib.Path({file!r}))["a"].sum(), flush=True)
"""

STOP_BEFORE_RENAMING = """
import os
os.replace = lambda *_: (print("writing", flush=True), sys.stdin.read())
"""


def start(file: Path, before: str = "") -> subprocess.Popen[str]:
    code = READ.format(before=before, file=str(file))
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_process_that_is_killed_while_it_converts_leaves_no_entry(cache: Path, file: Path) -> None:
    with start(file, STOP_BEFORE_RENAMING) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "writing\n"
        assert len(list(cache.glob(".*.safetensors.*"))) == 1
        killed.send_signal(signal.SIGKILL)
    assert list(cache.glob("*.safetensors")) == []
    assert read_converted(file)["a"].tolist() == list(range(6))
    assert sorted(entry.name for entry in cache.iterdir()) == [f"{sha256_file(file)}.safetensors", "lock"]


def test_two_processes_that_convert_at_once_both_end_well(cache: Path, file: Path) -> None:
    with start(
        file,
        STOP_BEFORE_RENAMING.replace(
            "os.replace = lambda", "replace = os.replace\nos.replace = lambda"
        ).replace("sys.stdin.read())", "sys.stdin.readline(), replace(*_))"),
    ) as first:
        assert first.stdout is not None and first.stdin is not None
        assert first.stdout.readline() == "writing\n"
        with start(file) as second:
            first.stdin.write("go on\n")
            first.stdin.flush()
            assert second.stdout is not None
            assert first.stdout.readline() == second.stdout.readline() == "15.0\n"
    assert sorted(entry.name for entry in cache.iterdir()) == [f"{sha256_file(file)}.safetensors", "lock"]
