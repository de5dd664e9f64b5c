"""Kept connections to one server, against a server that says what the test wants, byte for byte."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from web import answer

from clipworks.errors import ConfigError, NetError
from clipworks.origins import Answer, Origin, OriginRules

Story = Callable[["Peer"], Awaitable[Any]]


class Peer:
    """A server: every connection is answered with the next bytes of the script, one answer per request."""

    def __init__(self) -> None:
        self.script: list[bytes] = []
        self.requests: list[bytes] = []
        self.num_connections = 0
        self.closes_after = False
        self.pause = 0.0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        try:
            while self.script:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
                body = await reader.readexactly(int(length[0].split(b":")[1])) if length else b""
                self.requests.append(head + body)
                for piece in [self.script.pop(0)] if not self.pause else _pieces(self.script.pop(0)):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(self.pause)
                if self.closes_after:
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def _pieces(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@asynccontextmanager
async def peer() -> Any:
    one = Peer()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/"
    try:
        yield one
    finally:
        server.close()
        for _ in range(3):
            await asyncio.sleep(0)


def with_peer(story: Callable[[Peer, Origin], Awaitable[Any]], **rules: Any) -> Any:
    async def play() -> Any:
        async with peer() as one:
            origin = Origin(OriginRules(url=one.url, is_private=True, **rules))
            try:
                return await story(one, origin)
            finally:
                origin.close()

    return asyncio.run(play())


async def ask(origin: Origin, body: bytes | None = b"{}", **given: Any) -> Answer:
    values = {"seconds": 5.0, "max_bytes": 1000, **given}
    return await origin.ask("/embeddings", body=body, headers=[("Authorization", "Bearer k")], **values)


def refused(reason: str, story: Callable[[Peer, Origin], Awaitable[Any]], **rules: Any) -> NetError:
    with pytest.raises(NetError) as caught:
        with_peer(story, **rules)
    assert caught.value.reason == reason
    return caught.value


def test_a_connection_is_kept_and_used_again() -> None:
    async def story(one: Peer, origin: Origin) -> None:
        one.script = [answer(b"first"), answer(b"", status="404 No"), answer(b"third")]
        assert (await ask(origin)).data == b"first"
        assert (await ask(origin)).status == 404
        assert (await ask(origin, None)).data == b"third"
        assert one.num_connections == 1
        lines = one.requests[0].decode().split("\r\n")
        assert lines[0] == "POST /v1/embeddings HTTP/1.1" and lines[-1] == "{}"
        assert "authorization: bearer k" in [line.lower() for line in lines]
        assert one.requests[2].startswith(b"GET /v1/embeddings HTTP/1.1")

    with_peer(story)


def test_a_kept_connection_that_the_server_has_closed_is_opened_anew() -> None:
    async def story(one: Peer, origin: Origin) -> None:
        one.closes_after = True
        one.script = [answer(b"first"), answer(b"second")]
        assert (await ask(origin)).data == b"first"
        assert (await ask(origin)).data == b"second"
        assert one.num_connections == 2

    with_peer(story)


def test_a_connection_that_was_idle_for_long_is_not_used() -> None:
    async def story(one: Peer, origin: Origin) -> None:
        one.script = [answer(b"first"), answer(b"second")]
        await ask(origin)
        await asyncio.sleep(0.02)
        await ask(origin)
        assert one.num_connections == 2

    with_peer(story, idle_seconds=0.01)


def test_questions_at_the_same_time_have_connections_of_their_own_up_to_the_limit() -> None:
    async def story(one: Peer, origin: Origin) -> None:
        one.script = [answer(b"x")] * 6
        answers = await asyncio.gather(*(ask(origin) for _ in range(6)))
        assert [each.data for each in answers] == [b"x"] * 6 and one.num_connections <= 2

    with_peer(story, max_connections=2)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "unreachable"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "damaged"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", "damaged"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "damaged"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000, "damaged"),
        (answer(bytes(1001)), "too_large"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1001), "too_large"),
        (answer(b"x", headers=["Content-Encoding: gzip"]), "unwanted"),
    ],
)
def test_what_is_no_whole_answer_is_none(said: bytes, reason: str) -> None:
    async def story(one: Peer, origin: Origin) -> None:
        one.script = [said]
        one.closes_after = True
        await ask(origin)

    refused(reason, story)


def test_slow_bytes_end_with_the_time() -> None:
    async def story(one: Peer, origin: Origin) -> None:
        one.script = [answer(bytes(900))]
        one.pause = 0.01
        await ask(origin, seconds=0.2)

    refused("timeout", story)


def test_a_server_that_is_not_there_is_unreachable() -> None:
    async def story(one: Peer, origin: Origin) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        other = Origin(OriginRules(url=f"http://127.0.0.1:{port}", is_private=True))
        try:
            await ask(other)
        finally:
            other.close()

    refused("unreachable", story)


def test_a_private_address_is_dialled_only_where_it_is_said_to_be_one() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.216.34", "10.0.0.7"]

    async def dial(address: str, port: int) -> socket.socket:
        raise AssertionError("nothing is dialled")

    async def play() -> None:
        origin = Origin(OriginRules(url="https://clip.example/v1"), resolve=resolve, dial=dial)
        try:
            await ask(origin)
        finally:
            origin.close()

    with pytest.raises(NetError) as caught:
        asyncio.run(play())
    assert caught.value.reason == "blocked" and "10.0.0.7" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": "ftp://a.example"}, "https://host/path"),
        ({"url": "http://a.example/v1"}, "private = true"),
        ({"url": "https://a.example/v1?key=1"}, "question mark"),
    ],
)
def test_an_address_that_cannot_be_used_is_said(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        OriginRules(**given)


def test_authorities_that_cannot_be_read_are_said() -> None:
    with pytest.raises(ConfigError, match="nowhere.pem cannot be read"):
        Origin(OriginRules(url="https://a.example", ca_file="/nowhere.pem"))
