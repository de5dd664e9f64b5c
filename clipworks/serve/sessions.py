"""Sessions: browsers that are signed in. A random word in a cookie; the database has its hash.

A session ends at its time, when it is signed out of, or with all others of its account. It is looked up at
every request, so its end is at once.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select

from clipworks.serve.clock import now_ms
from clipworks.serve.database import Prepared
from clipworks.serve.tables import ACCOUNTS, LOGINS, SESSIONS

_RANDOM_BYTES = 32
_MAX_TOKEN = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A browser that is signed in."""

    digest: str
    """SHA-256 of what its cookie holds."""
    account_id: str
    """For whom."""
    account_name: str
    """The same for people."""
    balance_micro_usd: int
    """What the account had when the session was read."""
    is_operator: bool
    """Whether this is somebody who runs the server."""
    has_password: bool
    """Whether the account is signed in to with a password."""
    pages_key_id: str
    """The key that pays for what the pages ask; empty where there is none."""
    created_at_ms: int
    """When it began, milliseconds since 1970."""
    expires_at_ms: int
    """When it ends."""


def begin_session(connection: Connection, account_id: str, *, seconds: float) -> str:
    """A new session; what its cookie holds, which is not stored."""
    token, now = secrets.token_urlsafe(_RANDOM_BYTES), now_ms()
    connection.execute(
        SESSIONS.insert().values(
            digest=digest_of(token),
            account_id=account_id,
            created_at_ms=now,
            expires_at_ms=now + round(seconds * 1000),
        )
    )
    return token


def find_session(connection: Connection, token: str) -> Session | None:
    """The session that a cookie names; None where it is unknown, has ended or expired."""
    if len(token) > _MAX_TOKEN:
        return None
    row = _FIND.one_or_none(connection, {"wanted": digest_of(token)})
    return None if row is None or row.expires_at_ms <= now_ms() else _session(row)


def sessions_of(connection: Connection, account_id: str) -> list[Session]:
    """The sessions of an account that go on, newest first."""
    rows = connection.execute(
        _JOINED.where(SESSIONS.c.account_id == account_id, SESSIONS.c.expires_at_ms > now_ms()).order_by(
            SESSIONS.c.created_at_ms.desc(), SESSIONS.c.digest
        )
    )
    return [_session(row) for row in rows]


def end_session(connection: Connection, digest: str) -> None:
    """Sign one browser out."""
    connection.execute(SESSIONS.delete().where(SESSIONS.c.digest == digest))


def end_sessions(connection: Connection, account_id: str) -> int:
    """Sign every browser of an account out; how many there were."""
    return connection.execute(SESSIONS.delete().where(SESSIONS.c.account_id == account_id)).rowcount


def forget_sessions(connection: Connection) -> None:
    """Drop the sessions that have expired."""
    connection.execute(SESSIONS.delete().where(SESSIONS.c.expires_at_ms <= now_ms()))


def digest_of(token: str) -> str:
    """SHA-256 of a cookie's word: enough, since 256 random bits cannot be guessed."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


_JOINED = (
    select(
        SESSIONS,
        ACCOUNTS.c.name,
        ACCOUNTS.c.balance_micro_usd,
        LOGINS.c.is_operator,
        LOGINS.c.pages_key_id,
        LOGINS.c.password,
    )
    .join(ACCOUNTS, ACCOUNTS.c.id == SESSIONS.c.account_id)
    .join(LOGINS, LOGINS.c.account_id == SESSIONS.c.account_id)
)
_FIND = Prepared(_JOINED.where(SESSIONS.c.digest == bindparam("wanted")))


def _session(row: Any) -> Session:
    return Session(
        digest=row.digest,
        account_id=row.account_id,
        account_name=row.name,
        balance_micro_usd=row.balance_micro_usd,
        is_operator=bool(row.is_operator),
        has_password=row.password is not None,
        pages_key_id=row.pages_key_id or "",
        created_at_ms=row.created_at_ms,
        expires_at_ms=row.expires_at_ms,
    )
