import gzip
from pathlib import Path
from threading import current_thread

import pytest
from picture_web import picture, running_pictures

from clipworks.collect.archived import ArchivedPicture, ArchivedPictures
from clipworks.collect.fetch import FetchJob, fetch_images
from clipworks.collect.lists import find_list
from clipworks.collect.settings import FetchConfig, with_fetch_settings
from clipworks.errors import DataError
from clipworks.tables import read_table

PICTURE = picture(11)


def record(url: str, body: bytes, *headers: str, status: str = "200 OK", kind: str = "response") -> bytes:
    answer = f"HTTP/1.1 {status}\r\n" + "".join(f"{line}\r\n" for line in headers) + "\r\n"
    block = answer.encode() + body
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nContent-Length: {len(block)}\r\n\r\n"
    return head.encode() + block + b"\r\n\r\n"


RECORDS = (
    record("http://a.example/page", b"<html>", "Content-Type: text/html"),
    record("http://A.example:80/plain.jpg", PICTURE, "Content-Type: image/jpeg"),
    record("http://a.example/typed.jpg", PICTURE, "Content-Type: text/plain"),
    record("http://a.example/gone.jpg", PICTURE, status="404 Not Found"),
    record("http://a.example/asked.jpg", PICTURE, kind="request"),
    record("http://a.example/noai.jpg", PICTURE, "X-Robots-Tag: noai"),
    record(
        "http://a.example/chunked.jpg",
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(PICTURE), PICTURE),
        "Transfer-Encoding: chunked",
    ),
    record("http://a.example/packed.jpg", gzip.compress(PICTURE), "Content-Encoding: gzip"),
    record("http://a.example/plain.jpg", picture(12), "Content-Type: image/jpeg"),
)
HELD = ("plain", "typed", "noai", "chunked", "packed")


@pytest.fixture(params=["crawl.warc.gz", "crawl.warc"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    is_packed = path.suffix == ".gz"
    path.write_bytes(b"".join(gzip.compress(one) if is_packed else one for one in RECORDS))
    return path


def test_pictures_are_found_by_their_address_and_the_first_counts(archive: Path, tmp_path: Path) -> None:
    for _ in range(2):  # the second time from the index
        archived = ArchivedPictures([archive], tmp_path / "index.sqlite")
        for name in HELD:
            found = archived.find(f"http://a.example/{name}.jpg")
            assert found is not None and found.data == PICTURE, name
        for name in ("page", "gone.jpg", "asked.jpg", "missing.jpg"):
            assert archived.find(f"http://a.example/{name}") is None
        assert archived.counts["archived_pictures"] == 6
        archived.close()


def test_archived_pictures_are_used_without_asking_the_web(archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("\n".join(f"http://a.example/{name}.jpg" for name in (*HELD, "gone")))
    opt_outs = tmp_path / "opt.txt"
    opt_outs.write_text("http://a.example/packed.jpg\n")
    job = FetchJob(links=find_list(path), archives=(archive,), opt_outs=(opt_outs,))
    with running_pictures() as web:
        config = with_fetch_settings(FetchConfig(), ["delay_seconds=0"])
        manifest = fetch_images(job, tmp_path / "out", config, wires=web.wires)
        assert {path for _, path in web.requests} == {
            "/robots.txt",
            "/.well-known/tdmrep.json",
            "/gone.jpg",
        }
    assert manifest["counts"] == {"archived": 3, "http_404": 1, "opt_out": 1, "x_robots_tag": 1}
    rows = read_table(tmp_path / "out" / "00000.parquet").to_pylist()
    assert {row["reason"] for row in rows if row["status"] == "success"} == {"archived"}


def test_a_picture_that_cannot_be_read_costs_its_own_row_and_no_turn_of_the_loop(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, threads = ArchivedPictures.find, set[str]()

    def fail_for_one(self: ArchivedPictures, url: str) -> ArchivedPicture | None:
        threads.add(current_thread().name.partition("_")[0])
        if "typed" in url:
            raise DataError("The archive is damaged.")
        return find(self, url)

    monkeypatch.setattr(ArchivedPictures, "find", fail_for_one)
    path = tmp_path / "list.txt"
    path.write_text("\n".join(f"http://a.example/{name}.jpg" for name in ("plain", "typed", "packed")))
    config = with_fetch_settings(FetchConfig(), ["web=false"])
    manifest = fetch_images(FetchJob(links=find_list(path), archives=(archive,)), tmp_path / "out", config)
    assert manifest["counts"] == {"archived": 2, "damaged": 1}
    assert threads == {"writing"}


def test_an_archive_that_is_missing_or_changes_is_said(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.warc"):
        ArchivedPictures([tmp_path / "missing.warc"], tmp_path / "index.sqlite")
    archived = ArchivedPictures([archive], tmp_path / "index.sqlite")
    archive.write_bytes(b"x" * archive.stat().st_size)
    with pytest.raises(DataError, match="changed|damaged"):
        archived.find("http://a.example/plain.jpg")
    archived.close()


def test_an_index_that_is_none_is_said(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(DataError, match="Delete it"):
        ArchivedPictures([archive], tmp_path / "index.sqlite")
    archived = ArchivedPictures([archive], tmp_path / "good.sqlite")
    archived.close()
    with pytest.raises(DataError, match="cannot be read: Cannot operate on a closed database"):
        archived.find("http://a.example/plain.jpg")
