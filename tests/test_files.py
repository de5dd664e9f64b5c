"""Files that are whole or not there."""

import fcntl
import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

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


def test_what_a_killed_writer_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    program = (
        "import os, signal, sys; from pathlib import Path; from clipworks.files import atomic_write\n"
        "with atomic_write(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half of it'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [p.name for p in tmp_path.iterdir()] == [".a.bin.part"]
    with atomic_write(path) as file:
        file.write(b"new")
    assert list(tmp_path.iterdir()) == [path] and path.read_bytes() == b"new"


def test_a_second_writer_of_a_file_waits_for_the_first(tmp_path: Path) -> None:
    path, started, order = tmp_path / "a.bin", Event(), []

    def write(name: bytes) -> None:
        started.set()
        with atomic_write(path) as file:
            order.append(name)
            file.write(name)

    with ThreadPoolExecutor(1) as pool:
        with atomic_write(path) as file:
            waiting = pool.submit(write, b"second")
            started.wait()
            order.append(b"first")
            file.write(b"first")
        waiting.result()
    assert order == [b"first", b"second"] and path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_many_writers_of_a_file_leave_one_whole_file(tmp_path: Path) -> None:
    path, contents = tmp_path / "a.bin", [bytes([i]) * 1000 for i in range(40)]

    def write(content: bytes) -> None:
        with atomic_write(path) as file:
            file.write(content)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, contents))
    assert path.read_bytes() in contents and list(tmp_path.iterdir()) == [path]


def test_a_file_has_the_rights_that_the_umask_leaves_and_the_umask_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the umask of the process was changed"))
        with atomic_write(tmp_path / "a.bin") as file:
            file.write(b"x")
    finally:
        monkeypatch.undo()
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o640


def test_the_folder_is_flushed_to_disk_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[bool, bool]] = []

    def fsync(descriptor: int) -> None:
        flushed.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), (tmp_path / "a.bin").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"x")
    assert flushed == [(False, False), (True, True)]


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / ".a.bin.part").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic link"), atomic_write(tmp_path / "a.bin"):
        pytest.fail("written through a link")
    assert (tmp_path / "victim").read_bytes() == b"mine"


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
