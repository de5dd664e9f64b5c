"""A PostgreSQL that is stopped keeps its connections and says nothing: requests hear so in time."""

import time
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from clipworks.serve import books
from clipworks.serve.database import open_database
from clipworks.serve.tables import ACCOUNTS
from tests.serve.cluster import new_database, stopped
from tests.serve.colours import refusal
from tests.serve.paying import TEXT_COST, assert_books_agree, balance, bearer, new_key, paid_server

EMBEDDINGS = "/v1/embeddings"
BODY = {"model": "colours", "input": "red"}


def test_a_statement_that_is_not_answered_is_given_up_and_so_is_its_connection(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clipworks.serve.postgres._GRACE_SECONDS", 0.1)
    address = new_database(postgres)
    opened = open_database(address, statement_seconds=0.2)
    with opened.read() as connection, stopped(address):
        started = time.monotonic()
        with pytest.raises(OperationalError, match="did not answer within 0.3 seconds"):
            connection.execute(select(ACCOUNTS))
        assert time.monotonic() - started < 5
    with opened.read() as connection:
        assert connection.execute(select(ACCOUNTS)).all() == []
    opened.close()


@pytest.mark.slow
def test_a_new_connection_is_given_up_in_time(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipworks.serve.postgres.CONNECT_SECONDS", 2)  # the least that libpq takes
    address = new_database(postgres)
    opened = open_database(address)
    opened.close()
    with stopped(address), pytest.raises(OperationalError, match="timeout"), opened.read():
        raise AssertionError("there is no connection")


def ask_while_stopped(postgres: str, most_seconds: float) -> None:
    address = new_database(postgres)
    with paid_server(address) as (client, database):
        _, secret = new_key(database)
        assert client.post(EMBEDDINGS, json=BODY, headers=bearer(secret)).status_code == 200
        with stopped(address):
            started = time.monotonic()
            ready: Any = client.get("/readyz")
            assert ready.status_code == 503
            assert ready.json()["accounts"] == "not ready" and ready.json()["models"] == {"colours": "ready"}
            assert client.get("/health").status_code == 503 and client.get("/livez").status_code == 200
            for _ in range(2):
                answer = client.post(EMBEDDINGS, json=BODY, headers=bearer(secret))
                refusal(answer, 503, "accounts_unavailable", None)
                assert answer.headers["retry-after"]
            assert time.monotonic() - started < most_seconds
        answer = client.post(EMBEDDINGS, json=BODY, headers=bearer(secret))
        assert answer.status_code == 200, answer.text
        assert client.get("/readyz").json()["accounts"] == "ready"
        assert balance(database) == 1_000_000 - 2 * TEXT_COST
        assert_books_agree(database)


@pytest.mark.slow
def test_requests_and_readiness_say_that_the_accounts_do_not_answer(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(books, "READY_SECONDS", 0.1)
    ask_while_stopped(postgres, 5)


@pytest.mark.slow
def test_with_the_times_of_a_real_server_it_takes_seconds_and_not_for_ever(postgres: str) -> None:
    ask_while_stopped(postgres, 2 * (books.ANSWER_SECONDS + books.READY_SECONDS) + 5)
