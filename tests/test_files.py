"""Files that are whole or not there."""

from pathlib import Path

import pytest

from clipworks.errors import DataError
from clipworks.files import atomic_write, is_complete, read_json, read_manifest, sha256_file, write_manifest


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
