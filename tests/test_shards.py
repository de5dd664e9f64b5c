"""Shards: what goes in comes out, in the webdataset layout."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipworks.errors import ConfigError, DataError
from clipworks.files import read_manifest, sha256_file
from clipworks.shards import Sample, read_shard, read_shards, write_shards


def samples(count: int) -> list[Sample]:
    return [
        Sample(
            key=f"k{i}", image=bytes([i]), extension="png", texts=(f"name {i}", "größe 🦊"), details={"n": i}
        )
        for i in range(count)
    ]


@given(count=st.integers(1, 12), size=st.integers(1, 13))
def test_samples_come_back_in_order_whatever_the_shard_size(
    count: int, size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    manifest = write_shards(samples(count), folder, samples_per_shard=size)
    assert list(read_shards(folder)) == samples(count)
    assert manifest["samples"] == count and len(manifest["shards"]) == -(-count // size)


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shards(samples(5), tmp_path / name, details={"source": "test"})
    assert sha256_file(tmp_path / "a/00000.tar") == sha256_file(tmp_path / "b/00000.tar")
    manifest = read_manifest(tmp_path / "a")
    assert manifest["source"] == "test"
    assert manifest["shards"][0]["sha256"] == sha256_file(tmp_path / "a/00000.tar")


def test_a_tar_of_another_tool_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    write_tar(path, {"a.jpg": b"1", "a.txt": b"one", "a.cls": b"4", "b.txt": b"two", "b.webp": b"2"})
    first, second = read_shard(path)
    assert (first.extension, first.texts, first.details) == ("jpg", ("one",), {})
    assert (second.image, second.texts) == (b"2", ("two",))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.txt": b"one"}, "Sample a .* has no picture"),
        ({"a.png": b"1"}, "Sample a .* has no caption"),
        ({"a.png": b"1", "a.json": b"{"}, "cannot be read"),
        ({"a.png": b"1", "a.json": b"[]"}, "cannot be read"),
        ({"a.png": b"1", "a.txt": b"\xff"}, "cannot be read"),
    ],
)
def test_a_broken_sample_is_named(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    write_tar(tmp_path / "x.tar", members)
    with pytest.raises(DataError, match=message):
        list(read_shard(tmp_path / "x.tar"))


def test_a_shard_that_is_cut_short_is_named(tmp_path: Path) -> None:
    write_shards(samples(5), tmp_path)
    path = tmp_path / "00000.tar"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"00000\.tar cannot be read"):
        list(read_shard(path))


def test_a_complete_folder_is_not_written_again(tmp_path: Path) -> None:
    write_shards(samples(1), tmp_path)
    with pytest.raises(DataError, match="complete set"):
        write_shards(samples(1), tmp_path)


def test_no_sample_or_a_key_twice_in_a_row_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No sample"):
        write_shards([], tmp_path / "a")
    with pytest.raises(DataError, match="key 'k0' twice"):
        write_shards(samples(1) * 2, tmp_path / "b")


@pytest.mark.parametrize("shard_size", [0, -1])
def test_a_shard_holds_at_least_one_sample(tmp_path: Path, shard_size: int) -> None:
    with pytest.raises(ConfigError, match="samples_per_shard"):
        write_shards(samples(1), tmp_path, samples_per_shard=shard_size)


@pytest.mark.parametrize(
    "change", [{"key": "a.b"}, {"key": ""}, {"key": "a/b"}, {"extension": "svg"}, {"texts": ()}]
)
def test_a_sample_that_no_shard_can_hold_is_refused(change: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"key": "a", "image": b"", "extension": "png", "texts": ("a",)}
    with pytest.raises(ConfigError):
        Sample(**{**fields, **change})


def test_a_folder_without_tars_or_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.tar file"):
        list(read_shards(tmp_path))
    with pytest.raises(DataError, match="does not exist"):
        list(read_shards(tmp_path / "nowhere"))


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
