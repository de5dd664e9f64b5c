"""Closing an account: everything that says who it was goes; the ledger's rows stay, with an id and no name.

The ledger is append-only, which the database itself enforces: its rows say when, which model, how much, and
the account's id, from which nothing leads to a person any more. What an operator wrote into a note stays too.
"""

from sqlalchemy import Connection, select

from clipworks.serve import ledger, sessions
from clipworks.serve.clock import now_ms
from clipworks.serve.logins import CLOSED, login_of
from clipworks.serve.model_tables import WISHES
from clipworks.serve.problems import RequestError
from clipworks.serve.tables import ACCOUNTS, KEYS, LOGINS, REPEATS, SECRETS

NOTE = "the account was closed"


def close_account(connection: Connection, account_id: str) -> None:
    """Close an account at once and for ever.

    Its keys and sessions end, its name is free again, its votes for models are gone, what it has left is
    taken back, and the answers that were kept for its Idempotency-Keys are dropped. Requests in work are
    answered still.

    Raises:
        RequestError: it is the account of somebody who runs the server.
    """
    login = login_of(connection, account_id)
    if login is not None and login.is_operator:
        raise RequestError(
            "The account of an operator is not closed on a page.",
            "Take the right away first: clipworks accounts operator NAME --off.",
        )
    sessions.end_sessions(connection, account_id)
    connection.execute(LOGINS.delete().where(LOGINS.c.account_id == account_id))
    connection.execute(WISHES.delete().where(WISHES.c.account_id == account_id))
    connection.execute(REPEATS.delete().where(REPEATS.c.account_id == account_id))
    mine = select(KEYS.c.id).where(KEYS.c.account_id == account_id)
    connection.execute(SECRETS.update().where(SECRETS.c.key_id.in_(mine)).values(start="cw_", ending=""))
    connection.execute(
        KEYS.update()
        .where(KEYS.c.account_id == account_id, KEYS.c.revoked_at_ms.is_(None))
        .values(revoked_at_ms=now_ms())
    )
    connection.execute(KEYS.update().where(KEYS.c.account_id == account_id).values(name="closed"))
    left = connection.execute(
        select(ACCOUNTS.c.balance_micro_usd).where(ACCOUNTS.c.id == account_id)
    ).scalar_one()
    if left:
        ledger.adjust(connection, account_id, -left, note=NOTE)
    connection.execute(
        ACCOUNTS.update()
        .where(ACCOUNTS.c.id == account_id)
        .values(name=CLOSED + account_id.removeprefix("acct_"))
    )
