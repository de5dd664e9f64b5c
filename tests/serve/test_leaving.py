"""Requests that end early: a client that leaves, or is cancelled, pays for nothing that was not answered."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from clipworks.serve import key_gate, ledger
from clipworks.serve.app import create_app
from clipworks.serve.database import Database, open_database
from clipworks.serve.served import ServedModel
from clipworks.serve.settings import ServeSettings
from tests.serve.cluster import new_sqlite
from tests.serve.colours import ColourEngine, refusal, scope_of
from tests.serve.paying import TEXT_COST, assert_books_agree, balance, bearer, new_key, paid_server, rows

EMBEDDINGS = "/v1/embeddings"
BODY = {"model": "colours", "input": "red"}


@pytest.fixture
def place(tmp_path: Path) -> str:
    return new_sqlite(tmp_path)


def client_that_leaves(when: threading.Event) -> AsyncIterator[dict[str, Any]]:
    async def messages() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": json.dumps(BODY).encode(), "more_body": False}
        while not when.is_set():
            await asyncio.sleep(0.001)
        yield {"type": "http.disconnect"}

    return messages()


def ask(app: Any, secret: str, incoming: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    scope = scope_of("POST", EMBEDDINGS)
    scope["headers"].append((b"authorization", f"Bearer {secret}".encode()))
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        async with app.router.lifespan_context(app):
            await app(scope, incoming.__anext__, send)

    asyncio.run(run())
    return sent


@pytest.mark.parametrize("step", ["reserve", "work", "settle"])
def test_a_client_that_leaves_pays_nothing_wherever_its_request_is(
    place: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client goes while money is set aside, while the engine works, or while the charge is settled."""
    engines: Any = {"colours": ColourEngine()}
    database = open_database(place)
    _, secret = new_key(database)
    reached = threading.Event()

    async def never(*_: Any) -> Any:
        reached.set()
        await asyncio.Event().wait()

    if step == "work":
        monkeypatch.setattr(ServedModel, "embed_tokens", never)
    elif step == "reserve":
        whole = ledger.reserve

        def slow(*given: Any, **named: Any) -> Any:
            reached.set()
            threading.Event().wait(0.05)
            return whole(*given, **named)

        monkeypatch.setattr(ledger, "reserve", slow)
    else:
        reached.set()
    app = create_app(ServeSettings(require_keys=True, database=place), engines)
    sent = ask(app, secret, client_that_leaves(reached))
    billed = len(rows(database, "settle")) - sum(1 for row in rows(database, "release") if row.requests)
    answered = sum(1 for message in sent if message.get("status") == 200)
    assert billed == answered
    if step != "settle":
        assert answered == 0
    assert balance(database) == 1_000_000 - TEXT_COST * answered
    assert_books_agree(database)
    database.close()


def test_a_request_that_is_cancelled_while_it_is_settled_is_refunded(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: Any = {"colours": ColourEngine()}
    database = open_database(place)
    _, secret = new_key(database)
    whole, settling = ledger.settle, threading.Event()

    def slow(*given: Any, **named: Any) -> Any:
        settling.set()
        threading.Event().wait(0.05)
        return whole(*given, **named)

    monkeypatch.setattr(ledger, "settle", slow)
    app = create_app(ServeSettings(require_keys=True, database=place), engines)
    scope = scope_of("POST", EMBEDDINGS)
    scope["headers"].append((b"authorization", f"Bearer {secret}".encode()))

    async def messages() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": json.dumps(BODY).encode(), "more_body": False}
        await asyncio.Event().wait()

    async def run() -> None:
        async def send(message: Any) -> None:
            raise AssertionError("there is no answer")

        async with app.router.lifespan_context(app):
            request = asyncio.ensure_future(app(scope, messages().__anext__, send))
            await asyncio.to_thread(settling.wait, 30)
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request

    asyncio.run(run())
    assert len(rows(database, "settle")) == 1
    assert balance(database) == 1_000_000
    assert_books_agree(database)
    database.close()


@pytest.mark.parametrize("is_settled", [False, True])
def test_what_the_database_could_not_give_back_at_once_is_given_back_later(
    address: str, is_settled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the charge was settled and only the word of it was lost: the answer was not given."""
    monkeypatch.setattr(key_gate, "SWEEP_SECONDS", 0.02)
    settle, release, write = ledger.settle, ledger.release, Database.write
    is_away = threading.Event()
    is_away.set()
    losing: set[int] = set()  # threads: the sweep writes beside the request

    def lost(*given: Any, **named: Any) -> Any:
        losing.add(threading.get_ident())
        if not is_settled:
            raise OperationalError("DELETE", {}, Exception("the server closed the connection"))
        return settle(*given, **named)

    @contextmanager
    def write_and_lose(self: Database) -> Iterator[Connection]:
        with write(self) as connection:
            yield connection
        if threading.get_ident() in losing:
            losing.clear()
            raise OperationalError("COMMIT", {}, Exception("the server closed the connection"))

    monkeypatch.setattr(Database, "write", write_and_lose)

    def away(*given: Any, **named: Any) -> Any:
        if is_away.is_set():
            raise OperationalError("DELETE", {}, Exception("the server closed the connection"))
        return release(*given, **named)

    with paid_server(address) as (client, database):
        _, secret = new_key(database)
        monkeypatch.setattr(ledger, "settle", lost)
        monkeypatch.setattr(ledger, "release", away)
        answer = client.post(EMBEDDINGS, json=BODY, headers=bearer(secret))
        refusal(answer, 503, "accounts_unavailable", None)
        assert balance(database) == 1_000_000 - TEXT_COST
        is_away.clear()
        end = time.monotonic() + 60
        while balance(database) != 1_000_000:
            assert time.monotonic() < end
        assert sum(row.requests for kind in ("settle", "release") for row in rows(database, kind)) == 0
        assert_books_agree(database)
