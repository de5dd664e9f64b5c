"""Keys: made once, shown once, stored as a hash; looked up at every request, so that revoking works at once.

A key is an identity with an account, scopes, limits and a budget. The words that open it, its secrets,
stand beside it: rotating adds one and lets the old one expire, and nothing else changes.
"""

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, select

from clipworks.serve.clock import now_ms as now_ms
from clipworks.serve.database import Prepared
from clipworks.serve.problems import RequestError, nearest, shown
from clipworks.serve.tables import ACCOUNTS, KEYS, SECRETS

SCOPES = ("inference", "usage", "admin")
DEFAULT_SCOPES = ("inference", "usage")
PERIODS = ("total", "day", "week", "month")
"""How often the budget of a key begins anew."""

PREFIX = "cw_"
GRACE_SECONDS = 86400.0
"""How long the old secret of a rotated key works where nothing else is said."""
MAX_NAME = 200
_RANDOM_BYTES = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyTerms:
    """What a key may do and how much."""

    name: str
    """For people; no two keys of an account that work have the same."""
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    """Of `inference`, `usage`, `admin`."""
    models: tuple[str, ...] = ()
    """Ids of the models it may use; none means all."""
    expires_at_ms: int | None = None
    """When it ends, milliseconds since 1970."""
    budget_micro_usd: int | None = None
    """What it may spend in a period, millionths of a US dollar; None for all that the account has."""
    budget_period: str = "total"
    """Of `PERIODS`."""
    requests_per_minute: int | None = None
    """Requests in a minute; None for any number."""
    images_per_minute: int | None = None
    """Pictures in a minute; None for any number."""
    bytes_per_minute: int | None = None
    """Bytes of request bodies in a minute; None for any number."""

    def __post_init__(self) -> None:
        check_name(self.name)
        for scope in self.scopes:
            _check_choice("scopes", scope, SCOPES)
        for model in self.models:
            check_text(model, "models")
        if not self.scopes:
            raise RequestError("A key without scopes opens nothing.", f"Name some of {', '.join(SCOPES)}.")
        if len(",".join(self.models)) > 4000 or any("," in model or not model for model in self.models):
            raise RequestError(
                "models must be ids without commas, 4,000 characters together.", param="models"
            )
        _check_choice("budget_period", self.budget_period, PERIODS)
        if self.budget_micro_usd is not None and not 0 <= self.budget_micro_usd <= 10**15:
            raise RequestError("A budget must be from 0 to 1,000,000,000 dollars.", param="budget_usd")
        for name in ("requests_per_minute", "images_per_minute", "bytes_per_minute"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1 << 31:
                raise RequestError(f"{name} is {value}; it must be from 1 to {(1 << 31) - 1}.", param=name)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyChoices:
    """The rare choices of who makes a key on the command line, by name."""

    expires_in_days: float | None = None
    """Days until it ends."""
    budget_usd: str | None = None
    """What it may spend in a period, US dollars."""
    budget_period: str = "total"
    """Of `PERIODS`."""
    requests_per_minute: int | None = None
    """Requests in a minute."""
    images_per_minute: int | None = None
    """Pictures in a minute."""
    bytes_per_minute: int | None = None
    """Bytes of request bodies in a minute."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A key as it is stored."""

    id: str
    """`key_` and 32 digits."""
    account_id: str
    """Whose money it spends."""
    account_name: str
    """The same for people."""
    balance_micro_usd: int
    """What the account had when the key was read."""
    label: str
    """Its newest secret as it may be shown: `cw_abcd…wxyz`."""
    terms: KeyTerms
    """What it may do."""
    created_at_ms: int
    """Milliseconds since 1970."""
    revoked_at_ms: int | None
    """When it was revoked; None while it is not."""
    spent_period: str
    """The budget's period in which it spent last."""
    spent_micro_usd: int
    """What it spent in that period."""

    def is_working(self, now_ms: int) -> bool:
        """Whether it was neither revoked nor has expired."""
        return self.revoked_at_ms is None and (
            self.terms.expires_at_ms is None or self.terms.expires_at_ms > now_ms
        )

    def spent_now_micro_usd(self, now_ms: int) -> int:
        """What it spent in the period that `now_ms` is in."""
        period = period_of(self.terms.budget_period, now_ms)
        return self.spent_micro_usd if self.spent_period == period else 0


def create_key(connection: Connection, account_id: str, terms: KeyTerms) -> tuple[Key, str]:
    """A new key and its secret, which is not stored and cannot be shown again."""
    identity, secret = f"key_{uuid.uuid4().hex}", _new_secret()
    connection.execute(
        KEYS.insert().values(
            id=identity,
            account_id=account_id,
            name=terms.name,
            scopes=",".join(terms.scopes),
            models=",".join(terms.models),
            created_at_ms=now_ms(),
            expires_at_ms=terms.expires_at_ms,
            budget_micro_usd=terms.budget_micro_usd,
            budget_period=terms.budget_period,
            spent_period="",
            spent_micro_usd=0,
            requests_per_minute=terms.requests_per_minute,
            images_per_minute=terms.images_per_minute,
            bytes_per_minute=terms.bytes_per_minute,
        )
    )
    _store(connection, identity, secret)
    return _stored(connection, identity), secret


def check_is_free(connection: Connection, account_id: str, name: str) -> None:
    """Whether a new key of an account may have a name: only then can it be shown and revoked by it.

    Raises:
        RequestError: one that works has it.
    """
    for key in _keys(connection, (KEYS.c.account_id == account_id) & (KEYS.c.name == name)):
        if key.is_working(now_ms()):
            raise RequestError(
                f"The account {shown(key.account_name)} has a key {shown(name)} already ({key.id}).",
                "Choose another name, or rotate that key.",
                param="name",
            )


def find_key(connection: Connection, secret: str) -> Key | None:
    """The key that a secret opens now; None where it is unknown, revoked or has expired."""
    digest, now = _digest(secret), now_ms()
    row = _OPENED.one_or_none(connection, {"secret": digest})
    if row is None or not hmac.compare_digest(row.digest, digest):
        return None
    if row.secret_expires_at_ms is not None and row.secret_expires_at_ms <= now:
        return None
    key = _key(row)
    return key if key.is_working(now) else None


def key_named(connection: Connection, name: str) -> Key:
    """The key with an id, or with a name that only one key, or only one that was not revoked, has.

    An id goes before names: whoever makes keys chooses their names, also such as ids of others.

    Raises:
        RequestError: there is none, there are several, or it can be no name.
    """
    known = key_with_id(connection, check_text(name, "key"))
    found = [known] if known is not None else _keys(connection, KEYS.c.name == name)
    if not found:
        names = [str(row.name) for row in connection.execute(select(KEYS.c.name).limit(1000))]
        remedy = nearest(name, names) if names else "There are no keys yet."
        raise RequestError(f"There is no key {shown(name)}.", remedy, code="key_not_found", param="key")
    working = [key for key in found if key.revoked_at_ms is None]
    if len(working) == 1:
        return working[0]
    if len(found) > 1:
        ids = ", ".join(key.id for key in found[:5])
        raise RequestError(
            f"{len(found)} keys have the name {shown(name)}.", f"Give an id: {ids}.", param="key"
        )
    return found[0]


def key_with_id(connection: Connection, identity: str) -> Key | None:
    """The key with an id, revoked or not."""
    found = _keys(connection, KEYS.c.id == identity)
    return found[0] if found else None


def list_keys(connection: Connection, account_id: str | None = None) -> list[Key]:
    """Every key, or those of one account, oldest first."""
    return _keys(connection, KEYS.c.account_id == account_id if account_id is not None else None)


def revoke_key(connection: Connection, key: Key) -> Key:
    """End a key at once; doing it again changes nothing."""
    connection.execute(
        KEYS.update()
        .where(KEYS.c.id == key.id, KEYS.c.revoked_at_ms.is_(None))
        .values(revoked_at_ms=now_ms())
    )
    return _stored(connection, key.id)


def rotate_key(connection: Connection, key: Key, *, grace_seconds: float) -> tuple[Key, str]:
    """A new secret for a key; the ones before it work for some seconds more, and no longer than they would.

    Raises:
        RequestError: the key was revoked, or the time is below 0 or over 90 days.
    """
    if key.revoked_at_ms is not None:
        raise RequestError(f"The key {key.id} was revoked.", "Create a new one.", param="key")
    if not 0 <= grace_seconds <= 90 * 86400:
        raise RequestError(
            f"grace_seconds is {grace_seconds:g}; it must be from 0 to 7776000.", param="grace_seconds"
        )
    end = now_ms() + round(grace_seconds * 1000)
    connection.execute(
        SECRETS.update()
        .where(
            SECRETS.c.key_id == key.id, SECRETS.c.expires_at_ms.is_(None) | (SECRETS.c.expires_at_ms > end)
        )
        .values(expires_at_ms=end)
    )
    secret = _new_secret()
    _store(connection, key.id, secret)
    return _stored(connection, key.id), secret


def period_of(kind: str, at_ms: int) -> str:
    """The name of the budget's period that a time is in: a day, the Monday of a week, a month, or nothing."""
    day = datetime.fromtimestamp(at_ms / 1000, UTC).date()
    if kind == "week":
        day -= timedelta(days=day.weekday())
    return {"total": "", "month": day.isoformat()[:7]}.get(kind, day.isoformat())


def check_name(name: object) -> str:
    """The name of an account or key.

    Raises:
        RequestError: it is empty, too long, or holds characters that cannot be shown.
    """
    if not isinstance(name, str) or not 0 < len(name.strip()) <= MAX_NAME or not name.isprintable():
        raise RequestError(
            f"name is {shown(name)}; it must have from 1 to {MAX_NAME} printable characters.", param="name"
        )
    return name


def check_text(text: str, param: str) -> str:
    """A text that a database can hold and be asked for.

    Raises:
        RequestError: it holds a NUL or half of a surrogate pair.
    """
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise RequestError(f"{param} is {shown(text)}; it holds a character that is none.", param=param)
    return text


_WITH_SECRET = (
    select(
        KEYS,
        ACCOUNTS.c.name.label("account_name"),
        ACCOUNTS.c.balance_micro_usd,
        SECRETS.c.digest,
        SECRETS.c.start,
        SECRETS.c.ending,
        SECRETS.c.expires_at_ms.label("secret_expires_at_ms"),
    )
    .join(ACCOUNTS, ACCOUNTS.c.id == KEYS.c.account_id)
    .join(SECRETS, SECRETS.c.key_id == KEYS.c.id)
)
_OPENED = Prepared(_WITH_SECRET.where(SECRETS.c.digest == bindparam("secret")))


def _keys(connection: Connection, condition: Any) -> list[Key]:
    statement = _WITH_SECRET if condition is None else _WITH_SECRET.where(condition)
    ordered = statement.order_by(KEYS.c.created_at_ms, KEYS.c.id, SECRETS.c.created_at_ms)
    return list({row.id: _key(row) for row in connection.execute(ordered)}.values())


def _key(row: Any) -> Key:
    terms = KeyTerms(
        name=row.name,
        scopes=_words(row.scopes),
        models=_words(row.models),
        expires_at_ms=row.expires_at_ms,
        budget_micro_usd=row.budget_micro_usd,
        budget_period=row.budget_period,
        requests_per_minute=row.requests_per_minute,
        images_per_minute=row.images_per_minute,
        bytes_per_minute=row.bytes_per_minute,
    )
    return Key(
        id=row.id,
        account_id=row.account_id,
        account_name=row.account_name,
        balance_micro_usd=row.balance_micro_usd,
        label=f"{row.start}…{row.ending}",
        terms=terms,
        created_at_ms=row.created_at_ms,
        revoked_at_ms=row.revoked_at_ms,
        spent_period=row.spent_period,
        spent_micro_usd=row.spent_micro_usd,
    )


def _stored(connection: Connection, identity: str) -> Key:
    key = key_with_id(connection, identity)
    assert key is not None, identity
    return key


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _store(connection: Connection, key_id: str, secret: str) -> None:
    connection.execute(
        SECRETS.insert().values(
            digest=_digest(secret),
            key_id=key_id,
            start=secret[: len(PREFIX) + 4],
            ending=secret[-4:],
            created_at_ms=now_ms(),
        )
    )


def _new_secret() -> str:
    return PREFIX + secrets.token_hex(_RANDOM_BYTES)


def _digest(secret: str) -> str:
    # A fast hash is enough: a secret of 192 random bits cannot be guessed, unlike a password.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _check_choice(name: str, value: Sequence[str], allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise RequestError(f"{name} holds {shown(value)}; it may hold {', '.join(allowed)}.", param=name)
