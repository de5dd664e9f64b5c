"""Whether somebody said that their pictures are not to be collected. One question, a reason or None.

Asked before a request: opt-out lists, robots.txt (RFC 9309) and `/.well-known/tdmrep.json`. Asked when
the head of an answer is there: X-Robots-Tag and TDM-Reservation. All of it is on unless it is switched
off, and what a host once said is kept for a day. The owner of protego.
"""

import asyncio
import json
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

from protego import Protego

from clipworks.addresses import WebAddress
from clipworks.blocklists import Blocklist
from clipworks.errors import NetError

AGENT = "clipworks"
"""The name that a robots.txt or an X-Robots-Tag addresses us by."""

TAGS = ("noai", "noimageai", "noindex", "noimageindex", "none")
"""Words of X-Robots-Tag that are obeyed; `none` is short for noindex and nofollow."""

ROBOTS_BYTES = 500 << 10
"""What is read of a robots.txt (RFC 9309 §2.5 asks for that much at least)."""

TEXT_BYTES = 8 << 20
"""Of robots.txt kept, all hosts together."""

DAY_SECONDS = 24 * 3600.0

Get = Callable[[WebAddress], Awaitable[tuple[int, bytes]]]
"""Asks for a small file, redirects followed: status and at most ROBOTS_BYTES. Raises NetError."""

