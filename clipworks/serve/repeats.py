"""Requests that a client named by an `Idempotency-Key`: each is paid for once and answered the same way.

The name is taken in the transaction that sets the money aside, and the answer is kept in the one that
spends it, so there is never a charge without its answer; where there is no answer, the name is free again.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select
from sqlalchemy.exc import IntegrityError

from clipworks.serve.problems import RequestError
from clipworks.serve.tables import REPEATS


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """What a client calls a request."""

    key: str
    """What it chose, 1 to 255 characters."""
    digest: str
    """SHA-256 of what the request says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a client was told."""

    body: bytes
    """All of it."""
    media_type: str
    """Its content type."""
    fingerprint: str = ""
    """Of the checkpoint that made its vectors; empty where none did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """A request that was paid for before."""

    charge_id: str
    """Names the rows of its charge."""
    cost_micro_usd: int
    """What it cost."""
    answer: Answer | None
    """What was answered; None where that was too large to be kept."""


def earlier(connection: Connection, account_id: str, repeat: Repeat) -> Answered | None:
    """What became of the request with this name; None where there was none.

    Raises:
        RequestError: the name stands for another request, or for one in work (409).
    """
    row = connection.execute(_FIND, _names(account_id, repeat)).one_or_none()
    return None if row is None else _answered(row, repeat)


def claim(
    connection: Connection,
    account_id: str,
    repeat: Repeat,
    *,
    charge_id: str,
    cost_micro_usd: int,
    at_ms: int,
) -> Answered | None:
    """Let the name stand for a charge; or else what became of the request that has it already.

    Raises:
        RequestError: as in `earlier`.
    """
    known = earlier(connection, account_id, repeat)
    if known is not None:
        return known
    values = {
        "account_id": account_id,
        "repeat_key": repeat.key,
        "digest": repeat.digest,
        "charge_id": charge_id,
        "cost_micro_usd": cost_micro_usd,
        "is_settled": False,
        "created_at_ms": at_ms,
    }
    try:
        with connection.begin_nested():
            connection.execute(REPEATS.insert(), values)
    except IntegrityError as error:  # another server took it between the two statements
        known = earlier(connection, account_id, repeat)
        if known is None:  # and gave it back
            raise in_progress() from error
        return known
    return None


def keep(connection: Connection, charge_id: str, cost_micro_usd: int, answer: Answer | None) -> None:
    """The charge is paid; remember what was answered."""
    values = {
        "cost_micro_usd": cost_micro_usd,
        "is_settled": True,
        "body": None if answer is None else answer.body,
        "media_type": None if answer is None else answer.media_type,
        "fingerprint": None if answer is None else answer.fingerprint,
    }
    connection.execute(REPEATS.update().where(REPEATS.c.charge_id == charge_id).values(values))


def free(connection: Connection, charge_id: str) -> None:
    """The charge was given back, so its name is free again."""
    connection.execute(_FREE, {"charge": charge_id})


def forget(connection: Connection, *, before_ms: int) -> None:
    """Drop the answered requests that are older than a time."""
    connection.execute(
        REPEATS.delete().where(REPEATS.c.created_at_ms < before_ms, REPEATS.c.is_settled.is_(True))
    )


def digest_of(path: str, payload: Mapping[str, Any]) -> str:
    """SHA-256 of what a request says, however it was encoded."""
    text = json.dumps(payload, sort_keys=True, default=_of_bytes)
    return hashlib.sha256(f"{path}\n{text}".encode(errors="surrogatepass")).hexdigest()


def in_progress() -> RequestError:
    """The refusal of a request whose name stands for one in work."""
    return RequestError(
        "The request with this Idempotency-Key is in work.",
        "Try again when it has been answered.",
        code="idempotency_in_progress",
        retry_after_seconds=0.5,
    )


_FIND = select(REPEATS).where(
    REPEATS.c.account_id == bindparam("account"), REPEATS.c.repeat_key == bindparam("name")
)
_FREE = REPEATS.delete().where(REPEATS.c.charge_id == bindparam("charge"))


def _names(account_id: str, repeat: Repeat) -> Mapping[str, str]:
    return {"account": account_id, "name": repeat.key}


def _answered(row: Any, repeat: Repeat) -> Answered:
    if row.digest != repeat.digest:
        raise RequestError(
            "This Idempotency-Key was used for another request.",
            "Choose a new one for each request.",
            code="idempotency_conflict",
        )
    if not row.is_settled:
        raise in_progress()
    answer = None
    if row.body is not None:
        fingerprint = row.fingerprint or ""  # version 1 of the tables did not keep it
        answer = Answer(body=bytes(row.body), media_type=row.media_type, fingerprint=fingerprint)
    return Answered(charge_id=row.charge_id, cost_micro_usd=row.cost_micro_usd, answer=answer)


def _of_bytes(value: object) -> str:
    assert isinstance(value, bytes), type(value)
    return f"sha256:{hashlib.sha256(value).hexdigest()}"
