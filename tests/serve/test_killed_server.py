"""A server that is killed in the middle of a paid request, and what becomes of the money."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from clipworks.serve import key_gate
from clipworks.serve.database import Database
from clipworks.serve.tables import RESERVATIONS
from tests.serve.paying import TEXT_COST, assert_books_agree, balance, bearer, new_key, paid_server, rows

ROOT = Path(__file__).parent.parent.parent
EMBEDDINGS = "/v1/embeddings"
BODY = {"model": "colours", "input": "red"}

BEFORE_THE_ANSWER = """
class Fatal(ColourEngine):
    def _note(self, kind, count):
        os.kill(os.getpid(), signal.SIGKILL)
"""
AFTER_THE_CHARGE = """
Fatal, settle = ColourEngine, KeyCharge.settle
async def settle_and_die(self, response):
    await settle(self, response)
    os.kill(os.getpid(), signal.SIGKILL)
KeyCharge.settle = settle_and_die
"""
PROGRAM = """
import os, signal, sys
from clipworks.serve.key_gate import KeyCharge
from tests.serve.colours import ColourEngine
from tests.serve.paying import bearer, paid_server
{fault}
with paid_server(sys.argv[1], Fatal()) as (client, _):
    headers = {{**bearer(sys.argv[2]), "idempotency-key": "mine"}}
    client.post("/v1/embeddings", json={{"model": "colours", "input": "red"}}, headers=headers)
"""


def die(address: str, secret: str, fault: str) -> None:
    """Ask a server in a process of its own, which is killed in the request."""
    command = [sys.executable, "-c", PROGRAM.format(fault=fault), address, secret]
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert done.returncode == -9, done.stderr


def num_in_work(database: Database) -> int:
    with database.read() as connection:
        return len(connection.execute(RESERVATIONS.select()).all())


@pytest.mark.slow
def test_a_server_that_runs_gives_back_what_another_had_in_work_when_it_was_killed(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_gate, "SWEEP_SECONDS", 0.02)
    with paid_server(address) as (client, database):
        _, secret = new_key(database)
        die(address, secret, BEFORE_THE_ANSWER)
        assert len(rows(database, "reserve")) == 1
        end = time.monotonic() + 60
        while num_in_work(database):
            assert time.monotonic() < end
        assert balance(database) == 1_000_000 and len(rows(database, "release")) == 1
        headers = {**bearer(secret), "idempotency-key": "mine"}
        answer = client.post(EMBEDDINGS, json=BODY, headers=headers)
        assert answer.status_code == 200 and "idempotent-replayed" not in answer.headers
        assert balance(database) == 1_000_000 - TEXT_COST
        assert_books_agree(database)


@pytest.mark.slow
def test_the_next_server_gives_it_back_before_it_answers_anybody(database: Database, address: str) -> None:
    _, secret = new_key(database)
    die(address, secret, BEFORE_THE_ANSWER)
    assert balance(database) == 1_000_000 - TEXT_COST and num_in_work(database) == 1
    with paid_server(address):
        assert balance(database) == 1_000_000
        assert_books_agree(database)


@pytest.mark.slow
def test_what_was_paid_and_not_received_is_received_by_who_asks_again(
    database: Database, address: str
) -> None:
    _, secret = new_key(database)
    die(address, secret, AFTER_THE_CHARGE)
    with paid_server(address) as (client, _):
        headers = {**bearer(secret), "idempotency-key": "mine"}
        answer = client.post(EMBEDDINGS, json=BODY, headers=headers)
        assert answer.status_code == 200 and answer.headers["idempotent-replayed"] == "true"
        assert len(answer.json()["data"][0]["embedding"]) == 8
    assert balance(database) == 1_000_000 - TEXT_COST
    assert_books_agree(database)
