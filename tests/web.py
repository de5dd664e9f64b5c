"""A small internet of our own: names, public addresses, and one loopback server behind all of them.

The server says what it is told to, byte for byte, and remembers every connection and byte that reached
it. `Web.dial` leads public addresses to it; nothing else can be reached.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from clipworks.net import Fetcher, FetchRules

PUBLIC = "93.184.216.34"
OTHER = "8.8.8.8"

Handler = Callable[[bytes], bytes | Awaitable[bytes]]
"""The head of a request -> what is sent back before the connection is closed."""


def answer(
    body: bytes = b"", *, status: str = "200 OK", headers: Sequence[str] = (), length: int | None = None
) -> bytes:
    """An HTTP answer, its length said as it is or as `length`."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(status=status, headers=[f"Location: {location}"])


@dataclass(kw_only=True)
class Web:
    """What tests ask and what they look at afterwards."""

    port: int = 0
    names: dict[str, list[str]] = field(default_factory=dict)
    """Host name -> IP addresses."""
    pages: dict[str, bytes | Handler] = field(default_factory=dict)
    """Path without query -> what is sent."""
    asked: list[str] = field(default_factory=list)
    """Every name that was resolved."""
    dialled: list[tuple[str, int]] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    """The head of every request, as it arrived."""
    num_connections: int = 0

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.names:
            raise socket.gaierror(-2, "Name or service not known")
        return self.names[host]

    async def dial(self, address: str, port: int) -> socket.socket:
        """Whatever was let through is led to our server."""
        self.dialled.append((address, port))
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self.port))
        return connection

    def fetcher(self, rules: FetchRules | None = None, *, tls: ssl.SSLContext | None = None) -> Fetcher:
        return Fetcher(rules or FetchRules(mode="public"), resolve=self.resolve, dial=self.dial, tls=tls)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            path = head.split(b" ")[1].decode().partition("?")[0]
            page = self.pages.get(path, answer(status="404 Not Found"))
            given = page if isinstance(page, bytes) else page(head)
            writer.write(given if isinstance(given, bytes) else await given)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def running_web(*, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> AsyncIterator[Web]:
    web = Web(names={"pictures.example": [PUBLIC], "other.example": [OTHER]})
    server = await asyncio.start_server(web._serve, host, 0, ssl=tls)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        server.close()
        for _ in range(3):
            await asyncio.sleep(0)
