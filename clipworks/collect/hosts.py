"""Manners towards hosts: how many requests at once, how far apart, when to wait and when to give up."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice

from clipworks.errors import ConfigError, NetError

MAX_HOSTS = 8192
"""Hosts remembered; beyond it those that nobody asks are forgotten, unless they want to be left alone."""

_DOWN_AFTER = 2.0
_WEIGHT_OF_TIMEOUT = 0.4
"""A host counts as down after two failures to connect, or five answers that did not come, in a row; one that
never answered anything after one answer that did not come, since each costs the whole deadline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HostRules:
    """What one host is burdened with."""

    connections: int = 2
    """Requests at the same time."""
    delay_seconds: float = 0.1
    """Between the beginnings of two requests; a longer Crawl-delay wins."""
    max_delay_seconds: float = 30.0
    """Longest Crawl-delay or Retry-After that is waited for; who asks for more is left for another run."""
    down_seconds: float = 120.0
    """How long a host that cannot be reached is left alone."""

    def __post_init__(self) -> None:
        if self.connections < 1:
            raise ConfigError(f"connections is {self.connections}; it must be at least 1.")
        if min(self.delay_seconds, self.max_delay_seconds, self.down_seconds) < 0:
            raise ConfigError("The seconds of delays must not be below 0.")


class _Host:
    __slots__ = ("delay", "down", "failures", "free", "has_answered", "next", "users")

    def __init__(self, rules: HostRules) -> None:
        self.free = asyncio.Semaphore(rules.connections)
        self.delay = rules.delay_seconds
        self.next = 0.0
        self.down: tuple[str, str] | None = None  # words and reason: an error would hold its frames
        self.failures = 0.0
        self.has_answered = False
        self.users = 0


class Hosts:
    """Gives turns to those who want to ask a host. All methods run in one event loop."""

    def __init__(self, rules: HostRules) -> None:
        self.rules = rules
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    def turn(self, name: str) -> "Turn":
        """Entered, it waits until the host may be asked, and counts as one that asks it until it is left.

        Entering raises NetError: `host_down`: it could not be reached a moment ago. `host_busy`: it wants
        to be left alone for longer than we wait.
        """
        return Turn(self, self._host(name))

    def slow_down(self, name: str, seconds: float) -> None:
        """Keep at least this many seconds between requests, as a robots.txt asks."""
        host = self._host(name)
        host.delay = max(host.delay, seconds)

    def pause(self, name: str, seconds: float) -> None:
        """Ask nothing for a time, as a Retry-After says."""
        host = self._host(name)
        host.next = max(host.next, time.monotonic() + seconds)

    def failed(self, name: str, error: NetError) -> None:
        """Note that a host could not be reached, or did not answer in time."""
        host = self._host(name)
        is_slow = error.reason == "timeout"
        host.failures += _WEIGHT_OF_TIMEOUT if is_slow else 1.0
        is_mute = is_slow and not host.has_answered
        if host.failures >= _DOWN_AFTER or is_mute or error.reason == "dns":
            host.down = error.message, error.reason
            host.next = time.monotonic() + self.rules.down_seconds

    def answered(self, name: str) -> None:
        """Note that a host lives."""
        host = self._host(name)
        host.failures, host.down, host.has_answered = 0.0, None, True

    async def wait(self, host: _Host) -> None:
        """Wait for the time at which a host may be asked; raises as `turn`."""
        while (wait := host.next - time.monotonic()) > 0:
            if host.down is not None:
                raise NetError(f"The host was down a moment ago: {host.down[0]}", reason=host.down[1])
            if wait > self.rules.max_delay_seconds or host.delay > self.rules.max_delay_seconds:
                raise NetError(f"The host wants to be left alone for {wait:.0f} s.", reason="host_busy")
            await asyncio.sleep(wait)
        host.down = None
        host.next = time.monotonic() + host.delay

    def _host(self, name: str) -> _Host:
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host(self.rules)
            if len(self._hosts) > MAX_HOSTS:
                self._forget()
        else:
            self._hosts.move_to_end(name)
        return host

    def _forget(self) -> None:
        now = time.monotonic()
        for name, host in list(islice(self._hosts.items(), MAX_HOSTS // 8)):
            # Of names that are dead there are millions; to ask one of them again costs nobody much.
            if not host.users and (host.next <= now or host.down is not None):
                del self._hosts[name]


class Turn:
    """A place among those who ask a host, for `async with`; a class, since there is one for each request."""

    __slots__ = ("_host", "_hosts")

    def __init__(self, hosts: Hosts, host: _Host) -> None:
        self._hosts = hosts
        self._host = host

    async def __aenter__(self) -> None:
        host = self._host
        host.users += 1
        try:
            await host.free.acquire()
        except BaseException:
            host.users -= 1
            raise
        try:
            await self._hosts.wait(host)
        except BaseException:
            await self.__aexit__()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._host.free.release()
        self._host.users -= 1
