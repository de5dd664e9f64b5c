"""Token buckets: how many requests, pictures and bytes a key may send in a minute.

A bucket holds what one minute allows and fills evenly. Buckets live in one process: several servers
on one database each allow the whole rate.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from clipworks.serve.problems import RequestError

if TYPE_CHECKING:
    from clipworks.serve.keys import Key

MAX_KEYS = 10_000
"""Keys whose buckets are kept; those that were idle longest are forgotten, and begin full."""


class Bucket:
    """What is left of one limit.

    Args:
        per_minute: how much it holds, and how much flows in during a minute.
        now: when it begins, full, seconds of a clock that never goes back.
    """

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._at = now

    def take(self, amount: int, now: float) -> float:
        """Take an amount whole or not at all; 0, or the seconds until it can be taken (inf for never)."""
        self._fill(now)
        if amount > self.per_minute:
            return float("inf")
        if amount <= self._level:
            self._level -= amount
            return 0.0
        return (amount - self._level) * 60 / self.per_minute

    def put_back(self, amount: int) -> None:
        """What was taken and not used."""
        self._level = min(self._level + amount, self.per_minute)

    def left(self, now: float) -> int:
        """What could be taken now."""
        self._fill(now)
        return int(self._level)

    def full_after_seconds(self, now: float) -> float:
        """When it is full again."""
        self._fill(now)
        return (self.per_minute - self._level) * 60 / self.per_minute

    def _fill(self, now: float) -> None:
        self._level = min(self._level + (now - self._at) * self.per_minute / 60, self.per_minute)
        self._at = now


class Limits:
    """The buckets of every key that was seen lately; used in the event loop only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()

    def take(self, key: "Key", kind: str, amount: int) -> None:
        """Take from the bucket of a key.

        Args:
            kind: `requests`, `images` or `bytes`.

        Raises:
            RequestError: it does not hold that much; `retry_after_seconds` says when it will.
        """
        bucket = self._bucket(key, kind)
        if bucket is None:
            return
        seconds = bucket.take(amount, self._clock())
        if seconds == float("inf"):
            raise RequestError(
                f"This request has {amount:,} {kind}; the key may send {bucket.per_minute:,} in a minute.",
                "Send it in parts.",
                code="rate_limit_exceeded",
            )
        if seconds:
            raise RequestError(
                f"The limit of this key is {bucket.per_minute:,} {kind} in a minute.",
                f"Try again in {max(seconds, 0.1):.1f} seconds.",
                code="rate_limit_exceeded",
                retry_after_seconds=seconds,
            )

    def put_back(self, key: "Key", kind: str, amount: int) -> None:
        """What was taken and not used."""
        bucket = self._bucket(key, kind)
        if bucket is not None:
            bucket.put_back(amount)

    def headers(self, key: "Key") -> dict[str, str]:
        """`x-ratelimit-{limit,remaining,reset}-{requests,images}` of the limits that the key has."""
        headers = {}
        now = self._clock()
        for kind in ("requests", "images"):
            bucket = self._bucket(key, kind)
            if bucket is not None:
                headers[f"x-ratelimit-limit-{kind}"] = str(bucket.per_minute)
                headers[f"x-ratelimit-remaining-{kind}"] = str(bucket.left(now))
                headers[f"x-ratelimit-reset-{kind}"] = show_seconds(bucket.full_after_seconds(now))
        return headers

    def _bucket(self, key: "Key", kind: str) -> Bucket | None:
        allowed = {
            "requests": key.terms.requests_per_minute,
            "images": key.terms.images_per_minute,
            "bytes": key.terms.bytes_per_minute,
        }[kind]
        if allowed is None:
            return None
        name = (key.id, kind)
        bucket = self._buckets.get(name)
        if bucket is None or bucket.per_minute != allowed:
            bucket = self._buckets[name] = Bucket(allowed, self._clock())
            while len(self._buckets) > 3 * MAX_KEYS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(name)
        return bucket


def show_seconds(seconds: float) -> str:
    """A span as OpenAI's headers have it: `250ms`, `1s`, `6m0s`."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    whole = -(-milliseconds // 1000)
    return f"{whole // 60}m{whole % 60}s" if whole >= 60 else f"{whole}s"
