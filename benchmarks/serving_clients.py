"""The clients of `benchmarks/serving.py`, a program of its own: few instructions per request, so that
what is measured is the server. Reads a plan as JSON from the file that is its argument, prints JSON.

A plan: address, path, bodies (files), concurrency, seconds, warm_seconds; rate (requests a second that
are sent whether or not answers have come; 0 for clients that each wait for their answer), and answers
(files with what each body's answer must be, or none).
"""

import asyncio
import base64
import json
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray


class Client:
    """One connection that sends one request after another."""

    def __init__(self, host: str, port: int, path: str) -> None:
        self._place = (host, port)
        self._path = path
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    def request(self, body: bytes) -> bytes:
        """The bytes of a request."""
        host, port = self._place
        head = (
            f"POST {self._path} HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer x\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def send(self, request: bytes) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of the answer; status 0 where the connection broke."""
        if self._reader is not None and self._reader.at_eof():
            self.close()  # the server ended an idle connection: every client opens another then
        try:
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_connection(*self._place)
            assert self._reader is not None
            self._writer.write(request)
            await self._writer.drain()
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.partition(": ") for line in head[1:] if line)
            headers = {name.lower(): value for name, _, value in pairs}
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
            if headers.get("connection", "") == "close":
                self.close()
            return int(head[0].split(" ")[1]), body, headers
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return 0, b"", {}

    def close(self) -> None:
        """Give up the connection; the next request opens another."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


class Run:
    """What was sent and what came back."""

    def __init__(self, plan: dict[str, Any]) -> None:
        place = urlsplit(plan["address"])
        self.plan = plan
        self.clients = [
            Client(str(place.hostname), int(place.port or 80), plan["path"])
            for _ in range(plan["concurrency"])
        ]
        self.requests = [self.clients[0].request(Path(name).read_bytes()) for name in plan["bodies"]]
        self.wanted = [np.load(name) for name in plan.get("answers", [])]
        self.rows: list[tuple[float, float, int]] = []
        """(when it was sent, milliseconds, status)"""
        self.num_wrong = 0
        self.largest_difference = 0.0

    async def one(self, client: Client, place: int) -> tuple[int, dict[str, str]]:
        start = time.perf_counter()
        status, body, headers = await client.send(self.requests[place])
        self.rows.append((start, (time.perf_counter() - start) * 1000, status))
        if status == 200 and self.wanted:
            self.check(body, self.wanted[place])
        return status, headers

    def check(self, body: bytes, wanted: NDArray[np.float32]) -> None:
        vector = np.frombuffer(base64.b64decode(json.loads(body)["data"][0]["embedding"]), dtype="<f4")
        difference = float(np.abs(vector - wanted).max())
        self.largest_difference = max(self.largest_difference, difference)
        self.num_wrong += difference > 1e-3

    async def closed(self, until: float) -> None:
        """Every client waits for its answer before it sends again, and waits when it is told to."""

        async def repeat(number: int, client: Client) -> None:
            place = number
            while time.perf_counter() < until:
                place = (place + 1) % len(self.requests)
                status, headers = await self.one(client, place)
                if status in (0, 429, 503):
                    await asyncio.sleep(int(headers.get("retry-after-ms", "100")) / 1000)

        await asyncio.gather(*(repeat(number, client) for number, client in enumerate(self.clients)))

    async def opened(self, until: float, rate: float) -> None:
        """Requests leave at a fixed rate as long as a connection is free."""
        free = list(self.clients)
        tasks: set[asyncio.Task[None]] = set()

        async def single(client: Client, place: int) -> None:
            await self.one(client, place)
            free.append(client)

        start, count = time.perf_counter(), 0
        while time.perf_counter() < until:
            await asyncio.sleep(max(0.0, start + count / rate - time.perf_counter()))
            count += 1
            if free:
                task = asyncio.create_task(single(free.pop(), count % len(self.requests)))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)


async def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    run = Run(plan)
    begin = time.perf_counter() + plan["warm_seconds"]
    until = begin + plan["seconds"]
    await (run.opened(until, plan["rate"]) if plan["rate"] else run.closed(until))
    rows = [row for row in run.rows if row[0] >= begin and row[0] + row[1] / 1000 <= until]
    times = sorted(row[1] for row in rows if row[2] == 200)
    statuses: dict[str, int] = {}
    for row in run.rows:
        statuses[str(row[2])] = statuses.get(str(row[2]), 0) + 1
    bad = [row[0] - begin for row in run.rows if row[2] not in (200, 429)]
    good = sorted(row[0] - begin + row[1] / 1000 for row in run.rows if row[2] == 200)
    thirds = [
        sum(1 for t in good if k * plan["seconds"] / 3 <= t < (k + 1) * plan["seconds"] / 3) for k in range(3)
    ]
    print(
        json.dumps(
            {
                "n": len(times),
                "requests_per_second": len(times) / plan["seconds"],
                "thirds_per_second": [count * 3 / plan["seconds"] for count in thirds],
                "p50_ms": times[len(times) // 2] if times else None,
                "p99_ms": times[min(len(times) - 1, int(0.99 * len(times)))] if times else None,
                "statuses": statuses,
                "wrong": run.num_wrong,
                "largest_difference": run.largest_difference,
                "longest_gap_seconds": max(
                    (b - a for a, b in zip(good, good[1:], strict=False)), default=None
                ),
                "failures_at_seconds": bad[:50],
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
