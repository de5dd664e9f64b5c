"""A web of pictures with all its faults: one loopback server behind every name. For tests and benchmarks.

Runs in a thread of its own, or as a program in a process of its own (`python picture_web.py PORT`). What
a path does is said by its first part; a host's robots.txt and tdmrep.json by the first part of its name.
"""

import asyncio
import io
import random
import socket
import sys
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread

from PIL import Image

from clipworks.collect.fetch import Wires

PUBLIC = "93.184.216.34"
REFUSING = "93.184.216.35"
"""An address behind which nobody listens."""

DRIP_SECONDS = 1.0
"""Between two bytes; thousands of drips must not be the work of this server."""


def picture(
    number: int, *, size: tuple[int, int] = (96, 64), kind: str = "JPEG", noise: bool = False
) -> bytes:
    """A small picture, another one for each number; `noise` gives it the bytes of a photograph."""
    draw = random.Random(number)
    small = Image.new("RGB", (6, 4))
    small.putdata([(draw.randrange(256), draw.randrange(256), draw.randrange(256)) for _ in range(24)])
    file = io.BytesIO()
    large = small.resize(size, Image.Resampling.BICUBIC)
    if noise:
        large = Image.blend(large, Image.effect_noise(size, 60).convert("RGB"), 0.3)
    large.save(file, kind)
    return file.getvalue()


def answer(
    body: bytes = b"", *, status: str = "200 OK", headers: Sequence[str] = (), length: int = -1
) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length < 0 else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _fixed() -> dict[str, bytes]:
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = bomb.compress(bytes(20 << 20)) + bomb.flush()
    return {
        "missing": answer(status="404 Not Found"),
        "error": answer(status="500 Oh No"),
        "loop": answer(status="302 Found", headers=["Location: /loop/again"]),
        "nowhere": answer(status="302 Found"),
        "html": answer(b"<html>no picture" * 100, headers=["Content-Type: text/html"]),
        "typed": answer(picture(7), headers=["Content-Type: text/plain"]),
        "noai": answer(picture(7), headers=["X-Robots-Tag: noai"]),
        "otherbot": answer(picture(7), headers=["X-Robots-Tag: otherbot: noindex"]),
        "tdm": answer(picture(7), headers=["TDM-Reservation: 1"]),
        "cut": answer(picture(7)[:300], length=5000),
        "header": answer(picture(7), headers=["X-Long: " + "x" * 70_000]),
        "bomb": answer(packed, headers=["Content-Encoding: gzip"]),
        "broken": answer(picture(7)[:200]),
        "large": answer(b"\xff\xd8\xff" + bytes(3 << 20)),
        "later": answer(status="429 Slow Down", headers=["Retry-After: 3600"]),
        "private": answer(status="302 Found", headers=["Location: http://inside.example/ok/1.jpg"]),
        "elsewhere": answer(status="302 Found", headers=["Location: http://norobots.example/ok/1.jpg"]),
        "moved": answer(status="301 Moved", headers=["Location: /ok/8.jpg"]),
    }


