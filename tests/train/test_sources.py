"""Where training data lies, and how much of it there is."""

import json
from pathlib import Path
from typing import Any

import pytest

from clipworks.errors import DataError
from clipworks.files import sha256_bytes
from clipworks.shards import hash_shards, read_shard
from clipworks.train import places, sources
from clipworks.train.sources import identify, read_sources

from .pools import sample, write_pool, write_tar


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path / "cache"))


def write_list(path: Path, *rows: Any) -> Path:
    path.write_text(json.dumps({"sources": rows}))
    return path


def test_a_folder_of_ours_is_counted_by_its_manifest(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "count_shard", lambda _: pytest.fail("headers were read"))
    (source,) = read_sources(shards)
    assert [shard.samples for shard in source.shards] == [25, 15]
    assert source.weight == 1 and source.texts == () and source.balance is None


def test_a_folder_of_img2dataset_is_counted_by_its_stats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "count_shard", lambda _: pytest.fail("headers were read"))
    (source,) = read_sources(write_pool(tmp_path / "pool"))
    assert [shard.samples for shard in source.shards] == [20, 20, 20]


def test_the_headers_of_other_tars_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "pool" / "a.tar", map(sample, range(7)))
    assert read_sources(tmp_path / "pool")[0].shards[0].samples == 7
    first = places.read_places(path)
    with monkeypatch.context() as patched:
        patched.setattr(places, "list_groups", lambda *_: pytest.fail("the headers were read again"))
        assert read_sources(tmp_path / "pool")[0].shards[0].samples == 7
        assert (places.read_places(path) == first).all() and first.shape == (7, 3, 2)
    (kept,) = (tmp_path / "cache" / "shards").iterdir()
    kept.write_bytes(b"damaged")
    assert (places.read_places(path) == first).all()
    write_tar(path, map(sample, range(3)))
    assert len(places.read_places(path)) == 3


def test_without_a_folder_for_a_cache_the_headers_are_read_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CLIPWORKS_CACHE", str(tmp_path / "file"))
    assert len(places.read_places(write_tar(tmp_path / "a.tar", map(sample, range(3))))) == 3


def test_a_list_names_several_sources(tmp_path: Path) -> None:
    write_pool(tmp_path / "a", shards=1)
    write_pool(tmp_path / "b", shards=2)
    rows = [{"data": "a", "weight": 2, "texts": {"txt": 0.5, "long": 0.5}}, {"data": "b", "balance": "kept"}]
    first, second = read_sources(write_list(tmp_path / "mix.json", *rows))
    assert (first.weight, first.texts, len(first.shards)) == (2.0, (("txt", 0.5), ("long", 0.5)), 1)
    assert (second.weight, second.balance, len(second.shards)) == (1.0, tmp_path / "kept", 2)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"data": "a", "wait": 1}, "unknown field 'wait'"),
        ({"weight": 1}, "no field 'data'"),
        ({"data": "a", "weight": 0}, "weight 0"),
        ({"data": "a", "weight": 1e308}, "weight 1e.308; it must be above 0, at most 1e.09"),
        ({"data": "a", "texts": {"txt": -1}}, "texts"),
        ({"data": "a", "texts": {"txt": 0.5, "long": 1.5}}, "texts .*1.5"),
    ],
)
def test_a_wrong_source_is_named(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    write_pool(tmp_path / "a", shards=1)
    with pytest.raises(DataError, match=message):
        read_sources(write_list(tmp_path / "mix.json", row))


@pytest.mark.parametrize("text", ["[]", "{}", '{"sources": []}', '{"sources": [1]}'])
def test_a_list_without_sources_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "mix.json").write_text(text)
    with pytest.raises(DataError, match="lists no sources"):
        read_sources(tmp_path / "mix.json")


def test_shards_without_a_sample_are_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "pool" / "a.tar", [])
    with pytest.raises(DataError, match="holds a sample"):
        read_sources(tmp_path / "pool")


def test_a_shard_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone.tar cannot be read"):
        sources.count_shard(tmp_path / "gone.tar")


@pytest.mark.parametrize("size", [7000, 512 * 18])
def test_a_shard_that_is_cut_is_refused_and_again_from_the_cache(tmp_path: Path, size: int) -> None:
    """Within a member, and between two of them."""
    path = write_tar(tmp_path / "pool" / "a.tar", ((str(n), {"txt": b"x", "jpg": b"y"}) for n in range(9)))
    path.write_bytes(path.read_bytes()[:size])
    for _ in range(2):
        with pytest.raises(
            DataError, match=r"a.tar cannot be read: unexpected end of data behind \d samples"
        ):
            read_sources(tmp_path / "pool")
    with pytest.raises(DataError, match=r"a.tar cannot be read: unexpected end of data"):
        list(read_shard(path))
    assert len(places.read_places(path)) in (4, 5)  # where others have counted, what is whole is used


@pytest.mark.parametrize("form", ["tar", "list", "classes", "captions"])
def test_data_that_are_no_shards_are_told_what_takes_them(tmp_path: Path, form: str) -> None:
    (tmp_path / "own" / "cat").mkdir(parents=True)
    (tmp_path / "own" / "cat" / "1.jpg").write_bytes(b"")
    (tmp_path / "captioned").mkdir()
    listed = tmp_path / "captioned" / "captions.jsonl"
    listed.write_text("{}")
    data = {
        "tar": write_tar(tmp_path / "a.tar", [sample(1)]),
        "list": listed,
        "classes": tmp_path / "own",
        "captions": tmp_path / "captioned",
    }[form]
    remedy = "folder in which it lies" if form == "tar" else "clipworks finetune"
    for read in (read_sources, identify):
        with pytest.raises(
            DataError, match="a.tar is a single tar" if form == "tar" else "no shards"
        ) as told:
            read(data)
        assert remedy in told.value.remedy


def test_data_of_ours_is_known_by_its_content_and_that_of_others_by_names_and_sizes(
    shards: Path, tmp_path: Path
) -> None:
    assert identify(shards) == sha256_bytes("".join(hash_shards(shards)).encode())
    assert identify(shards, is_checked=False) != identify(shards)
    pool = write_pool(tmp_path / "pool")
    before = identify(pool)
    mix = write_list(tmp_path / "mix.json", {"data": "pool"})
    listed = identify(mix)
    assert identify(pool) == before == listed
    write_list(mix, {"data": "pool", "weight": 2})
    assert identify(mix) != listed
    (pool / "00001.tar").unlink()
    assert identify(pool) != before
