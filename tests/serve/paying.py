"""What the tests of money share: a server with keys on any database, and who pays."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient

from clipworks.serve import accounts, audit, keys, ledger
from clipworks.serve.app import create_app
from clipworks.serve.database import Database, open_database
from clipworks.serve.keys import Key, KeyTerms, now_ms
from clipworks.serve.ledger import Order
from clipworks.serve.prices import Price
from clipworks.serve.problems import RequestError, status_and_code
from clipworks.serve.repeats import Answer, Repeat
from clipworks.serve.settings import ServeSettings
from clipworks.serve.tables import ACCOUNTS, LEDGER, RESERVATIONS
from tests.serve.colours import ADDRESS, ColourEngine

TEXT_COST, IMAGE_COST = 12, 60
"""What one text and one picture cost of a model without a price of its own, millionths of a US dollar."""


PRICE = Price(model="colours", usd_per_1k_images="0.047", usd_per_1k_texts="0.0005")


def new_key(
    database: Database, name: str = "payer", *, credit: int = 1_000_000, terms: KeyTerms | None = None
) -> tuple[Key, str]:
    """A key, and its secret; the account is made with that credit where it is new."""
    with database.write() as connection:
        owner = accounts.find_account(connection, name)
        if owner is None:
            owner = accounts.create_account(connection, name, credit_micro_usd=credit)
        return keys.create_key(connection, owner.id, terms or KeyTerms(name=f"key of {name}"))


def balance(database: Database, name: str = "payer") -> int:
    with database.read() as connection:
        return accounts.account_named(connection, name).balance_micro_usd


def order_of(key: Key, images: int = 1, texts: int = 0, *, repeat: Repeat | None = None) -> Order:
    return Order(
        account_id=key.account_id,
        key_id=key.id,
        budget_period=key.terms.budget_period,
        model="colours",
        images=images,
        texts=texts,
        price=PRICE,
        request_id="req_1",
        server="here",
        expires_at_ms=now_ms() + 60_000,
        repeat=repeat,
    )


def reserve(database: Database, order: Order) -> ledger.Reserved:
    with database.write() as connection:
        return ledger.reserve(connection, order)


def settle(database: Database, order: Order, charge_id: str, answer: Answer | None = None) -> str:
    with database.write() as connection:
        return ledger.settle(connection, order, charge_id, answer)


def release(database: Database, charge_id: str, *, may_refund: bool = False) -> bool:
    with database.write() as connection:
        return ledger.release(connection, charge_id, may_refund=may_refund)


def code_of(work: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(RequestError) as refused:
        work()
    return status_and_code(refused.value)


def rows(database: Database, kind: str) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(LEDGER.select().where(LEDGER.c.kind == kind).order_by(LEDGER.c.id)))


def assert_books_agree(database: Database) -> None:
    """Every balance is the sum of its rows, none is below 0, and nothing is in work."""
    with database.read() as connection:
        assert audit.check(connection) == []
        assert all(row.balance_micro_usd >= 0 for row in connection.execute(ACCOUNTS.select()))
        assert connection.execute(RESERVATIONS.select()).all() == []


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


@contextmanager
def paid_server(
    address: str, engine: ColourEngine | None = None, **settings: Any
) -> Iterator[tuple[TestClient, Database]]:
    """The application with keys on a database, and the database itself."""
    given = ServeSettings(require_keys=True, database=address, **settings)
    engines: Any = {"colours": engine or ColourEngine()}
    database = open_database(address)
    try:
        with TestClient(create_app(given, engines), base_url=ADDRESS) as client:
            yield client, database
    finally:
        database.close()
