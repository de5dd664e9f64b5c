"""Sums over the ledger: what was asked and what it cost, by day, model and key."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from clipworks.serve.prices import show_usd
from clipworks.serve.tables import KEYS, LEDGER

_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, kw_only=True, slots=True)
class UsageRow:
    """What one key asked of one model on one day."""

    day: str
    """YYYY-MM-DD, UTC."""
    model: str
    """Id of the model."""
    key_id: str
    """Who asked."""
    key_name: str
    """The same for people."""
    requests: int
    """Requests that were answered and paid for."""
    images: int
    """Pictures in them."""
    texts: int
    """Texts in them."""
    cost_micro_usd: int
    """What they cost, millionths of a US dollar."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Credit:
    """What an account was given and what it spent, since it began."""

    granted_micro_usd: int
    """Grants and adjustments."""
    spent_micro_usd: int
    """Answered requests."""


def usage_of(
    connection: Connection, account_id: str, *, first_day: str, last_day: str, key_id: str | None = None
) -> list[UsageRow]:
    """The use of an account, or of one key, from one day to another, both included; oldest first."""
    sums = [
        func.sum(LEDGER.c[name]).label(name) for name in ("requests", "images", "texts", "cost_micro_usd")
    ]
    group = (LEDGER.c.day, LEDGER.c.model, LEDGER.c.key_id, KEYS.c.name)
    statement = (
        select(*group, *sums)
        .join(KEYS, KEYS.c.id == LEDGER.c.key_id)
        .where(LEDGER.c.account_id == account_id, LEDGER.c.day >= first_day, LEDGER.c.day <= last_day)
        .where(LEDGER.c.requests != 0)
        .group_by(*group)
        .order_by(LEDGER.c.day, LEDGER.c.model, LEDGER.c.key_id)
    )
    if key_id is not None:
        statement = statement.where(LEDGER.c.key_id == key_id)
    return [_usage_row(row) for row in connection.execute(statement)]


def credit_of(connection: Connection, account_id: str) -> Credit:
    """What an account was given and spent."""
    granted = func.coalesce(
        func.sum(LEDGER.c.amount_micro_usd).filter(LEDGER.c.kind.in_(("grant", "adjust"))), 0
    )
    spent = func.coalesce(func.sum(LEDGER.c.cost_micro_usd), 0)
    row = connection.execute(select(granted, spent).where(LEDGER.c.account_id == account_id)).one()
    return Credit(granted_micro_usd=int(row[0]), spent_micro_usd=int(row[1]))


def spent_by_key(connection: Connection, key_id: str, *, first_days: Sequence[str]) -> list[int]:
    """What a key spent since each of some days, millionths of a US dollar."""
    cost = func.sum(LEDGER.c.cost_micro_usd)
    sums = [func.coalesce(cost.filter(LEDGER.c.day >= day), 0) for day in first_days]
    row = connection.execute(
        select(*sums).where(LEDGER.c.key_id == key_id, LEDGER.c.day >= min(first_days))
    ).one()
    return [int(amount) for amount in row]


def usage_csv(rows: list[UsageRow]) -> str:
    """Usage as a table for spreadsheets."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["date", "model", "key_id", "key_name", "requests", "images", "texts", "cost_usd"])
    for row in rows:
        words = (_harmless(row.model), row.key_id, _harmless(row.key_name))
        cost = show_usd(row.cost_micro_usd)
        writer.writerow([row.day, *words, row.requests, row.images, row.texts, cost])
    return file.getvalue()


def _usage_row(row: Any) -> UsageRow:
    return UsageRow(
        day=row.day,
        model=row.model,
        key_id=row.key_id,
        key_name=row.name,
        requests=int(row.requests),
        images=int(row.images),
        texts=int(row.texts),
        cost_micro_usd=int(row.cost_micro_usd),
    )


def _harmless(text: str) -> str:
    """A text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_SIGNS) else text
