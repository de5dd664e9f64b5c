"""What one connection makes of answers, said by a server byte for byte."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from web import PUBLIC, answer

from clipworks.addresses import parse_address
from clipworks.crawler import Crawler, CrawlRules
from clipworks.errors import NetError
from clipworks.exchange import Answer
from clipworks.names import Names

ADDRESS = parse_address("http://pictures.example/cat.jpg")
BODY = b"\xff\xd8\xff" + bytes(200)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ncb\r\n"


class Server:
    """Answers the requests of all connections with the next words of a script; None closes the connection."""

    def __init__(self, *script: bytes | None) -> None:
        self.script = list(script)
        self.heads: list[bytes] = []
        self.num_connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        try:
            while self.script:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                words = self.script.pop(0)
                if words is None:
                    break
                writer.write(words)
                await writer.drain()
                if self.script[:1] == [None]:
                    self.script.pop(0)
                    break
            else:
                await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def talk(server: Server, story: Callable[[Crawler], Awaitable[Any]], rules: CrawlRules | None = None) -> Any:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return [PUBLIC]

    async def play() -> Any:
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        crawler = Crawler(rules or CrawlRules(), Names(resolve), route=lambda _a, _p: ("127.0.0.1", port))
        try:
            return await story(crawler)
        finally:
            await crawler.close()
            listener.close()
            await asyncio.sleep(0)

    return asyncio.run(play())


def asked(server: Server, *, times: int = 1, **given: Any) -> list[Answer]:
    async def story(crawler: Crawler) -> list[Answer]:
        answers = []
        for _ in range(times):
            answers.append(await crawler.ask(ADDRESS, **given))
            crawler.let_go(len(answers[-1].data))
            assert crawler.held_bytes == 0
            await asyncio.sleep(0.01)
        return answers

    found = talk(server, story)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(
    "script",
    [
        [answer(BODY)],
        [CHUNKED + BODY + b"\r\n0\r\nTrailer: x\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\n\r\n" + BODY, None],
        [b"HTTP/1.0 200 OK\r\n\r\n" + BODY, None],
        [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer(BODY)],
        [b"HTTP/1.1 200 OK\nContent-Length: 203\n\n" + BODY],
        [answer(BODY, headers=["Empty:", "Odd: \x02ü"])],
    ],
    ids=["length", "chunks", "until it closes", "older HTTP", "hints first", "line feeds", "odd headers"],
)
def test_bodies_are_read_however_their_end_is_said(script: list[bytes | None]) -> None:
    found = asked(Server(*script))[0]
    assert found.status == 200 and found.data == BODY and found.header("link") is None


@pytest.mark.parametrize(
    "script",
    [
        [None],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + BODY, None],
        [CHUNKED + BODY, None],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc"],
        [b"SSH-2.0-OpenSSH\r\n\r\n"],
        [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc", None],
        [b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000],
        [b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000 + b"\r\n"],
    ],
    ids=["silence", "short", "short chunks", "two lengths", "no number", "ssh", "upgrade", "line", "lines"],
)
def test_what_is_no_whole_answer_is_damaged(script: list[bytes | None]) -> None:
    with pytest.raises(NetError) as caught:
        asked(Server(*script))
    assert caught.value.reason == "damaged"


def test_a_small_body_that_nobody_wants_does_not_cost_the_connection() -> None:
    server = Server(answer(bytes(9000), status="404 Not Found"), answer(BODY))
    found = asked(server, times=2, keep=True)
    assert [one.status for one in found] == [404, 200] and server.num_connections == 1
    large = Server(answer(bytes(90_000), status="404 Not Found"), answer(BODY))
    assert asked(large, times=2, keep=True)[1].data == BODY and large.num_connections == 2


def test_a_kept_connection_that_the_host_has_closed_is_opened_anew() -> None:
    server = Server(answer(BODY), None, answer(BODY))
    assert [one.status for one in asked(server, times=2, keep=True)] == [200, 200]
    assert server.num_connections == 2 and b"Connection: close" not in server.heads[0]


def test_an_answer_that_nobody_asked_for_ends_the_connection() -> None:
    server = Server(answer(BODY) + answer(b"second"), answer(BODY))
    assert [one.data for one in asked(server, times=2, keep=True)] == [BODY, BODY]
    assert server.num_connections == 2


def test_who_gives_up_leaves_no_bytes_and_no_connection() -> None:
    async def story(crawler: Crawler) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await crawler.ask(ADDRESS, keep=True)
        assert crawler.held_bytes == 0 and not crawler._kept

    talk(Server(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + BODY), story)


def test_a_mistake_in_what_is_wanted_is_told_as_it_is() -> None:
    def wrong(answer: Answer) -> bool:
        raise KeyError("mistake")

    with pytest.raises(KeyError, match="mistake"):
        asked(Server(answer(BODY)), is_wanted=wrong)


def test_a_pause_that_is_too_long_is_a_timeout_whatever_came_before() -> None:
    async def story(crawler: Crawler) -> None:
        with pytest.raises(NetError) as caught:
            await crawler.ask(ADDRESS)
        assert caught.value.reason == "timeout" and crawler.held_bytes == 0

    rules = CrawlRules(read_seconds=0.1)
    talk(Server(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + BODY), story, rules)
