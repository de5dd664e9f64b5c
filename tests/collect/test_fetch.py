"""Lists to shards, from a loopback web with every fault."""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from picture_web import PictureWeb, running_pictures
from PIL import Image

from clipworks.collect.fetch import FetchJob, fetch_images, retry_job
from clipworks.collect.lists import find_list
from clipworks.collect.settings import FetchConfig, with_fetch_settings
from clipworks.errors import ConfigError, DataError

QUICK = ("delay_seconds=0", "total_seconds=8", "read_seconds=6", "pause_seconds=0")


@pytest.fixture(scope="module")
def web() -> Iterator[PictureWeb]:
    with running_pictures() as web:
        yield web


def config(*settings: str) -> FetchConfig:
    return with_fetch_settings(FetchConfig(), [*QUICK, *settings])


def listed(folder: Path, urls: Iterable[str]) -> FetchJob:
    path = folder / "list.csv"
    path.write_text("url,caption\n" + "".join(f"{url},Text {i}\n" for i, url in enumerate(urls)))
    return FetchJob(links=find_list(path))


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Address -> row, of all shards."""
    found = [row for path in sorted(folder.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return {row["url"]: row for row in found}


def fetched(
    web: PictureWeb, folder: Path, urls: Iterable[str], *settings: str, **job: Any
) -> dict[str, dict[str, Any]]:
    made = replace(listed(folder, urls), **job)
    fetch_images(made, folder / "out", config(*settings), wires=web.wires)
    return rows(folder / "out")


def test_pictures_become_shards_in_img2datasets_layout(web: PictureWeb, tmp_path: Path) -> None:
    urls = [f"http://a{i % 5}.example/ok/{i}.jpg" for i in range(25)] + ["http://b.example/missing"]
    found = fetched(web, tmp_path, urls, "rows_per_shard=10", "image_size=32")
    out = tmp_path / "out"
    names = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    shards = [f"{i:05d}{end}" for i in range(3) for end in (".parquet", ".part.json", ".tar", "_stats.json")]
    assert names == sorted([*shards, "manifest.json", "stage.json"])
    assert set(found) == set(urls)
    with tarfile.open(out / "00001.tar") as tar:
        members = {member.name: member for member in tar}
        row = pq.read_table(out / "00001.parquet").to_pylist()[0]
        row = next(r for r in pq.read_table(out / "00001.parquet").to_pylist() if r["status"] == "success")
        key = row["key"]
        assert len(key) == 9 and key.startswith("00001")
        texts = tar.extractfile(members[f"{key}.txt"])
        details = tar.extractfile(members[f"{key}.json"])
        image = tar.extractfile(members[f"{key}.jpg"])
        assert texts is not None and details is not None and image is not None
        assert texts.read().decode() == row["caption"]
        assert json.load(details) == row
        opened = Image.open(io.BytesIO(image.read()))
        assert opened.size == (row["width"], row["height"]) == (48, 32)
        assert (row["original_width"], row["original_height"]) == (96, 64)
        assert [name for name in members if name.endswith(".jpg")] == sorted(
            name for name in members if name.endswith(".jpg")
        )
    stats = [json.loads((out / f"{i:05d}_stats.json").read_text()) for i in range(3)]
    assert sum(one["count"] for one in stats) == 26 and sum(one["successes"] for one in stats) == 25
    assert sum(one["status_dict"].get("HTTP Error 404", 0) for one in stats) == 1
    data = web.pictures[3].partition(b"\r\n\r\n")[2]
    three = found["http://a3.example/ok/3.jpg"]
    assert (three["sha256"], three["md5"]) == (sha256(data).hexdigest(), md5(data).hexdigest())
    assert three["bytes"] == len(data) and three["http_status"] == 200 and three["error_message"] is None


@pytest.mark.parametrize(
    ("url", "status", "reason"),
    [
        ("http://a.example/missing", "failed_to_download", "status"),
        ("http://a.example/error", "failed_to_download", "status"),
        ("http://a.example/loop/1", "failed_to_download", "redirect"),
        ("http://a.example/nowhere", "failed_to_download", "redirect"),
        ("http://a.example/moved", "success", "ok"),
        ("http://a.example/private", "failed_to_download", "blocked"),
        ("http://a.example/elsewhere", "failed_to_download", "robots"),
        ("http://a.example/html", "failed_to_download", "unwanted"),
        ("http://a.example/typed", "success", "ok"),
        ("http://a.example/noai", "failed_to_download", "x_robots_tag"),
        ("http://a.example/otherbot", "success", "ok"),
        ("http://a.example/tdm", "failed_to_download", "tdm"),
        ("http://a.example/cut", "failed_to_download", "damaged"),
        ("http://a.example/header", "failed_to_download", "damaged"),
        ("http://a.example/bomb", "failed_to_download", "unwanted"),
        ("http://a.example/large", "failed_to_download", "too_large"),
        ("http://a.example/endless", "failed_to_download", "too_large"),
        ("http://a.example/broken", "failed_to_resize", "undecodable"),
        ("http://busy.example/busy/1", "success", "ok"),
        ("http://later.example/later", "failed_to_download", "status"),
        ("http://dead.example/ok/1", "failed_to_download", "dns"),
        ("http://refused.example/ok/1", "failed_to_download", "unreachable"),
        ("http://inside.example/ok/1", "failed_to_download", "blocked"),
        ("http://127.0.0.1/ok/1", "failed_to_download", "blocked"),
        ("http://norobots.example/ok/1", "failed_to_download", "robots"),
        ("http://noclipworks.example/ok/1", "failed_to_download", "robots"),
        ("http://robots500.example/ok/1", "failed_to_download", "robots_unavailable"),
        ("http://reserved.example/ok/1", "failed_to_download", "tdm"),
        ("http://reserved.example/ok/5", "success", "ok"),
        ("file:///etc/passwd", "failed_to_download", "malformed"),
    ],
)
def test_every_address_has_a_row_with_its_fate(
    faults: dict[str, dict[str, Any]], url: str, status: str, reason: str
) -> None:
    row = faults[url]
    assert (row["status"], row["reason"]) == (status, reason)
    assert (row["error_message"] is None) is (status == "success")


@pytest.fixture(scope="module")
def faults(web: PictureWeb, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """All addresses of the table above, fetched once."""
    table = test_every_address_has_a_row_with_its_fate.pytestmark[0].args[1]  # type: ignore[attr-defined]
    urls = [url for url, _, _ in table]
    return fetched(web, tmp_path_factory.mktemp("faults"), urls, "max_bytes=1000000", "connections=1")


def test_hosts_that_hang_or_drip_hold_nothing_up_beyond_the_deadline(web: PictureWeb, tmp_path: Path) -> None:
    urls = [f"http://slow{i}.example/{kind}/9999" for i, kind in enumerate(["hang", "drip"] * 3)]
    urls += [f"http://fine{i}.example/ok/{i}" for i in range(9)]
    found = fetched(web, tmp_path, urls, "total_seconds=0.8", "read_seconds=0.6")
    assert {row["reason"] for url, row in found.items() if "slow" in url} == {"timeout"}
    assert sum(row["status"] == "success" for row in found.values()) >= 8  # a busy machine may miss one


@pytest.mark.slow
def test_a_shard_ends_by_its_deadline_with_a_row_for_what_was_not_asked(
    web: PictureWeb, tmp_path: Path
) -> None:
    urls = [f"http://hang.example/hang/{i}" for i in range(20)] + ["http://fine.example/ok/1"]
    found = fetched(web, tmp_path, urls, "shard_seconds=1.5")
    assert {row["reason"] for url, row in found.items() if "hang" in url} == {"deadline"}
    assert found["http://fine.example/ok/1"]["status"] == "success"


def test_a_host_is_asked_by_as_many_at_once_as_is_polite_and_each_address_once(
    web: PictureWeb, tmp_path: Path
) -> None:
    urls = [f"http://polite.example/slow/0.02/{i}" for i in range(12)] * 2
    fetched(web, tmp_path, urls)
    asked = [path for host, path in web.requests if host == "polite.example"]
    assert web.most_at_once["polite.example"] <= 2
    assert len(asked) == 14 and asked.count("/robots.txt") == 1


@pytest.mark.slow
def test_a_crawl_delay_is_kept(web: PictureWeb, tmp_path: Path) -> None:
    fetched(web, tmp_path, [f"http://delayed.example/ok/{i}" for i in range(4)])
    times = web.times["delayed.example"][-4:]
    assert all(b - a >= 0.28 for a, b in zip(times, times[1:], strict=False))


def test_lists_of_the_operator_are_obeyed_before_anything_is_asked(web: PictureWeb, tmp_path: Path) -> None:
    data = web.pictures[2].partition(b"\r\n\r\n")[2]
    opt_outs, blocklist = tmp_path / "opt.txt", tmp_path / "block.txt"
    opt_outs.write_text("optedout.example\n")
    urls = [
        "http://optedout.example/ok/1",
        "http://blocked.example/ok/1",
        "http://pictures.example/ok/2",
        "http://pictures.example/ok/3",
    ]
    blocklist.write_text(f"{sha256(urls[1].encode()).hexdigest()}\n{sha256(data).hexdigest()}\n")
    found = fetched(web, tmp_path, urls, opt_outs=(opt_outs,), blocklists=(blocklist,))
    assert [found[url]["reason"] for url in urls] == ["opt_out", "blocklist", "blocklist", "ok"]
    assert not {"optedout.example", "blocked.example"} & {host for host, _ in web.requests}


def test_consent_can_be_switched_off_each_for_itself(web: PictureWeb, tmp_path: Path) -> None:
    urls = ["http://norobots.example/ok/1", "http://a.example/noai", "http://a.example/tdm"]
    found = fetched(web, tmp_path, urls, "robots=false", "tags=false", "tdm=false")
    assert {row["status"] for row in found.values()} == {"success"}


@pytest.mark.slow
def test_failed_rows_are_asked_again_into_shards_that_follow(web: PictureWeb, tmp_path: Path) -> None:
    hosts = ("flaky", "fine", "norobots")
    urls = [f"http://{host}.example/ok/{i}" for host in hosts for i in range(3)]
    urls.append("http://fine.example/missing")
    resolve = web.resolve

    async def no_flaky(host: str, port: int) -> Any:
        return await resolve(host.replace("flaky", "dead"), port)

    first, second = tmp_path / "out", tmp_path / "again"
    made = config("rows_per_shard=4")
    fetch_images(listed(tmp_path, urls), first, made, wires=replace(web.wires, resolve=no_flaky))
    before = {path.name: path.read_bytes() for path in first.iterdir() if path.is_file()}
    fetch_images(retry_job(first, made), second, made, wires=web.wires)
    found = rows(second)
    assert set(found) == set(urls[:3]) and {row["status"] for row in found.values()} == {"success"}
    assert {row["key"][:5] for row in found.values()} == {"00003"}
    assert {row["uid"] for row in found.values()} == {rows(first)[url]["uid"] for url in urls[:3]}
    assert before == {path.name: path.read_bytes() for path in first.iterdir() if path.is_file()}
    everything = with_fetch_settings(made, ["retry=all"])
    assert retry_job(first, everything).links.retry == "all"
    fetch_images(retry_job(first, everything), tmp_path / "all", everything, wires=web.wires)
    assert set(rows(tmp_path / "all")) == {*urls[:3], urls[-1]}
    with pytest.raises(DataError, match="no rows"):
        fetch_images(retry_job(second, made), tmp_path / "none", made, wires=web.wires)


def test_hashes_of_the_input_are_verified(web: PictureWeb, tmp_path: Path) -> None:
    good = sha256(web.pictures[1].partition(b"\r\n\r\n")[2]).hexdigest()
    path = tmp_path / "list.csv"
    path.write_text(
        f"url,text,sha256\nhttp://a.example/ok/1,One,{good.upper()}\nhttp://a.example/ok/2,Two,{good}\n"
        "http://a.example/ok/3,Three,\n"
    )
    job = FetchJob(links=find_list(path))
    fetch_images(job, tmp_path / "out", config("verify=sha256"), wires=web.wires)
    found = rows(tmp_path / "out")
    assert [found[f"http://a.example/ok/{i}"]["reason"] for i in (1, 2, 3)] == ["ok", "hash_mismatch", "ok"]
    with tarfile.open(tmp_path / "out" / "00000.tar") as tar:
        assert len(tar.getnames()) == 6
    with pytest.raises(DataError, match="md5"):
        fetch_images(job, tmp_path / "md5", config("verify=md5"), wires=web.wires)
    assert not (tmp_path / "md5").exists()


def test_a_finished_folder_is_left_alone_and_other_settings_are_refused(
    web: PictureWeb, tmp_path: Path
) -> None:
    job = listed(tmp_path, ["http://a.example/ok/1"])
    first = fetch_images(job, tmp_path / "out", config(), wires=web.wires)
    num_requests = len(web.requests)
    assert fetch_images(job, tmp_path / "out", config("delay_seconds=1"), wires=web.wires) == first
    assert len(web.requests) == num_requests
    with pytest.raises(ConfigError, match="image_size"):
        fetch_images(job, tmp_path / "out", config("image_size=64"), wires=web.wires)
    with pytest.raises(ConfigError, match="begun with input"):
        fetch_images(listed(tmp_path, ["http://a.example/ok/2"]), tmp_path / "out", config(), wires=web.wires)
    assert fetch_images(job, tmp_path / "out", config(), wires=web.wires) == first


def test_what_cannot_be_fetched_into_is_said_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "hello.txt").write_text("hello")
    job = listed(tmp_path, ["http://a.example/ok/1"])
    with pytest.raises(DataError, match=r"hello\.txt holds no whole WARC record"):
        fetch_images(replace(job, archives=(tmp_path / "hello.txt",)), tmp_path / "out", config())
    assert not (tmp_path / "out").exists()
    with pytest.raises(DataError, match=r"hello\.txt is a file\. Choose another --out"):
        fetch_images(job, tmp_path / "hello.txt", config())


@pytest.mark.parametrize(
    "setting",
    [
        "rows_per_shard=10001",
        "parallel_requests=0",
        "shard_seconds=0",
        "verify=crc",
        "retry=some",
        "nothing=1",
    ],
)
def test_settings_out_of_range_or_unknown_are_refused(setting: str) -> None:
    with pytest.raises(ConfigError):
        config(setting)


def test_nobody_is_asked_where_the_web_is_not_to_be(web: PictureWeb, tmp_path: Path) -> None:
    url = "http://a.example/ok/1"
    row = fetched(web, tmp_path, [url], "web=false")[url]
    assert (row["status"], row["reason"]) == ("failed_to_download", "not_archived")
