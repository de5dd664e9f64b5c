"""Logins: who signs in for an account, and with what. An account made by an operator may have none."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from clipworks.serve.keys import KeyTerms, check_name, create_key, key_with_id, now_ms
from clipworks.serve.problems import RequestError, shown
from clipworks.serve.tables import LOGINS

MIN_NAME = 2
MAX_NAME = 64
CLOSED = "closed acct_"
"""What the name of a closed account begins with; the rest of its id follows."""
PAGES_KEY = "Pages"
"""The name of the key that pays for what an account's own pages ask."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """Who signs in for an account."""

    account_id: str
    """Which account."""
    name: str
    """What the name is folded to: upper and lower case, wide and narrow signs are one."""
    password: str | None
    """Digest of the password; None for who signs in elsewhere."""
    issuer: str | None
    """Where: an issuer of OpenID Connect."""
    subject: str | None
    """What the issuer calls the person."""
    pages_key_id: str | None
    """The key that pays for what the account's pages ask."""
    is_operator: bool
    """Whether this is somebody who runs the server."""
    created_at_ms: int
    """Milliseconds since 1970."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What somebody signs in with: a password, or a person of an issuer."""

    password: str | None = None
    """The digest of a password."""
    issuer: str | None = None
    """Where else."""
    subject: str | None = None
    """As whom."""


def add_login(connection: Connection, account_id: str, name: str, proof: Proof) -> Login:
    """Let somebody sign in for an account that nobody signs in for.

    Raises:
        RequestError: a login has the name, or one that differs in capitals only.
    """
    values = {
        "account_id": account_id,
        "name": fold(name),
        "password": proof.password,
        "issuer": proof.issuer,
        "subject": proof.subject,
        "is_operator": False,
        "created_at_ms": now_ms(),
    }
    try:
        with connection.begin_nested():
            connection.execute(LOGINS.insert(), values)
    except IntegrityError as error:
        raise taken(name) from error
    renew_pages_key(connection, account_id)
    login = login_of(connection, account_id)
    assert login is not None
    return login


def find_login(connection: Connection, name: str) -> Login | None:
    """Who signs in with a name."""
    return _find(connection, LOGINS.c.name == fold(name))


def login_of(connection: Connection, account_id: str) -> Login | None:
    """Who signs in for an account."""
    return _find(connection, LOGINS.c.account_id == account_id)


def login_at(connection: Connection, issuer: str, subject: str) -> Login | None:
    """Who signs in at an issuer, as somebody."""
    return _find(connection, (LOGINS.c.issuer == issuer) & (LOGINS.c.subject == subject))


def set_password(connection: Connection, account_id: str, digest: str) -> None:
    """Another password."""
    connection.execute(LOGINS.update().where(LOGINS.c.account_id == account_id).values(password=digest))


def set_operator(connection: Connection, account_id: str, is_operator: bool) -> None:
    """Whether somebody runs the server. Nobody does by signing up, not even the first."""
    connection.execute(
        LOGINS.update().where(LOGINS.c.account_id == account_id).values(is_operator=is_operator)
    )


def operators(connection: Connection) -> list[str]:
    """Ids of the accounts of those who run the server."""
    return list(connection.execute(select(LOGINS.c.account_id).where(LOGINS.c.is_operator)).scalars())


def logins_of(connection: Connection, account_ids: Sequence[str]) -> dict[str, Login]:
    """Who signs in for some accounts, by the account's id."""
    rows = connection.execute(select(LOGINS).where(LOGINS.c.account_id.in_(account_ids)))
    return {row.account_id: _login(row) for row in rows}


def renew_pages_key(connection: Connection, account_id: str) -> str:
    """The id of the key that pays for what an account's pages ask: the one that is there, or a new one."""
    row = connection.execute(select(LOGINS.c.pages_key_id).where(LOGINS.c.account_id == account_id)).one()
    if row.pages_key_id is not None:
        known = key_with_id(connection, row.pages_key_id)
        if known is not None and known.revoked_at_ms is None:
            return known.id
    # Its secret is known to nobody: pages are let in by the session. Rotating it gives one that is.
    key, _ = create_key(connection, account_id, KeyTerms(name=PAGES_KEY))
    connection.execute(LOGINS.update().where(LOGINS.c.account_id == account_id).values(pages_key_id=key.id))
    return key.id


def check_sign_in_name(name: str) -> str:
    """A name as it is kept: signs in their common form, single spaces.

    Raises:
        RequestError: it is too short, too long, holds characters that cannot be shown, or is a name that
            this server gives.
    """
    name = " ".join(unicodedata.normalize("NFKC", name).split())
    if name.startswith(("acct_", "key_", CLOSED)):
        raise RequestError("Names such as ids are given by this server.", "Choose another.", param="name")
    if not MIN_NAME <= len(name) <= MAX_NAME:
        raise RequestError(
            f"A name has from {MIN_NAME} to {MAX_NAME} characters.",
            "An e-mail address will do.",
            param="name",
        )
    return check_name(name)


def fold(name: str) -> str:
    """The same for names that look the same but for capitals, spaces and the width of signs."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())[:200]


def _find(connection: Connection, condition: object) -> Login | None:
    row = connection.execute(select(LOGINS).where(condition)).one_or_none()  # type: ignore[arg-type]
    return None if row is None else _login(row)


def _login(row: Any) -> Login:
    return Login(**{**row._mapping, "is_operator": bool(row.is_operator)})


def taken(name: str) -> RequestError:
    """The refusal of a name that somebody has."""
    return RequestError(f"The name {shown(name)} is taken.", "Choose another, or sign in.", param="name")
