"""The time as the books have it: whole milliseconds since 1970, UTC."""

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def show_minute(at_ms: int | None) -> str:
    """Milliseconds since 1970 as `2026-11-22 10:20`, for people; nothing for no time."""
    return "" if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def show_time(at_ms: int | None) -> str | None:
    """Milliseconds since 1970 as `2026-11-22T10:20:30Z`."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
