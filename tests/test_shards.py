"""Shards: what goes in comes out, in the webdataset layout."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipworks.errors import ConfigError, DataError
from clipworks.files import read_manifest, sha256_file, write_json
from clipworks.shards import (
    Sample,
    count_samples,
    hash_shards,
    list_shards,
    read_shard,
    read_shards,
    write_shards,
)


def samples(count: int) -> list[Sample]:
    return [
        Sample(
            key=f"k{i}", image=bytes([i]), extension="png", texts=(f"name {i}", "größe 🦊"), details={"n": i}
        )
        for i in range(count)
    ]


@given(count=st.integers(1, 12), size=st.integers(1, 13))
@settings(max_examples=30, deadline=None)
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


@pytest.mark.parametrize("texts", ["a dog", [1, 2], ["a dog", None], {"a": "dog"}, 3])
def test_texts_that_are_no_list_of_strings_are_refused(tmp_path: Path, texts: Any) -> None:
    details = json.dumps({"texts": texts}).encode()
    write_tar(tmp_path / "x.tar", {"k7.png": b"1", "k7.txt": b"a dog", "k7.json": details})
    with pytest.raises(DataError, match=r"Sample k7 in .*x\.tar has the texts .* list of strings"):
        list(read_shard(tmp_path / "x.tar"))


@pytest.mark.parametrize(
    "text", [{"key": "alt", "text": "a dog"}, ["alt", "a dog"]], ids=["fetched", "metaclip"]
)
def test_texts_with_the_name_of_their_place_are_read(tmp_path: Path, text: Any) -> None:
    details = json.dumps({"texts": [text, "a pup"]}).encode()
    write_tar(tmp_path / "x.tar", {"k7.png": b"1", "k7.txt": b"no", "k7.json": details})
    (sample,) = read_shard(tmp_path / "x.tar")
    assert sample.texts == ("a dog", "a pup")


def test_a_key_ends_at_the_first_dot_behind_the_last_slash(tmp_path: Path) -> None:
    members = {
        "./000.jpg": b"1",
        "./000.txt": b"one",
        "v1.0/000.jpg": b"2",
        "v1.0/000.seg.png": b"mask",
        "v1.0/000.txt": b"two",
        "v1.0/._000.txt": b"of a Mac",
        "v1.0/README": b"no key",
        "a b.PNG": b"3",
        "a b.txt": b"three",
    }
    write_tar(tmp_path / "x.tar", members)
    found = [(sample.key, sample.image, sample.texts) for sample in read_shard(tmp_path / "x.tar")]
    assert found == [
        ("000", b"1", ("one",)),
        ("v1.0/000", b"2", ("two",)),
        ("a b", b"3", ("three",)),
    ]
    assert count_samples(tmp_path) == 3


def test_a_write_that_was_cut_short_is_refused_until_it_is_repeated(tmp_path: Path) -> None:
    def cut_short() -> Iterator[Sample]:
        yield from samples(20)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(cut_short(), tmp_path, samples_per_shard=5)
    assert len(list(tmp_path.glob("*.tar"))) == 4
    for read in (list_shards, hash_shards, count_samples, lambda folder: list(read_shards(folder))):
        with pytest.raises(DataError, match=r"is unfinished.* repeat the command that writes it"):
            read(tmp_path)
    write_shards(samples(5), tmp_path, samples_per_shard=5)
    assert list(read_shards(tmp_path)) == samples(5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000.tar", "manifest.json"]


def test_shards_of_another_tool_are_not_written_over(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", {"a.png": b"1", "a.txt": b"one"})
    with pytest.raises(DataError, match=r"holds 00000\.tar of another tool"):
        write_shards(samples(1), tmp_path)
    assert [sample.key for sample in read_shards(tmp_path)] == ["a"]


def test_a_tar_that_the_manifest_does_not_name_is_passed_over(tmp_path: Path) -> None:
    write_shards(samples(4), tmp_path, samples_per_shard=2)
    write_tar(tmp_path / "00002.tar", {"a.png": b"1", "a.txt": b"one"})
    assert list(read_shards(tmp_path)) == samples(4)
    assert len(list_shards(tmp_path)) == len(hash_shards(tmp_path)) == 2


def test_a_manifest_of_another_tool_is_passed_over(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", {"a.png": b"1", "a.txt": b"one"})
    for manifest in ([1], {"kind": "other"}, {"format": 3}):
        write_json(tmp_path / "manifest.json", manifest)
        assert count_samples(tmp_path) == len(list(read_shards(tmp_path))) == 1


def test_shards_of_a_stage_that_has_not_ended_are_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "x.tar", {"a.png": b"1", "a.txt": b"one"})
    write_json(tmp_path / "stage.json", {"stage": "reshard"})
    with pytest.raises(DataError, match="is unfinished"):
        count_samples(tmp_path)
    write_json(tmp_path / "manifest.json", {"format": "clipworks reshard 1"})
    assert count_samples(tmp_path) == 1


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    write_shards(samples(4), tmp_path, samples_per_shard=2)
    (tmp_path / "00001.tar").unlink()
    with pytest.raises(DataError, match=r"lacks the shard 00001\.tar"):
        list(read_shards(tmp_path))


def test_a_shard_that_was_changed_is_named(tmp_path: Path) -> None:
    write_shards(samples(4), tmp_path, samples_per_shard=2)
    path = tmp_path / "00001.tar"
    path.write_bytes(path.read_bytes().replace(b"name 3", b"name 4"))
    for read in (hash_shards, lambda folder: list(read_shards(folder))):
        with pytest.raises(DataError, match=r"00001\.tar has the sha256"):
            read(tmp_path)
    assert len(list(read_shards(tmp_path, check_hashes=False))) == 4


@pytest.mark.parametrize("wrong", [1, 3])
def test_another_number_of_samples_than_the_manifest_says_is_an_error(tmp_path: Path, wrong: int) -> None:
    manifest = write_shards(samples(2), tmp_path)
    manifest["shards"][0]["samples"] = wrong
    write_json(tmp_path / "manifest.json", manifest)
    with pytest.raises(DataError, match=f"does not hold the {wrong} samples"):
        list(read_shards(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "clipworks shards 2"}, "has the format 'clipworks shards 2'"),
        ({"shards": None}, "list of shards is wrong"),
        ({"shards": [{"name": "00000.tar"}]}, "list of shards is wrong"),
        ({"shards": [{"name": "00000.tar", "samples": "x", "sha256": ""}]}, "list of shards is wrong"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    manifest = write_shards(samples(2), tmp_path)
    write_json(tmp_path / "manifest.json", manifest | change)
    with pytest.raises(DataError, match=message):
        list_shards(tmp_path)


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
    "change",
    [{"key": "a.b"}, {"key": ""}, {"key": "a/b"}, {"key": "a b"}, {"extension": "svg"}, {"texts": ()}],
)
def test_a_sample_that_no_shard_can_hold_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    fields: dict[str, Any] = {"key": "a", "image": b"", "extension": "png", "texts": ("a",)}
    with pytest.raises(ConfigError):
        write_shards([Sample(**{**fields, **change})], tmp_path)


def test_a_folder_without_tars_or_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no \.tar file"):
        list(read_shards(tmp_path))
    with pytest.raises(DataError, match="does not exist"):
        list(read_shards(tmp_path / "nowhere"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="it is a file"):
        list(read_shards(tmp_path / "file"))


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
