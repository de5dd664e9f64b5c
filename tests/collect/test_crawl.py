"""Archives are found wherever they are, and a run goes on where it stopped."""

import gzip
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from web_archive import gzipped, page, response

from clipworks.collect import crawl
from clipworks.collect.crawl import collect_pairs, find_archives, https_address, plan_pairs
from clipworks.errors import ConfigError, DataError, NetError
from clipworks.tables import num_rows

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "examples" / "crawl" / "scikit.warc.gz"


def write_archive(path: Path, url: str = "https://a.example/") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzipped([response(url, page("<img src=a.png alt=x>"))]))
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_folder_gives_its_archives_in_order_each_once(tmp_path: Path) -> None:
    for name in ("b.warc.gz", "a/x.warc", "a/x.warc.wat.gz", "c/x.warc.gz", "notes.txt"):
        write_archive(tmp_path / name)
    found = find_archives([str(tmp_path), str(tmp_path / "b.warc.gz")])
    assert [Path(one.path).name for one in found] == ["x.warc", "x.warc.wat.gz", "b.warc.gz", "x.warc.gz"]
    names = [one.name for one in found]
    assert names[1:3] == ["x.wat", "b"] and names[0].startswith("x-") and names[3].startswith("x-")
    assert len(set(names)) == 4


def test_a_list_names_paths_of_common_crawl_and_addresses(tmp_path: Path) -> None:
    path = tmp_path / "wat.paths.gz"
    path.write_bytes(gzip.compress(b"crawl-data/CC-MAIN-1/x.warc.wat.gz\ns3://commoncrawl/y.warc.gz\n"))
    assert [(one.name, one.path) for one in find_archives([str(path)])] == [
        ("x.wat", "https://data.commoncrawl.org/crawl-data/CC-MAIN-1/x.warc.wat.gz"),
        ("y", "s3://commoncrawl/y.warc.gz"),
    ]


@pytest.mark.parametrize(
    ("place", "address"),
    [
        ("s3://commoncrawl/crawl-data/x.warc.gz", "https://data.commoncrawl.org/crawl-data/x.warc.gz"),
        ("s3://bucket/a/x.warc.gz", "https://bucket.s3.amazonaws.com/a/x.warc.gz"),
        ("https://a.example/x.warc.gz", "https://a.example/x.warc.gz"),
    ],
)
def test_buckets_are_asked_over_https(place: str, address: str) -> None:
    assert https_address(place) == address


def test_places_that_cannot_be_read_are_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        find_archives([str(tmp_path / "none.warc.gz")])
    with pytest.raises(ConfigError, match="no archive"):
        find_archives([str(tmp_path)])
    with pytest.raises(ConfigError, match="names no object"):
        find_archives(["s3://bucket"])
    (tmp_path / "a.paths.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match="list of paths"):
        find_archives([str(tmp_path / "a.paths.gz")])


def test_the_same_command_again_changes_nothing(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.warc.gz")
    manifest = collect_pairs([str(archive)], tmp_path / "out")
    before = files_of(tmp_path / "out")
    assert collect_pairs([str(archive)], tmp_path / "out") == manifest
    assert files_of(tmp_path / "out") == before
    with pytest.raises(ConfigError, match="keep_textless"):
        collect_pairs([str(archive)], tmp_path / "out", keep_textless=True)


def test_the_plan_says_what_is_left(tmp_path: Path) -> None:
    archive, other = write_archive(tmp_path / "a.warc.gz"), write_archive(tmp_path / "b.warc.gz")
    collect_pairs([str(archive)], tmp_path / "out")
    plan = plan_pairs([str(archive), str(other), "https://a.example/c.warc.gz"], tmp_path / "out")
    assert (plan.archives, plan.done, plan.remote, plan.missing_bytes) == (3, 1, 1, other.stat().st_size)


def test_what_is_far_is_fetched_and_failures_can_be_tried_again(tmp_path: Path) -> None:
    asked = []

    def fail(url: str, path: Path) -> None:
        asked.append(url)
        raise NetError("No.", reason="status", status=403)

    def give(url: str, path: Path) -> None:
        asked.append(url)
        write_archive(path)

    place, out = "s3://commoncrawl/x.warc.gz", tmp_path / "out"
    manifest = collect_pairs([place], out, download=fail)
    assert manifest["counts"] == {"failed_sources": 1}
    assert manifest["parts"][0]["failure"] == "It was not fetched: status (status 403)."
    assert collect_pairs([place], out, download=give)["rows"] == 1
    assert collect_pairs([place], out, download=give)["rows"] == 1
    assert asked == ["https://data.commoncrawl.org/x.warc.gz"] * 2


def test_a_fetch_is_tried_again_if_the_failure_may_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    failures = [NetError("", reason="timeout"), NetError("", reason="status", status=503)]
    pauses: list[float] = []

    async def download(rules: object, url: str, path: Path) -> None:
        if failures:
            raise failures.pop()

    monkeypatch.setattr(crawl, "_download", download)
    monkeypatch.setattr(time, "sleep", pauses.append)
    crawl.fetch_archive("https://a.example/x", tmp_path / "x")
    assert pauses == [5.0, 10.0]
    failures.append(NetError("", reason="status", status=404))
    with pytest.raises(NetError):
        crawl.fetch_archive("https://a.example/x", tmp_path / "x")
    failures.extend(NetError("", reason="timeout") for _ in range(9))
    with pytest.raises(NetError):
        crawl.fetch_archive("https://a.example/x", tmp_path / "x")
    assert len(failures) == 4


@pytest.mark.slow
def test_processes_make_the_same_bytes(tmp_path: Path) -> None:
    for number in range(3):
        write_archive(tmp_path / "in" / f"{number}.warc.gz", f"https://a.example/{number}")
    collect_pairs([str(tmp_path / "in")], tmp_path / "one")
    collect_pairs([str(tmp_path / "in")], tmp_path / "two", workers=2)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(SMALL, tmp_path / "in" / f"{number:02}.warc.gz")
    collect_pairs([str(tmp_path / "in")], tmp_path / "whole")
    command = [sys.executable, "-m", "clipworks", "collect", "pairs", str(tmp_path / "in")]
    for kill in range(10):
        out = tmp_path / f"killed-{kill}"
        process = subprocess.Popen([*command, "--out", str(out)], cwd=ROOT)
        wanted = 1 + kill
        deadline = time.monotonic() + 60
        while len(list(out.glob("*.part.json"))) < wanted and process.poll() is None:
            assert time.monotonic() < deadline
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        manifest = collect_pairs([str(tmp_path / "in")], out)
        assert files_of(out) == files_of(tmp_path / "whole")
        assert sum(num_rows(path) for path in out.glob("*.parquet")) == manifest["rows"] == 12 * 185
