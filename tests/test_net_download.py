"""Large bodies go into files, by the same rules as pictures."""

import asyncio
import io
from collections.abc import Awaitable, Callable
from typing import IO, Any

import pytest
from web import Web, answer, redirect, running_web

from clipworks.errors import NetError
from clipworks.net import Fetched, FetchRules

URL = "http://pictures.example/crawl.warc.gz"
BODY = bytes(range(256)) * 4000


def in_web(story: Callable[[Web], Awaitable[Any]]) -> Any:
    async def play() -> Any:
        async with running_web() as web:
            web.pages["/crawl.warc.gz"] = answer(BODY)
            return await story(web)

    return asyncio.run(play())


async def download(web: Web, file: IO[bytes], rules: FetchRules | None = None) -> Fetched:
    fetcher = web.fetcher(rules)
    try:
        return await fetcher.download(URL, file)
    finally:
        fetcher.close()


def test_a_body_is_written_to_a_file() -> None:
    async def story(web: Web) -> None:
        web.pages["/other"] = answer(BODY)
        web.pages["/crawl.warc.gz"] = redirect("http://pictures.example/other")
        file = io.BytesIO()
        found = await download(web, file)
        assert file.getvalue() == BODY and found.data == b"" and found.url.endswith("/other")

    in_web(story)


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        (answer(BODY, status="503 Slow Down"), "status"),
        (answer(BODY, length=len(BODY) + 1), "damaged"),
        (answer(BODY * 2), "too_large"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + BODY * 2, "too_large"),
    ],
)
def test_what_is_not_whole_is_an_error(page: bytes, reason: str) -> None:
    async def story(web: Web) -> None:
        web.pages["/crawl.warc.gz"] = page
        await download(web, io.BytesIO(), FetchRules(mode="public", max_bytes=len(BODY) + 1))

    with pytest.raises(NetError) as caught:
        in_web(story)
    assert caught.value.reason == reason


def test_nothing_is_downloaded_where_fetching_is_off() -> None:
    with pytest.raises(NetError, match="switched off"):
        in_web(lambda web: download(web, io.BytesIO(), FetchRules()))


def test_a_full_disk_is_no_fault_of_the_network() -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        in_web(lambda web: download(web, Full()))
