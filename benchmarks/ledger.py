"""Milliseconds that accounts add to a request; writes benchmarks/results/ledger.json.

An accounted request is what the gate does beside the work: the key is looked up, its limits are counted,
the cost is set aside, the answer is paid, the headers are made. Through the gate of the server, in its
event loop, without HTTP and without a model; each request waits for its commit. SQLite in a file, with
the server's settings; PostgreSQL over a socket, with fsync. Alone: one client. Together: 64, each of which
sends its next request when the one before is answered; ms of a request then contains its wait for the
others, and `ms_each` is the time of all divided by their number.

Run: python -m benchmarks.ledger
"""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from benchmarks.machine import summarise, write_result
from clipworks.serve import accounts, keys
from clipworks.serve.audit import check
from clipworks.serve.database import open_database
from clipworks.serve.key_gate import KeyGate
from clipworks.serve.keys import KeyTerms
from clipworks.serve.prices import read_prices
from clipworks.serve.settings import ServeSettings
from tests.serve.cluster import new_database, reason_against, running_cluster

TOGETHER = 64
WARM_UP = 100
REQUESTS_ALONE = 500
REQUESTS_EACH = 15
RESPONSE = Response(b"{}", media_type="application/json")


def main() -> None:
    with databases() as places:
        write_result("ledger", {name: asyncio.run(measure(address)) for name, address in places.items()})


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    """Name -> address of an empty database of each kind that there is here."""
    with tempfile.TemporaryDirectory() as folder:
        places = {"sqlite": f"sqlite:///{folder}/accounts.db"}
        if reason_against():
            yield places
            return
        with running_cluster(is_durable=True) as cluster:
            yield {**places, "postgresql": new_database(cluster)}


async def measure(address: str) -> dict[str, Any]:
    database = open_database(address)
    terms = KeyTerms(name="bench", requests_per_minute=10**9, images_per_minute=10**9)
    with database.write() as connection:
        owner = accounts.create_account(connection, "bench", credit_micro_usd=10**12)
        _, secret = keys.create_key(connection, owner.id, terms)
    gate = KeyGate(database, read_prices(), ServeSettings(require_keys=True))
    async with gate.running():
        await _ask(gate, secret, WARM_UP)
        cpu = time.process_time()
        alone = await _ask(gate, secret, REQUESTS_ALONE)
        cpu = time.process_time() - cpu
        began = time.perf_counter()
        runs = await asyncio.gather(*(_ask(gate, secret, REQUESTS_EACH) for _ in range(TOGETHER)))
        seconds = time.perf_counter() - began
        assert await gate.books.read(check) == []
    together = [one for run in runs for one in run]
    return {
        "alone": {**summarise(alone, "ms"), "cpu_ms_each": round(cpu / len(alone) * 1000, 3)},
        f"together_{TOGETHER}": {
            **summarise(together, "ms"),
            "ms_each": round(seconds / len(together) * 1000, 3),
        },
    }


async def _ask(gate: KeyGate, secret: str, count: int) -> list[float]:
    """Milliseconds of each of `count` requests, one after the other."""
    spent = []
    for _ in range(count):
        began = time.perf_counter()
        caller = await gate.admit(_request(secret), "inference")
        charge = await caller.charge(model="pictogram", images=1, texts=0)
        await charge.settle(RESPONSE)
        caller.headers()
        spent.append((time.perf_counter() - began) * 1000)
    return spent


def _request(secret: str) -> Request:
    return Request(
        {
            "type": "http",
            "method": "POST",
            "path": "/v1/embeddings",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {secret}".encode())],
        }
    )


if __name__ == "__main__":
    main()
