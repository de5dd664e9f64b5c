"""What an auditor asks: whether the books agree, and which rows an account has."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, exists, func, or_, select

from clipworks.serve.prices import show_usd
from clipworks.serve.tables import ACCOUNTS, LEDGER, RESERVATIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """An account whose figures do not agree."""

    account_id: str
    """Whose."""
    words: str
    """Which figures, with their values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LedgerFilter:
    """Which rows of the ledger are wanted; what is empty does not matter."""

    account_id: str = ""
    """Whose."""
    key_id: str = ""
    """In whose budget they count."""
    kind: str = ""
    """`grant`, `adjust`, `reserve`, `settle` or `release`."""
    model: str = ""
    """Id of the model that did the work."""
    request_id: str = ""
    """Of which request."""
    first_day: str = ""
    """Not before this day, UTC."""
    last_day: str = ""
    """Not after this day."""
    before_id: int = 0
    """Older than the row with this number."""


def check(connection: Connection) -> list[Difference]:
    """Recompute every balance from its rows, and what is set aside from the charges in work."""
    found = []
    moved = (
        select(LEDGER.c.account_id, func.sum(LEDGER.c.amount_micro_usd).label("total"))
        .group_by(LEDGER.c.account_id)
        .subquery()
    )
    balances = select(ACCOUNTS.c.id, ACCOUNTS.c.balance_micro_usd, moved.c.total).outerjoin(
        moved, moved.c.account_id == ACCOUNTS.c.id
    )
    for row in connection.execute(balances):
        total = int(row.total or 0)
        if total != row.balance_micro_usd:
            words = f"the balance is {show_usd(row.balance_micro_usd)} and its rows sum to {show_usd(total)}"
            found.append(Difference(account_id=row.id, words=words))
    end = LEDGER.alias()
    in_work = exists().where(RESERVATIONS.c.id == LEDGER.c.charge_id)
    has_ended = exists().where(end.c.charge_id == LEDGER.c.charge_id, end.c.kind.in_(("settle", "release")))
    strays = select(LEDGER.c.account_id, LEDGER.c.charge_id).where(
        LEDGER.c.kind == "reserve", or_(in_work & has_ended, ~in_work & ~has_ended)
    )
    for stray in connection.execute(strays):
        words = f"the charge {stray.charge_id} is neither in work nor ended, or both"
        found.append(Difference(account_id=stray.account_id, words=words))
    return found


def entries_of(connection: Connection, account_id: str, *, limit: int) -> list[dict[str, Any]]:
    """The newest rows of an account's ledger, newest first, by the names of their columns."""
    return entries(connection, LedgerFilter(account_id=account_id), limit=limit)


def entries(connection: Connection, wanted: LedgerFilter, *, limit: int) -> list[dict[str, Any]]:
    """The newest rows of the ledger that are wanted, newest first, by the names of their columns."""
    columns = {
        "account_id": LEDGER.c.account_id,
        "key_id": LEDGER.c.key_id,
        "kind": LEDGER.c.kind,
        "model": LEDGER.c.model,
        "request_id": LEDGER.c.request_id,
    }
    chosen = select(LEDGER).order_by(LEDGER.c.id.desc()).limit(limit)
    for name, column in columns.items():
        if getattr(wanted, name):
            chosen = chosen.where(column == getattr(wanted, name))
    if wanted.first_day:
        chosen = chosen.where(LEDGER.c.day >= wanted.first_day)
    if wanted.last_day:
        chosen = chosen.where(LEDGER.c.day <= wanted.last_day)
    if wanted.before_id:
        chosen = chosen.where(LEDGER.c.id < wanted.before_id)
    return [dict(row._mapping) for row in connection.execute(chosen)]
