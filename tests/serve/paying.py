"""What the tests of money share: a server with keys on any database, and who pays."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.testclient import TestClient

from clipworks.serve import accounts, audit, keys
from clipworks.serve.app import create_app
from clipworks.serve.database import Database, open_database
from clipworks.serve.keys import Key, KeyTerms
from clipworks.serve.settings import ServeSettings
from clipworks.serve.tables import ACCOUNTS, LEDGER, RESERVATIONS
from tests.serve.colours import ADDRESS, ColourEngine

TEXT_COST, IMAGE_COST = 12, 60
"""What one text and one picture cost of a model without a price of its own, millionths of a US dollar."""


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