@dataclass(kw_only=True)
class PictureWeb:
    """What is asked of it, and what tests look at afterwards."""

    port: int = 0
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Host and path of each request."""
    agents: Counter[str] = field(default_factory=Counter)
    most_at_once: Counter[str] = field(default_factory=Counter)
    """Host -> most requests at the same time."""
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Host -> when each request came, seconds."""
    num_connections: int = 0
    keeps_log: bool = True
    pictures: list[bytes] = field(default_factory=lambda: [answer(picture(i)) for i in range(16)])
    _now: Counter[str] = field(default_factory=Counter)
    _fixed: dict[str, bytes] = field(default_factory=_fixed)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """As a resolver: names that begin with `dead` do not exist, `inside` is a private one."""
        if host.startswith("dead"):
            raise socket.gaierror(-2, "Name or service not known")
        if host.startswith("inside"):
            return ["10.0.0.1"]
        return [REFUSING if host.startswith("refused") else PUBLIC]

    def route(self, address: str, port: int) -> tuple[str, int]:
        return ("127.0.0.1", 1 if address == REFUSING else self.port)

    @property
    def wires(self) -> Wires:
        return Wires(resolve=self.resolve, route=self.route)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                path = head.split(" ", 2)[1]
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                fields = {name.lower(): value for name, value in fields.items()}
                if not await self._answer(fields.get("host", ""), path, fields, writer):
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, host: str, path: str, fields: dict[str, str], writer: asyncio.StreamWriter
    ) -> bool:
        """Send what belongs there; whether the connection can go on."""
        if self.keeps_log:
            self.requests.append((host, path))
            self.agents[fields.get("user-agent", "")] += 1
            self.times[host].append(time.monotonic())
        self._now[host] += 1
        self.most_at_once[host] = max(self.most_at_once[host], self._now[host])
        try:
            if path in ("/robots.txt", "/.well-known/tdmrep.json"):
                writer.write(_word_of_host(host, path))
            else:
                kind, _, number = path[1:].partition("/")
                await self._picture(kind, number, host, path, writer)
            await writer.drain()
            return not path.startswith(("/cut", "/header"))
        finally:
            self._now[host] -= 1

    async def _picture(
        self, kind: str, number: str, host: str, path: str, writer: asyncio.StreamWriter
    ) -> None:
        if kind == "ok":
            writer.write(self.pictures[int(number.partition(".")[0]) % len(self.pictures)])
        elif kind == "busy":  # the first time too many requests, then the picture
            is_first = self.requests.count((host, path)) == 1
            busy = answer(status="429 Slow Down", headers=["Retry-After: 1"])
            writer.write(busy if is_first else self.pictures[0])
        elif kind == "hang":
            await asyncio.sleep(3600)
        elif kind == "slow":
            await asyncio.sleep(float(number.partition("/")[0]))
            writer.write(self.pictures[0])
        elif kind == "drip":
            num_bytes = int(number.partition("/")[0] or 3600)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n\xff\xd8\xff" % (num_bytes + 3))
            for _ in range(num_bytes):
                writer.write(b"\0")
                await writer.drain()
                await asyncio.sleep(DRIP_SECONDS)
        elif kind == "endless":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\xff\xd8\xff\0\r\n")
            while True:
                writer.write(b"8000\r\n" + bytes(32768) + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.001)
        else:
            writer.write(self._fixed.get(kind, self._fixed["missing"]))


def _word_of_host(host: str, path: str) -> bytes:
    kind = host.partition(".")[0].partition("-")[0]
    if path == "/robots.txt":
        words = {
            "norobots": b"User-agent: *\nDisallow: /\n",
            "noclipworks": b"User-agent: clipworks\nDisallow: /ok/\n\nUser-agent: *\nAllow: /\n",
            "delayed": b"User-agent: *\nCrawl-delay: 0.3\n",
        }
        if kind == "robots500":
            return answer(status="500 Oh No")
        return answer(words[kind]) if kind in words else answer(status="404 Not Found")
    if kind == "reserved":
        return answer(
            b'[{"location": "/ok/*", "tdm-reservation": 1}, {"location": "/ok/5*", "tdm-reservation": 0}]'
        )
    return answer(status="404 Not Found")


@contextmanager
def running_pictures(*, host: str = "127.0.0.1") -> Iterator[PictureWeb]:
    """The web in a thread, while the block runs."""
    web = PictureWeb()
    ready = Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        server = await asyncio.start_server(web.serve, host, 0, backlog=1000)
        web.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield web
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _serve_forever(port: int) -> None:
    sizes = ((200, 150), (300, 225), (400, 300), (512, 384))
    pictures = [answer(picture(i, size=sizes[i % 4], noise=True)) for i in range(16)]
    web = PictureWeb(keeps_log=False, pictures=pictures)
    server = await asyncio.start_server(web.serve, "0.0.0.0", port, backlog=4000)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve_forever(int(sys.argv[1])))
