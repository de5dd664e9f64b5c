"""Who wants which model: one vote per account, and what is told to those whose model came."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import IntegrityError

from clipworks.serve.accounts import account_named
from clipworks.serve.keys import now_ms
from clipworks.serve.model_tables import MODEL_EVENTS, WISHES
from clipworks.serve.tables import ACCOUNTS


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """A model that an account wanted and that can be used since then."""

    model: str
    """Its id."""
    live_at_ms: int
    """Since when, milliseconds since 1970."""


def want(connection: Connection, account: str, model: str) -> None:
    """Vote for a model; a second vote of the same account is the first.

    Raises:
        RequestError: there is no such account.
    """
    owner = account_named(connection, account)
    mine = (WISHES.c.account_id == owner.id) & (WISHES.c.model == model)
    if connection.execute(select(WISHES.c.model).where(mine)).first() is not None:
        return
    # A second vote that is on its way, by a double click, makes the same row.
    with suppress(IntegrityError), connection.begin_nested():
        connection.execute(WISHES.insert().values(account_id=owner.id, model=model, created_at_ms=now_ms()))


def take_back(connection: Connection, account: str, model: str) -> None:
    """Take a vote back, where there is one.

    Raises:
        RequestError: there is no such account.
    """
    owner = account_named(connection, account)
    connection.execute(WISHES.delete().where((WISHES.c.account_id == owner.id) & (WISHES.c.model == model)))


def count_wishes(connection: Connection) -> dict[str, int]:
    """Model -> accounts that want it."""
    counts = select(WISHES.c.model, func.count().label("votes")).group_by(WISHES.c.model)
    return {row.model: row.votes for row in connection.execute(counts)}


def wishes_of(connection: Connection, account: str) -> list[str]:
    """The models that an account wants.

    Raises:
        RequestError: there is no such account.
    """
    owner = account_named(connection, account)
    found = select(WISHES.c.model).where(WISHES.c.account_id == owner.id).order_by(WISHES.c.created_at_ms)
    return [row.model for row in connection.execute(found)]


def wishers(connection: Connection, *, most: int) -> dict[str, list[str]]:
    """Model -> names of the first accounts that wanted it, the first one first, at most so many."""
    in_order = (WISHES.c.created_at_ms, WISHES.c.account_id)
    place = func.row_number().over(partition_by=WISHES.c.model, order_by=in_order).label("place")
    ranked = select(WISHES.c.model, WISHES.c.account_id, place).subquery()
    found = (
        select(ranked.c.model, ACCOUNTS.c.name)
        .join(ACCOUNTS, ACCOUNTS.c.id == ranked.c.account_id)
        .where(ranked.c.place <= most)
        .order_by(ranked.c.model, ranked.c.place)
    )
    names: dict[str, list[str]] = {}
    for row in connection.execute(found):
        names.setdefault(row.model, []).append(row.name)
    return names


def news_of(connection: Connection, account: str) -> list[News]:
    """The models that an account wanted and that became live afterwards, the newest first; for its own page.

    Raises:
        RequestError: there is no such account.
    """
    owner = account_named(connection, account)
    live_at = func.min(MODEL_EVENTS.c.created_at_ms).label("live_at_ms")
    found = (
        select(WISHES.c.model, live_at)
        .join(
            MODEL_EVENTS,
            (MODEL_EVENTS.c.model == WISHES.c.model)
            & (MODEL_EVENTS.c.kind == "live")
            & (MODEL_EVENTS.c.created_at_ms >= WISHES.c.created_at_ms),
        )
        .where(WISHES.c.account_id == owner.id)
        .group_by(WISHES.c.model)
        .order_by(live_at.desc())
    )
    return [News(model=row.model, live_at_ms=row.live_at_ms) for row in connection.execute(found)]


def note_live(connection: Connection, models: Sequence[str]) -> list[str]:
    """Note that models can be used, where accounts want them and were not told yet; which ones were noted."""
    noted = []
    for model in models:
        newest = connection.execute(
            select(func.max(WISHES.c.created_at_ms)).where(WISHES.c.model == model)
        ).scalar()
        told = select(func.max(MODEL_EVENTS.c.created_at_ms)).where(
            (MODEL_EVENTS.c.model == model) & (MODEL_EVENTS.c.kind == "live")
        )
        if newest is None or (connection.execute(told).scalar() or 0) >= newest:
            continue
        connection.execute(
            MODEL_EVENTS.insert().values(
                model=model,
                kind="live",
                words="It can be used.",
                operator="",
                note="",
                created_at_ms=max(now_ms(), newest),
            )
        )
        noted.append(model)
    return noted
