"""Many who spend at once, on both databases, through the real application and the real process."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select

from clipworks.serve import keys
from clipworks.serve.database import Database, open_database
from clipworks.serve.tables import LEDGER
from tests.conftest import TinyClip
from tests.serve.colours import ColourEngine
from tests.serve.paying import TEXT_COST, assert_books_agree, balance, bearer, new_key, paid_server, rows

ROOT = Path(__file__).parent.parent.parent
SPENDERS = 64
EMBEDDINGS = "/v1/embeddings"


def billed(database: Database) -> int:
    """Requests that were paid for and not refunded."""
    return sum(row.requests for kind in ("settle", "release") for row in rows(database, kind))


@pytest.mark.slow
def test_64_spenders_are_answered_exactly_as_often_as_they_pay(address: str) -> None:
    """Half of what is asked for can be paid, and some of it fails in the engine."""
    engine = ColourEngine()
    calls = iter(range(10**9))
    whole = engine.embed_texts

    def sometimes(texts: Any, **named: Any) -> Any:
        if next(calls) % 7 == 3:
            raise RuntimeError("out of memory")
        return whole(texts, **named)

    engine.embed_texts = sometimes  # type: ignore[method-assign]
    with paid_server(address, engine, max_requests=SPENDERS) as (client, database):
        _, secret = new_key(database, credit=TEXT_COST * 300)
        body = {"model": "colours", "input": "red"}

        def spend(_: int) -> list[int]:
            return [client.post(EMBEDDINGS, json=body, headers=bearer(secret)).status_code for _ in range(10)]

        with ThreadPoolExecutor(SPENDERS) as pool:
            statuses = [status for some in pool.map(spend, range(SPENDERS)) for status in some]
        assert set(statuses) <= {200, 402, 500}
        assert statuses.count(200) == billed(database)
        assert statuses.count(200) == 300 and statuses.count(402) > 0 and statuses.count(500) > 0
        assert balance(database) == 0
        assert_books_agree(database)


@pytest.mark.slow
def test_64_who_send_the_same_eight_requests_pay_eight_times_and_hear_eight_answers(address: str) -> None:
    with paid_server(address, max_requests=SPENDERS) as (client, database):
        _, secret = new_key(database)

        def ask(place: int) -> tuple[str, int, bytes]:
            name = f"order {place % 8}"
            headers = {**bearer(secret), "idempotency-key": name}
            body = {"model": "colours", "input": f"red {name}"}
            while True:
                answer = client.post(EMBEDDINGS, json=body, headers=headers)
                if answer.status_code != 409:  # the first is in work
                    return name, answer.status_code, answer.content

        with ThreadPoolExecutor(SPENDERS) as pool:
            outcomes = list(pool.map(ask, range(4 * SPENDERS)))
        assert {status for _, status, _ in outcomes} == {200}
        assert len({(name, content) for name, _, content in outcomes}) == 8 == billed(database)
        assert balance(database) == 1_000_000 - 8 * TEXT_COST
        assert_books_agree(database)


@pytest.mark.slow
def test_nothing_is_set_aside_for_a_key_after_its_revocation_while_many_spend(address: str) -> None:
    with paid_server(address, max_requests=SPENDERS) as (client, database):
        key, secret = new_key(database)
        body = {"model": "colours", "input": "red"}
        has_begun = threading.Semaphore(0)

        def spend(_: int) -> int:
            while True:
                status = client.post(EMBEDDINGS, json=body, headers=bearer(secret)).status_code
                has_begun.release()
                if status != 200:
                    return status

        with ThreadPoolExecutor(16) as pool:
            spending = [pool.submit(spend, place) for place in range(16)]
            for _ in range(100):
                assert has_begun.acquire(timeout=60)
            with database.write() as connection:
                keys.revoke_key(connection, key)
                last = connection.execute(select(func.max(LEDGER.c.id))).scalar_one()
            assert [one.result() for one in spending] == [401] * 16
        assert all(row.id <= last for row in rows(database, "reserve"))
        assert_books_agree(database)


@contextmanager
def serving(address: str, model: str, log: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """`clipworks serve --require-keys` as a process; its address."""
    command = [sys.executable, "-m", "clipworks", "serve", "--require-keys", "--port", "0", "--model", model]
    environment = {**os.environ, "CLIPWORKS_DATABASE": address, "PYTHONUNBUFFERED": "1"}
    with log.open("a") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("Serving"), log.read_text()
        yield line.split()[-1], process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def raw_request(secret: str, body: bytes) -> bytes:
    head = (
        f"POST {EMBEDDINGS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {secret}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@pytest.mark.slow
def test_clients_that_hang_up_pay_for_what_the_server_answered(
    address: str, tiny_clip: TinyClip, tmp_path: Path
) -> None:
    database = open_database(address)
    _, secret = new_key(database)
    log = tmp_path / "log"
    body = json.dumps({"model": "native", "input": ["a red fox"] * 20}).encode()
    request = raw_request(secret, body)
    with serving(address, tiny_clip.native, log) as (where, process):
        host, port = where.removeprefix("http://").split(":")

        def hang_up(seed: int) -> None:
            rng = random.Random(seed)
            for _ in range(6):
                with socket.create_connection((host, int(port)), timeout=30) as connection:
                    connection.sendall(request[: rng.choice([len(request), len(request), 200])])
                    time.sleep(rng.random() * 0.03)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(hang_up, range(16)))
        assert (
            httpx2.post(
                f"{where}{EMBEDDINGS}",
                content=body,
                timeout=60,
                headers={**bearer(secret), "content-type": "application/json"},
            ).status_code
            == 200
        )
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    answered = len(re.findall(rf"POST {EMBEDDINGS} 200 ", log.read_text()))
    assert 0 < answered == billed(database)
    assert_books_agree(database)
    database.close()


PATIENT, HURRIED, GONE = "patient", "hurried", "gone"


def spend_somehow(where: str, secret: str, rng: random.Random) -> int:
    """One request of a client that waits, gives little time, or goes away; its status, 0 for who went."""
    body = {"model": "native", "input": ["a red fox"] * 3}
    kind = rng.choice([PATIENT, PATIENT, HURRIED, GONE])
    if kind == GONE:
        host, port = where.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(raw_request(secret, json.dumps(body).encode()))
            time.sleep(rng.random() * 0.05)
        return 0
    headers = bearer(secret)
    if kind == HURRIED:
        headers["x-request-timeout-ms"] = str(rng.randint(1, 60))
    return httpx2.post(f"{where}{EMBEDDINGS}", json=body, headers=headers, timeout=120).status_code


@pytest.mark.slow
def test_64_spenders_of_every_kind_pay_for_what_is_answered_while_workers_die(
    address: str, tiny_clip: TinyClip, tmp_path: Path
) -> None:
    """Some wait, some give little time, some hang up; the worker is killed twice; the credit runs out."""
    database = open_database(address)
    _, secret = new_key(database, credit=TEXT_COST * 3 * 150)
    log = tmp_path / "log"
    has_begun = threading.Semaphore(0)
    with serving(address, tiny_clip.native, log) as (where, process):

        def spend(seed: int) -> list[int]:
            rng, statuses = random.Random(seed), []
            for _ in range(6):
                statuses.append(spend_somehow(where, secret, rng))
                has_begun.release()
            return statuses

        with ThreadPoolExecutor(SPENDERS) as pool:
            asking = [pool.submit(spend, seed) for seed in range(SPENDERS)]
            for _ in range(2):
                for _ in range(60):
                    assert has_begun.acquire(timeout=120)
                for worker in children_of(process.pid):
                    os.kill(worker, signal.SIGKILL)
            statuses = [status for one in asking for status in one.result()]
        assert httpx2.get(f"{where}/livez", timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert set(statuses) <= {0, 200, 402, 429, 503, 504}, statuses
    answered = len(re.findall(rf"POST {EMBEDDINGS} 200 ", log.read_text()))
    assert 0 < statuses.count(200) <= answered == billed(database) <= 150
    assert balance(database) == TEXT_COST * 3 * (150 - answered)
    assert_books_agree(database)
    database.close()


def children_of(process: int) -> set[int]:
    tasks = Path(f"/proc/{process}/task")
    return {int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()}


@pytest.mark.slow
def test_a_server_killed_under_load_leaves_books_that_the_next_one_closes(
    address: str, tiny_clip: TinyClip, tmp_path: Path
) -> None:
    database = open_database(address)
    _, secret = new_key(database)
    body = {"model": "native", "input": ["a red fox"] * 3}
    answered = threading.Semaphore(0)
    num_answered = 0
    lock = threading.Lock()

    def ask(where: str) -> None:
        nonlocal num_answered
        with httpx2.Client(timeout=60) as client:
            while True:
                try:
                    answer = client.post(f"{where}{EMBEDDINGS}", json=body, headers=bearer(secret))
                except httpx2.TransportError:
                    return  # the server was killed
                assert answer.status_code == 200, answer.text
                with lock:
                    num_answered += 1
                answered.release()

    for _ in range(2):
        with serving(address, tiny_clip.native, tmp_path / "log") as (where, process):
            with ThreadPoolExecutor(16) as pool:
                asking = [pool.submit(ask, where) for _ in range(16)]
                for _ in range(60):
                    assert answered.acquire(timeout=60)
                process.kill()
                for one in asking:
                    one.result()
    with serving(address, tiny_clip.native, tmp_path / "log"):
        assert_books_agree(database)
    # Between the row and the last byte of the answer a process can die: those 16 are all that may differ.
    assert 0 <= billed(database) - num_answered <= 2 * 16
    assert balance(database) == 1_000_000 - billed(database) * 3 * TEXT_COST
    database.close()


@pytest.mark.slow
def test_two_servers_on_one_database_do_not_overdraw(
    address: str, tiny_clip: TinyClip, tmp_path: Path
) -> None:
    database = open_database(address)
    _, secret = new_key(database, credit=TEXT_COST * 60)
    body = {"model": "native", "input": "a red fox"}
    with (
        serving(address, tiny_clip.native, tmp_path / "a") as (first, _),
        serving(address, tiny_clip.native, tmp_path / "b") as (second, _),
    ):

        def spend(place: int) -> int:
            where = first if place % 2 else second
            return httpx2.post(
                f"{where}{EMBEDDINGS}", json=body, headers=bearer(secret), timeout=60
            ).status_code

        with ThreadPoolExecutor(16) as pool:
            statuses = list(pool.map(spend, range(120)))
    assert statuses.count(200) == 60 == billed(database) and statuses.count(402) == 60
    assert balance(database) == 0
    assert_books_agree(database)
    database.close()
