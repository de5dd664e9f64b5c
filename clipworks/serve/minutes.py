"""The last day of every model, minute by minute, in memory: what the charts on its page are drawn from.

Requests are noted as they end; whether a model can answer is looked at every few seconds, so that a time
in which nobody asked counts too. It begins when the server does and is gone with it. The event loop writes;
any thread may read.
"""

import asyncio
import time
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

KEPT_MINUTES = 24 * 60
LOOK_SECONDS = 5.0

_STEP = 1.15
"""Each bound of a time is so much above the one before: a quantile is right within 15 %."""
_BOUNDS = tuple(0.001 * _STEP**i for i in range(85))
"""Seconds, from a millisecond to two minutes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Some minutes of a model, summed."""

    started_at: float
    """When it began, seconds since 1970."""
    seconds: float
    """How long it is."""
    num_requests: int
    """Requests that named the model and ended."""
    num_failures: int
    """Those of them that ended with a status from 500 on."""
    median_seconds: float | None
    """Of the requests that were answered; None where there were none."""
    p95_seconds: float | None
    """Likewise: 19 of 20 were faster."""
    share_up: float | None
    """Of the looks at the model, how many found that it could answer; None where nobody looked."""


class _Minute:
    __slots__ = ("failures", "looks", "looks_up", "number", "requests", "times")

    def __init__(self, number: int) -> None:
        self.number = number
        self.requests = self.failures = self.looks = self.looks_up = 0
        self.times: array[int] | None = None


class Minutes:
    """The rings of all models.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.started_at = clock()
        self._rings: dict[str, deque[_Minute]] = {}

    def answered(self, model: str, status: int, seconds: float) -> None:
        """One request to a model is over."""
        minute = self._now(model)
        minute.requests += 1
        if status >= 500:
            minute.failures += 1
        elif 200 <= status < 300:
            if minute.times is None:
                minute.times = array("I", bytes(4 * (len(_BOUNDS) + 1)))
            minute.times[bisect_left(_BOUNDS, seconds)] += 1

    def seen(self, model: str, is_up: bool) -> None:
        """Somebody looked whether a model can answer."""
        minute = self._now(model)
        minute.looks += 1
        minute.looks_up += is_up

    async def watch(self, look: Callable[[], Mapping[str, bool]]) -> None:
        """Look every few seconds, for ever.

        Args:
            look: id of each model that should be there -> whether it can answer now.
        """
        while True:
            for model, is_up in look().items():
                self.seen(model, is_up)
            await asyncio.sleep(LOOK_SECONDS)

    def stretches(self, model: str, most: int = 60) -> list[Stretch]:
        """The time since the server began, or the last day, in at most so many equal parts, oldest first."""
        last = int(self._clock() // 60)
        first = max(int(self.started_at // 60), last - KEPT_MINUTES + 1)
        width = -(-(last - first + 1) // most)
        groups: dict[int, list[_Minute]] = {}
        for minute in self._kept(model):
            if minute.number >= first:
                groups.setdefault((minute.number - first) // width, []).append(minute)
        places = range((last - first) // width + 1)
        return [_sum(groups.get(place, ()), first + place * width, width) for place in places]

    def whole(self, model: str) -> Stretch:
        """The same time as one stretch."""
        last = int(self._clock() // 60)
        first = max(int(self.started_at // 60), last - KEPT_MINUTES + 1)
        kept = [minute for minute in self._kept(model) if minute.number >= first]
        return _sum(kept, first, last - first + 1)

    def _kept(self, model: str) -> Sequence[_Minute]:
        # Copied at once: a deque that grows while it is walked through raises.
        return tuple(self._rings.get(model, ()))

    def _now(self, model: str) -> _Minute:
        ring = self._rings.get(model)
        if ring is None:
            ring = self._rings[model] = deque(maxlen=KEPT_MINUTES)
        number = int(self._clock() // 60)
        if not ring or ring[-1].number < number:  # a clock that is set back goes on in the newest minute
            ring.append(_Minute(number))
        return ring[-1]


def _sum(minutes: Iterable[_Minute], number: int, width: int) -> Stretch:
    kept = list(minutes)
    times = [sum(column) for column in zip(*(one.times for one in kept if one.times), strict=True)]
    looks = sum(one.looks for one in kept)
    return Stretch(
        started_at=60.0 * number,
        seconds=60.0 * width,
        num_requests=sum(one.requests for one in kept),
        num_failures=sum(one.failures for one in kept),
        median_seconds=_quantile(times, 0.5),
        p95_seconds=_quantile(times, 0.95),
        share_up=sum(one.looks_up for one in kept) / looks if looks else None,
    )


def _quantile(times: Sequence[int], share: float) -> float | None:
    """The bound below which so many times lie; the middle of its step, in the sense of ratios."""
    total = sum(times)
    if not total:
        return None
    passed = 0
    for place, count in enumerate(times):
        passed += count
        if passed >= share * total:
            return float(_BOUNDS[min(place, len(_BOUNDS) - 1)] / _STEP**0.5)
    return None
