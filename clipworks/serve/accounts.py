"""Accounts: who pays. Their money moves in `ledger.py` and nowhere else."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from clipworks.serve.keys import check_name, check_text, now_ms
from clipworks.serve.ledger import MAX_MICRO_USD, grant
from clipworks.serve.problems import RequestError, nearest, shown
from clipworks.serve.tables import ACCOUNTS


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Somebody who pays for requests."""

    id: str
    """`acct_` and 32 digits."""
    name: str
    """For people; no two accounts have the same."""
    balance_micro_usd: int
    """What is left to spend, millionths of a US dollar, without what is set aside for requests in work."""
    created_at_ms: int
    """Milliseconds since 1970."""


def create_account(connection: Connection, name: str, *, credit_micro_usd: int) -> Account:
    """A new account with the credit that it begins with, which is the first row of its ledger.

    Raises:
        RequestError: the name is taken or cannot be one, or the credit is below 0 or too large.
    """
    check_name(name)
    if find_account(connection, name) is not None:
        raise RequestError(
            f"There is an account {shown(name)} already.", "Choose another name.", param="name"
        )
    if not 0 <= credit_micro_usd <= MAX_MICRO_USD:
        raise RequestError(
            "The credit of a new account must be from 0 to 1,000,000,000 dollars.", param="credit_usd"
        )
    identity = f"acct_{uuid.uuid4().hex}"
    connection.execute(
        ACCOUNTS.insert().values(id=identity, name=name, balance_micro_usd=0, created_at_ms=now_ms())
    )
    if credit_micro_usd:
        grant(connection, identity, credit_micro_usd, note="sign-up credit")
    return account_named(connection, identity)


def find_account(connection: Connection, name: str) -> Account | None:
    """The account with an id or a name.

    Raises:
        RequestError: it can be no name.
    """
    check_text(name, "account")
    row = connection.execute(
        select(ACCOUNTS)
        .where((ACCOUNTS.c.id == name) | (ACCOUNTS.c.name == name))
        .order_by(ACCOUNTS.c.id != name)
    ).first()
    return None if row is None else Account(**row._mapping)


def account_named(connection: Connection, name: str) -> Account:
    """The account with an id or a name.

    Raises:
        RequestError: there is none; the nearest names are given. Or it can be no name.
    """
    account = find_account(connection, name)
    if account is None:
        known = [str(row.name) for row in connection.execute(select(ACCOUNTS.c.name).limit(1000))]
        remedy = nearest(name, known) if known else "There are no accounts yet."
        raise RequestError(
            f"There is no account {shown(name)}.", remedy, code="account_not_found", param="account"
        )
    return account


def list_accounts(connection: Connection) -> list[Account]:
    """Every account, oldest first."""
    rows = connection.execute(select(ACCOUNTS).order_by(ACCOUNTS.c.created_at_ms, ACCOUNTS.c.id))
    return [Account(**row._mapping) for row in rows]


def find_accounts(connection: Connection, words: str, *, limit: int, offset: int = 0) -> list[Account]:
    """Accounts whose name holds some words, or whose id they are, the newest first."""
    chosen = select(ACCOUNTS).order_by(ACCOUNTS.c.created_at_ms.desc(), ACCOUNTS.c.id)
    if words:
        chosen = chosen.where(ACCOUNTS.c.name.icontains(words, autoescape=True) | (ACCOUNTS.c.id == words))
    rows = connection.execute(chosen.limit(limit).offset(offset))
    return [Account(**row._mapping) for row in rows]


def total_of(connection: Connection) -> tuple[int, int]:
    """How many accounts there are, and what they have together, millionths of a US dollar."""
    row = connection.execute(
        select(func.count(), func.coalesce(func.sum(ACCOUNTS.c.balance_micro_usd), 0)).select_from(ACCOUNTS)
    ).one()
    return int(row[0]), int(row[1])


def names_of(connection: Connection, account_ids: Collection[str]) -> dict[str, str]:
    """Names of accounts, by id."""
    rows = connection.execute(
        select(ACCOUNTS.c.id, ACCOUNTS.c.name).where(ACCOUNTS.c.id.in_(list(account_ids)))
    )
    return {row.id: row.name for row in rows}
