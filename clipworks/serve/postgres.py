"""Connections to PostgreSQL that are given up when it says nothing: the only file that imports psycopg.

`statement_timeout` is kept by the server itself, and TCP's own limits by its kernel: neither helps where its
processes are stopped, or hang in a disk that does not answer. So who asks keeps the time, too.
"""

import math
from typing import Any

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL

CONNECT_SECONDS = 5
NETWORK_SECONDS = 10
"""How long the other machine may be gone, or leave what was sent without a word."""

MAX_CONNECTIONS = 16

_GRACE_SECONDS = 1.0
"""The server's own word that it gave up a statement says more than ours, so it comes first."""

_INTERVAL = 0.1


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed where the server does not answer within a time."""

    answer_seconds = math.inf
    """For one answer; infinite where it may take as long as it takes."""

    def wait(self, gen: PQGen[Any], interval: float = _INTERVAL, timeout: float | None = None) -> Any:
        """As psycopg's, for so long.

        Raises:
            psycopg.OperationalError: the server did not answer, and nobody listens any more.
        """
        limit = min(self.answer_seconds, math.inf if timeout is None else timeout)
        if limit == math.inf:
            return super().wait(gen, interval=interval)
        try:
            return super().wait(gen, interval=interval, timeout=limit)
        except psycopg.OperationalError as error:
            if timeout is None and type(error).__name__ == "_WaitTimeout":
                self.pgconn.finish()
                raise psycopg.OperationalError(
                    f"the server did not answer within {limit:g} seconds"
                ) from error
            raise


def create_postgres(url: URL, statement_seconds: float) -> Engine:
    """An engine whose connections wait for each answer only so long.

    Args:
        statement_seconds: for one statement; 0 is no limit.
    """
    milliseconds = round(statement_seconds * 1000)
    own = url.query.get("options", "")
    limits = f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
    options = f"{limits} {own if isinstance(own, str) else ' '.join(own)}".strip()
    engine = create_engine(
        url,
        pool_size=MAX_CONNECTIONS,
        max_overflow=4,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "tcp_user_timeout": NETWORK_SECONDS * 1000,
            "keepalives_idle": NETWORK_SECONDS,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "options": options,
        },
    )
    seconds = statement_seconds + _GRACE_SECONDS if statement_seconds else math.inf

    def connect(dialect: Any, record: Any, words: list[Any], given: dict[str, Any]) -> BoundedConnection:
        connection = BoundedConnection.connect(*words, **given)
        connection.answer_seconds = seconds
        return connection

    event.listen(engine, "do_connect", connect)
    return engine