_AGENT_TAG = re.compile(r"\s*([a-z0-9_-]+)\s*:(.*)", re.IGNORECASE | re.DOTALL)
_DIRECTIVES_WITH_VALUES = {"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsentRules:
    """What is obeyed."""

    robots: bool = True
    """robots.txt."""
    tags: bool = True
    """X-Robots-Tag: noai, noimageai, noindex, noimageindex, none."""
    tdm: bool = True
    """TDM-Reservation, and /.well-known/tdmrep.json."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Site:
    """What a host says of itself, at one scheme and port."""

    robots: Protego | None
    """None where everything is allowed."""
    refuses: str
    """Why nothing is allowed, or empty."""
    reserved: tuple["PathPattern", ...]
    """Paths whose rights are reserved by tdmrep.json."""
    free: tuple["PathPattern", ...]
    until: float
    size: int


class Consent:
    """Asks for consent and remembers the answers. All methods run in one event loop.

    Args:
        rules: what is obeyed.
        opt_outs: hosts and addresses whose owners do not want it.
        get: asks for the files in which hosts say so.
    """

    def __init__(self, rules: ConsentRules, opt_outs: Blocklist, get: Get) -> None:
        self._rules = rules
        self._opt_outs = opt_outs
        self._get = get
        self._sites: OrderedDict[tuple[str, str, int], _Site] = OrderedDict()
        self._size = 0
        self._asked: dict[tuple[str, str, int], tuple[asyncio.Lock, list[None]]] = {}

    async def reason(self, url: str, address: WebAddress) -> str | None:
        """Why a picture must not be asked for, or None.

        Args:
            url: the address as it was written.
            address: the same, taken apart.

        Returns:
            `opt_out`, `robots`, `robots_unavailable`, `tdm`, or None.

        Raises:
            NetError: the host cannot be reached to be asked.
        """
        if self.is_opted_out(url, address):
            return "opt_out"
        if not self._rules.robots and not self._rules.tdm:
            return None
        site = await self._site(address)
        if site.refuses:
            return site.refuses
        whole = f"{address.scheme}://{address.authority}{address.target}"
        if site.robots is not None and not site.robots.can_fetch(whole, AGENT):
            return "robots"
        path = address.target
        is_free = any(pattern.matches(path) for pattern in site.free)
        is_reserved = not is_free and any(pattern.matches(path) for pattern in site.reserved)
        return "tdm" if is_reserved else None

    def crawl_delay_seconds(self, address: WebAddress) -> float:
        """What the host's robots.txt asks for between two requests; 0 where it is silent or unknown."""
        site = self._sites.get(_origin(address))
        if site is None or site.robots is None:
            return 0.0
        delay = site.robots.crawl_delay(AGENT)
        return max(0.0, float(delay)) if delay is not None else 0.0

    def is_opted_out(self, url: str, address: WebAddress) -> bool:
        """Whether the lists say no; all that is asked of pictures that need no request."""
        return self._opt_outs.has_address(url, address)

    def refused_by_headers(self, headers: Iterable[tuple[str, str]]) -> str | None:
        """Why a picture must not be kept, by the head of its answer: `tdm`, `x_robots_tag`, or None.

        Args:
            headers: names in lower case.
        """
        headers = tuple(headers)
        if self._rules.tdm and any(n == "tdm-reservation" and v.strip() == "1" for n, v in headers):
            return "tdm"
        if self._rules.tags and any(n == "x-robots-tag" and is_refusing_tag(v) for n, v in headers):
            return "x_robots_tag"
        return None

    async def _site(self, address: WebAddress) -> _Site:
        origin = _origin(address)
        site = self._known(origin)
        if site is not None:
            return site
        lock, waiting = self._asked.setdefault(origin, (asyncio.Lock(), []))
        waiting.append(None)
        try:
            async with lock:  # several ask for pictures of a new host: one of them asks the host
                site = self._known(origin)
                if site is None:
                    site = await self._ask_site(address)
                    self._keep(origin, site)
                return site
        finally:
            waiting.pop()
            if not waiting:
                self._asked.pop(origin, None)

    def _known(self, origin: tuple[str, str, int]) -> _Site | None:
        site = self._sites.get(origin)
        if site is None or site.until < time.monotonic():
            return None
        self._sites.move_to_end(origin)
        return site

    def _keep(self, origin: tuple[str, str, int], site: _Site) -> None:
        old = self._sites.pop(origin, None)
        self._size += site.size - (old.size if old else 0)
        self._sites[origin] = site
        while self._size > TEXT_BYTES and len(self._sites) > 1:
            self._size -= self._sites.popitem(last=False)[1].size

    async def _ask_site(self, address: WebAddress) -> _Site:
        robots, refuses, size = None, "", 1 << 10
        seconds = DAY_SECONDS
        if self._rules.robots:
            status, data = await self._get(replace(address, target="/robots.txt"))
            if status == 200:
                size += 8 * len(data)  # parsed, it is several times its text
                robots = Protego.parse(data.decode("utf-8-sig", errors="replace"))
            elif status == 429 or status >= 500:  # RFC 9309 §2.3.1.4: unreachable means no
                refuses, seconds = "robots_unavailable", 600.0
        reserved: tuple[PathPattern, ...] = ()
        free: tuple[PathPattern, ...] = ()
        if self._rules.tdm and not refuses:
            try:
                status, data = await self._get(replace(address, target="/.well-known/tdmrep.json"))
            except NetError:
                status = 0  # the host answered a moment ago: it does not have the file
            if status == 200:
                size += 8 * len(data)
                reserved, free = read_tdm(data)
        until = time.monotonic() + seconds
        return _Site(robots=robots, refuses=refuses, reserved=reserved, free=free, until=until, size=size)


def is_refusing_tag(value: str, agent: str = AGENT) -> bool:
    """Whether a value of X-Robots-Tag forbids collecting.

    Args:
        value: directives by comma; those after `name:` are for that robot alone, up to the next name.
        agent: our name.
    """
    is_ours = True
    for part in value.lower().split(","):
        word = part.strip()
        match = _AGENT_TAG.fullmatch(word)
        if match is not None and match[1] not in _DIRECTIVES_WITH_VALUES:
            is_ours, word = match[1] == agent, match[2].strip()
        if is_ours and word in TAGS:
            return True
    return False


@dataclass(frozen=True, kw_only=True, slots=True)
class PathPattern:
    """Paths with `*` for anything. No regular expression: a host could write one that takes years."""

    parts: tuple[str, ...]
    """What stands between the stars, at least one."""
    is_whole: bool
    """Whether nothing may follow, as a `$` at the end says."""

    def matches(self, path: str) -> bool:
        """Whether a path begins so; in time that grows with the path and the pattern, not faster."""
        first, *others = self.parts
        if not path.startswith(first):
            return False
        at, end = len(first), len(path)
        if self.is_whole:
            last = others.pop() if others else ""
            end = len(path) - len(last)
            if not path.endswith(last) or end < at:
                return False
        for part in others:
            at = path.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return not self.is_whole or len(self.parts) > 1 or at == end


def read_tdm(data: bytes) -> tuple[tuple[PathPattern, ...], tuple[PathPattern, ...]]:
    """Paths that a tdmrep.json reserves and paths that it sets free; a file that is none says nothing."""
    reserved, free = list[PathPattern](), list[PathPattern]()
    try:
        rules = json.loads(data)
    except (ValueError, RecursionError):
        return (), ()
    for rule in rules if isinstance(rules, list) else ():
        if isinstance(rule, dict) and isinstance(rule.get("location"), str):
            path = rule["location"]
            pattern = PathPattern(parts=tuple(path.removesuffix("$").split("*")), is_whole=path.endswith("$"))
            is_reserved = rule.get("tdm-reservation") in (1, "1", True)
            (reserved if is_reserved else free).append(pattern)
    return tuple(reserved), tuple(free)


def _origin(address: WebAddress) -> tuple[str, str, int]:
    return address.scheme, address.host, address.port
