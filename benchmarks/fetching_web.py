"""A loopback web of which most is dead or slow, for `fetching.py`: its rows, its names, and its server.

A host has one fault and shows it at all its addresses, as hosts do; what a path does is said by its first
part.

The server is a process of its own (`python -m benchmarks.fetching_web PORT`) and answers from memory with as
little work as can be, since it shares the cores with what is measured.
"""

import asyncio
import io
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

HOSTS_PER_ROW = 2
"""Hosts that rows are drawn from: a shuffled list of the web has few rows of one host in a shard."""
PORT = 8080
DEAF_PORT = 8443
"""Where nobody listens."""

MIX: Mapping[str, int] = {
    "ok": 42,
    "missing": 13,
    "dead": 10,
    "refused": 6,
    "hang": 15,
    "slow": 7,
    "drip": 7,
}
"""What hosts give, percent. 58 are dead or slow: `dead` names do not exist, `refused` hosts take no
connections, `missing` ones have lost their pictures (404); `hang` says nothing, to no question, `slow`
answers after 25 s, `drip` sends pictures of 12 s, a byte each: img2dataset has no deadline for a body, and a
longer one would hold it up longer."""

SLOW_SECONDS = 25
DRIP_BYTES = 12
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def write_rows(path: Path, rows: int, mix: Mapping[str, int] = MIX) -> None:
    """A csv of addresses and texts, the same for everybody, spread over the hosts as a shuffled list is."""
    draw = random.Random(5)
    num_hosts = HOSTS_PER_ROW * rows
    kinds = draw.choices(list(mix), list(mix.values()), k=num_hosts)
    with path.open("w", encoding="utf-8") as file:
        file.write("url,caption\n")
        for number in range(rows):
            host = draw.randrange(num_hosts)
            kind = kinds[host]
            port = DEAF_PORT if kind == "refused" else PORT
            file.write(
                f"http://{kind}-{host}.example:{port}/{kind}/{number}.jpg,a picture with number {number}\n"
            )


def place_of(host: str) -> str:
    """Where a host is, as an address of loopback; an error at once where there is no such name.

    Raises:
        OSError: the name does not exist.
    """
    kind, _, number = host.partition(".")[0].partition("-")
    if kind == "dead":
        raise OSError("no such name")
    high, low = divmod(int(number), 200)
    return f"127.{1 + high // 250 % 250}.{high % 250}.{1 + low}"


def pictures() -> list[bytes]:
    """Answers with JPEG files of 200 x 150 to 512 x 384 pixels, with the bytes of photographs."""
    from PIL import Image

    found = []
    for number in range(16):
        size = ((200, 150), (300, 225), (400, 300), (512, 384))[number % 4]
        draw = random.Random(number)
        small = Image.new("RGB", (6, 4))
        small.putdata([(draw.randrange(256), draw.randrange(256), draw.randrange(256)) for _ in range(24)])
        large = small.resize(size, Image.Resampling.BICUBIC)
        large = Image.blend(large, Image.effect_noise(size, 60).convert("RGB"), 0.3)
        file = io.BytesIO()
        large.save(file, "JPEG")
        data = file.getvalue()
        found.append(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    return found


class FaultyServer(asyncio.Protocol):
    """One connection. Bodies that never end are `endless`; `long` drips for an hour."""

    def __init__(self, files: Sequence[bytes]) -> None:
        self._files = files
        self._loop = asyncio.get_running_loop()
        self._waiting = b""
        self._timer: asyncio.TimerHandle | None = None
        self._is_full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while b"\r\n\r\n" in self._waiting:
            head, _, self._waiting = self._waiting.partition(b"\r\n\r\n")
            kind, _, rest = head.split(b" ", 2)[1].decode()[1:].partition("/")
            if kind in ("robots.txt", ".well-known"):
                is_stuck = b"\r\nHost: hang-" in head or b"\r\nHost: slow-" in head
                kind = "hang" if is_stuck else "missing"
            self._answer(kind, rest)

    def _answer(self, kind: str, rest: str) -> None:
        write = self._transport.write
        if kind == "ok":
            write(self._files[int(rest.partition(".")[0]) % len(self._files)])
        elif kind == "slow":
            self._timer = self._loop.call_later(SLOW_SECONDS, write, self._files[0])
        elif kind in ("drip", "long"):
            size = DRIP_BYTES if kind == "drip" else 3600
            write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n\xff\xd8\xff" % (size + 3))
            self._drip(size)
        elif kind == "endless":
            write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\xff\xd8\xff\0\r\n")
            self._pour()
        elif kind != "hang":
            write(_NOT_FOUND)

    def _drip(self, left: int) -> None:
        self._transport.write(b"\0")
        if left > 1:
            self._timer = self._loop.call_later(1, self._drip, left - 1)

    def _pour(self) -> None:
        if not self._is_full:
            self._transport.write(b"8000\r\n" + bytes(32768) + b"\r\n")
        self._timer = self._loop.call_later(0.002, self._pour)


async def _serve(port: int) -> None:
    files = pictures()
    server = await asyncio.get_running_loop().create_server(
        lambda: FaultyServer(files), "0.0.0.0", port, backlog=8192
    )
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
