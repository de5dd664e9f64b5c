"""Archives far away: broken off, refused, slow to come, and still the same pairs."""

import asyncio
import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from web import PUBLIC, Handler, Web, answer, running_web
from web_archive import gzipped, page, response

from clipworks.collect import crawl
from clipworks.collect.crawl import collect_pairs
from clipworks.net import Fetcher, FetchRules

BODY = gzipped(response(f"https://a.example/{n}", page(f"<img src={n}.png alt=x>")) for n in range(50))
NAME = "/crawl-data/x.warc.gz"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server in a thread of its own behind data.commoncrawl.org; pauses take no time."""
    loop, webs, ready = asyncio.new_event_loop(), list[Web](), threading.Event()
    done = asyncio.Event()

    async def serve() -> None:
        async with running_web() as one:
            one.names["data.commoncrawl.org"] = one.names["a.example"] = [PUBLIC]
            webs.append(one)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert ready.wait(10)
    monkeypatch.setattr(crawl, "Fetcher", partial(Fetcher, resolve=webs[0].resolve, dial=webs[0].dial))
    monkeypatch.setattr(crawl, "COMMON_CRAWL", "http://data.commoncrawl.org/")
    monkeypatch.setattr(crawl, "FIRST_PAUSE_SECONDS", 0.001)
    yield webs[0]
    loop.call_soon_threadsafe(done.set)
    thread.join()
    loop.close()


def served(*faults: bytes | None, cut: int = 0, has_ranges: bool = True) -> Handler:
    """Gives the body or what of it is asked for, at most `cut` bytes at a time, after faults."""
    waiting = list(faults)

    def give(head: bytes) -> bytes:
        if waiting and (fault := waiting.pop(0)) is not None:
            return fault
        asked = re.search(rb"range: bytes=(\d+)-", head, re.IGNORECASE)
        start = int(asked[1]) if asked and has_ranges else 0
        rest = BODY[start:]
        piece = rest[:cut] if cut else rest
        if asked and has_ranges:
            told = f"Content-Range: bytes {start}-{len(BODY) - 1}/{len(BODY)}"
            return answer(piece, status="206 Partial Content", headers=[told], length=len(rest))
        return answer(piece, length=len(rest))

    return give


def collected(tmp_path: Path, place: str = f"s3://commoncrawl{NAME}") -> tuple[int, str]:
    """Rows, and why there are none."""
    (part,) = collect_pairs([place], tmp_path / "out")["parts"]
    return part["rows"], part.get("failure", "")


def test_a_public_bucket_is_read_over_the_web(web: Web, tmp_path: Path) -> None:
    web.pages[NAME] = served()
    assert collected(tmp_path) == (50, "")
    assert b"Range" not in web.heads[0] and web.asked == ["data.commoncrawl.org"]


def test_an_archive_that_breaks_off_is_taken_up_where_it_did(web: Web, tmp_path: Path) -> None:
    web.pages[NAME] = served(cut=len(BODY) // 3)
    assert collected(tmp_path) == (50, "")
    starts = [int(found[1]) for found in re.finditer(rb"Range: bytes=(\d+)-", b"".join(web.heads))]
    assert starts[:2] == [len(BODY) // 3, len(BODY) // 3 * 2] and len(web.heads) == len(starts) + 1


def test_a_server_without_ranges_is_asked_for_all_of_it_again(web: Web, tmp_path: Path) -> None:
    broken = answer(BODY[:1000], length=len(BODY))
    web.pages[NAME] = served(broken, has_ranges=False)
    assert collected(tmp_path) == (50, "")
    assert [b"Range" in head for head in web.heads] == [False, True, False]


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Slow Down", "500 Internal Server Error"])
def test_a_server_that_asks_for_patience_is_asked_again(web: Web, tmp_path: Path, status: str) -> None:
    web.pages[NAME] = served(answer(status=status), answer(status=status))
    assert collected(tmp_path) == (50, "") and len(web.heads) == 3


@pytest.mark.parametrize("status", [403, 404])
def test_what_is_not_there_is_a_failed_part_at_once(web: Web, tmp_path: Path, status: int) -> None:
    web.pages[NAME] = served(answer(status=f"{status} No"))
    assert collected(tmp_path) == (0, f"It was not fetched: status (status {status}).")
    assert len(web.heads) == 1
    assert collected(tmp_path) == (50, "")


def test_a_server_that_never_gives_it_is_given_up(web: Web, tmp_path: Path) -> None:
    web.pages[NAME] = answer(status="503 Slow Down")
    assert collected(tmp_path) == (0, "It was not fetched: status (status 503).")
    assert len(web.heads) == crawl.MAX_TRIES


def test_an_address_that_no_name_leads_to_is_a_failed_part(web: Web, tmp_path: Path) -> None:
    rows, failure = collected(tmp_path, "http://gone.example/x.warc.gz")
    assert rows == 0 and "unreachable" in failure and len(web.asked) == crawl.MAX_TRIES


def test_a_rest_from_elsewhere_is_refused(web: Web, tmp_path: Path) -> None:
    elsewhere = answer(BODY, status="206 Partial Content", headers=["Content-Range: bytes 0-9/10"])
    web.pages[NAME] = served(answer(BODY[:1000], length=len(BODY)), elsewhere)
    crawl.fetch_archive(f"http://a.example{NAME}", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == BODY and len(web.heads) == 3


def test_rules_let_large_archives_through() -> None:
    assert FetchRules(mode="public", max_bytes=crawl.MAX_ARCHIVE_BYTES).max_bytes > 1 << 30
