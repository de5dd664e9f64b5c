"""How often somebody tried something in a while, counted in the database: for all servers, and over restarts.

Windows begin at fixed times. A try is counted before it is made, so that many at once are not taken for one.
"""

import hashlib
import ipaddress

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from clipworks.serve.clock import now_ms
from clipworks.serve.problems import RequestError
from clipworks.serve.tables import TALLIES


def count(
    connection: Connection, kind: str, who: str, *, window_seconds: int, at_ms: int | None = None
) -> int:
    """Count one more; how many there were in a window, this one included.

    Args:
        at_ms: a time in the window, milliseconds since 1970; now if None.
    """
    began = _began(window_seconds, at_ms)
    row = (TALLIES.c.kind == kind) & (TALLIES.c.subject == _subject(who)) & (TALLIES.c.began_at_ms == began)
    more = TALLIES.update().where(row).values(number=TALLIES.c.number + 1).returning(TALLIES.c.number)
    number = connection.execute(more).scalar_one_or_none()
    if number is not None:
        return int(number)
    values = {"kind": kind, "subject": _subject(who), "began_at_ms": began, "number": 1}
    try:
        with connection.begin_nested():
            connection.execute(TALLIES.insert(), values)
    except IntegrityError:  # another server began it between the two statements
        return int(connection.execute(more).scalar_one())
    return 1


def clear(connection: Connection, kind: str, who: str) -> None:
    """Forget how often somebody tried: it went well."""
    connection.execute(TALLIES.delete().where(TALLIES.c.kind == kind, TALLIES.c.subject == _subject(who)))


def number_of(connection: Connection, kind: str, who: str, *, window_seconds: int) -> int:
    """How often in this window."""
    found = connection.execute(
        select(TALLIES.c.number).where(
            TALLIES.c.kind == kind,
            TALLIES.c.subject == _subject(who),
            TALLIES.c.began_at_ms == _began(window_seconds),
        )
    ).scalar_one_or_none()
    return int(found or 0)


def seconds_left(window_seconds: int) -> float:
    """How long this window still lasts."""
    return window_seconds - (now_ms() - _began(window_seconds)) / 1000


def too_many(words: str, window_seconds: int) -> RequestError:
    """The refusal of who tried too often; it says when this window is over."""
    left = seconds_left(window_seconds)
    span = f"{left / 60:.0f} minutes" if left < 7200 else f"{left / 3600:.0f} hours"
    return RequestError(words, f"Try again in {span}.", code="rate_limit_exceeded", retry_after_seconds=left)


def forget(connection: Connection, *, before_ms: int) -> None:
    """Drop the windows that began before a time."""
    connection.execute(TALLIES.delete().where(TALLIES.c.began_at_ms < before_ms))


def network_of(address: str) -> str:
    """Whom a network address stands for: itself, or of IPv6 its first half, which one household has."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(ipaddress.ip_network((known, 64), strict=False))


def _began(window_seconds: int, at_ms: int | None = None) -> int:
    at_ms = now_ms() if at_ms is None else at_ms
    return at_ms // (window_seconds * 1000) * (window_seconds * 1000)


def _subject(who: str) -> str:
    return hashlib.sha256(who.encode(errors="surrogatepass")).hexdigest()
