"""Files that are whole or not there."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from clipworks.errors import DataError
from clipworks.files import (
    atomic_folder,
    atomic_write,
    cache_folder,
    exclusive_lock,
    is_complete,
    read_json,
    read_manifest,
    sha256_file,
    write_manifest,
)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_file_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.bin"
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert sha256_file(path) == "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"


def test_a_folder_takes_its_place_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder"
    for name in ("one", "two"):
        with atomic_folder(path) as new:
            (new / name).touch()
        assert [file.name for file in path.iterdir()] == [name]
    with pytest.raises(RuntimeError), atomic_folder(path) as new:
        (new / "three").touch()
        raise RuntimeError
    assert [file.name for file in path.iterdir()] == ["two"]
    assert [entry.name for entry in path.parent.iterdir()] == ["folder"]


def test_a_lock_is_held_by_one_process_and_ends_with_it(tmp_path: Path) -> None:
    lock = tmp_path / "below" / "lock"
    code = (
        "import pathlib, sys\nfrom clipworks.files import exclusive_lock\n"
        f"with exclusive_lock(pathlib.Path({str(lock)!r})):\n"
        "    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with lock.open("ab") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        holder.kill()
    with exclusive_lock(lock):
        pass


def test_the_cache_folder_is_the_variables_else_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPWORKS_CACHE", "/a")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("CLIPWORKS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/b/clipworks")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/c")
    assert cache_folder() in (Path("/c/.cache/clipworks"), Path("/c/Library/Caches/clipworks"))


def test_a_folder_counts_as_complete_with_its_manifest(tmp_path: Path) -> None:
    assert not is_complete(tmp_path)
    with pytest.raises(DataError, match="unfinished"):
        read_manifest(tmp_path)
    write_manifest(tmp_path, {"rows": 3})
    assert is_complete(tmp_path)
    assert read_manifest(tmp_path) == {"rows": 3}


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a folder"):
        read_manifest(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b""])
def test_broken_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as JSON"):
        read_json(path)


def test_a_manifest_that_is_no_object_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[1]")
    with pytest.raises(DataError, match="not a JSON object"):
        read_manifest(tmp_path)
