"""One picture asked of the web with manners: consent, the host's turn, redirects, waiting, a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial

from clipworks.addresses import WebAddress, parse_address
from clipworks.blocklists import Blocklist
from clipworks.collect.consent import ROBOTS_BYTES, Consent, ConsentRules
from clipworks.collect.hosts import HostRules, Hosts
from clipworks.collect.images import begins_like_a_picture
from clipworks.crawler import REDIRECTS, Crawler
from clipworks.errors import ConfigError, NetError
from clipworks.exchange import Answer

REFUSALS = {
    "opt_out": "The host or the address is on an opt-out list.",
    "blocklist": "The address is on a blocklist.",
    "robots": "The host's robots.txt does not allow it.",
    "robots_unavailable": "The host's robots.txt cannot be had now, which means no.",
    "tdm": "The rights are reserved (TDM-Reservation).",
    "x_robots_tag": "Use of image disallowed by X-Robots-Tag directive",
}
"""Reasons that are somebody's will, with the words for the table (the last as img2dataset says it)."""

_ALIVE = frozenset({"too_large", "unwanted", "damaged", "busy", "malformed"})
"""Reasons given by a host that was reached."""

_ROBOTS_REDIRECTS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class VisitRules:
    """How long is tried to get one picture."""

    total_seconds: float = 30.0
    """For everything that is asked for one address; waiting for the host's turn does not count."""
    max_redirects: int = 5
    retries: int = 1
    """More tries where the host says 429 or 503."""
    pause_seconds: float = 5.0
    """Before such a try, where the host does not say how long."""

    def __post_init__(self) -> None:
        if self.total_seconds <= 0 or self.pause_seconds < 0:
            raise ConfigError("total_seconds must be above 0, and pause_seconds not below.")
        if min(self.max_redirects, self.retries) < 0:
            raise ConfigError("max_redirects and retries must not be below 0.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A file that an address gave."""

    data: bytes
    url: str
    """Where it came from after all redirects."""
    is_archived: bool = False
    """Whether a web archive held it, and the web was not asked."""


class _Allowance:
    """Seconds left for one picture, spent while something is asked and not while a turn is awaited."""

    __slots__ = ("_left",)

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    async def spend(self, question: Awaitable[Answer]) -> Answer:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._left):
                return await question
        except TimeoutError as error:
            raise NetError("The deadline of the address passed.", reason="timeout") from error
        finally:
            self._left -= time.monotonic() - started


class Visits:
    """Asks for pictures. All methods run in one event loop.

    Args:
        crawler: the door to the web.
        rules: deadlines and tries.
        host_rules: manners towards hosts.
        consent_rules: what is obeyed.
        opt_outs: who does not want it.
        blocked: addresses that must not be asked.
    """

    def __init__(
        self,
        crawler: Crawler,
        rules: VisitRules,
        host_rules: HostRules,
        consent_rules: ConsentRules,
        *,
        opt_outs: Blocklist,
        blocked: Blocklist,
    ) -> None:
        self._crawler = crawler
        self._rules = rules
        self._hosts = Hosts(host_rules)
        self._blocked = blocked
        self.consent = Consent(consent_rules, opt_outs, self._get_small)

    async def fetch(self, url: str, *, is_last: bool = False) -> Found:
        """GET a picture's file; its bytes count as held until `Crawler.let_go` is told.

        Args:
            url: http or https.
            is_last: whether nothing else of this host is wanted soon.

        Raises:
            NetError: it was not fetched. Beside the reasons of the class: those of REFUSALS, `dns`, `tls`,
                `host_busy` and `busy`.
        """
        address = parse_address(url)
        allowance = _Allowance(self._rules.total_seconds)
        tries = self._rules.retries
        hops = 0
        while True:
            await self._check(url, address)
            answer = await self._ask(address, allowance, keep=not is_last)
            if answer.status in REDIRECTS:
                hops += 1
                address = _redirected(address, answer, hops > self._rules.max_redirects)
                url = _written(address)
            elif answer.status in (429, 503) and self._is_worth_waiting(address, answer, tries):
                tries -= 1
            elif answer.status != 200:
                raise NetError(f"HTTP Error {answer.status}", reason="status", status=answer.status)
            else:
                return Found(data=answer.data, url=_written(address))

    def check_archived(self, url: str, headers: Sequence[tuple[str, str]]) -> None:
        """The same manners for a picture that an archive holds: lists, and what its answer said.

        Raises:
            NetError: it must not be used; the reason is one of REFUSALS, or `malformed`.
        """
        address = parse_address(url)
        reason = self.consent.refused_by_headers(headers)
        if self._blocked.has_address(url, address):
            reason = "blocklist"
        elif self.consent.is_opted_out(url, address):
            reason = "opt_out"
        if reason is not None:
            raise NetError(REFUSALS[reason], reason=reason)

    async def _check(self, url: str, address: WebAddress) -> None:
        if self._blocked.has_address(url, address):
            raise NetError(REFUSALS["blocklist"], reason="blocklist")
        reason = await self.consent.reason(url, address)
        if reason is not None:
            raise NetError(REFUSALS[reason], reason=reason)
        delay = self.consent.crawl_delay_seconds(address)
        if delay:
            self._hosts.slow_down(address.host, delay)

    async def _ask(self, address: WebAddress, allowance: _Allowance, *, keep: bool) -> Answer:
        refused: list[str] = []

        def is_wanted(answer: Answer) -> bool:
            reason = self.consent.refused_by_headers(answer.headers)
            refused.extend([reason] if reason else [])
            return answer.status == 200 and not refused

        answer = await self._ask_in_turn(
            address.host,
            allowance,
            partial(
                self._crawler.ask, address, is_wanted=is_wanted, begins_well=begins_like_a_picture, keep=keep
            ),
        )
        if refused:
            raise NetError(REFUSALS[refused[0]], reason=refused[0], status=answer.status)
        return answer

    async def _ask_in_turn(
        self, host: str, allowance: _Allowance, ask: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        async with self._hosts.turn(host):
            try:
                answer = await allowance.spend(ask())
            except NetError as error:
                if error.reason in _ALIVE:
                    self._hosts.answered(host)
                elif error.reason in ("dns", "unreachable", "timeout", "tls"):
                    self._hosts.failed(host, error)
                raise
            self._hosts.answered(host)
            return answer

    def _is_worth_waiting(self, address: WebAddress, answer: Answer, tries: int) -> bool:
        """Leave the host alone as long as it says; whether it shall be asked once more."""
        said = answer.header("retry-after")
        seconds = self._rules.pause_seconds if said is None else retry_after_seconds(said)
        self._hosts.pause(address.host, seconds)
        return tries > 0 and seconds <= self._hosts.rules.max_delay_seconds

    async def _get_small(self, address: WebAddress) -> tuple[int, bytes]:
        """For robots.txt: what an address says after redirects; a loop is no answer (RFC 9309 §2.3.1.2)."""
        allowance = _Allowance(self._rules.total_seconds)
        for _ in range(_ROBOTS_REDIRECTS + 1):
            ask = partial(self._crawler.ask, address, cut_bytes=ROBOTS_BYTES, keep=True)
            answer = await self._ask_in_turn(address.host, allowance, ask)
            self._crawler.let_go(len(answer.data))
            if answer.status not in REDIRECTS:
                return answer.status, answer.data
            try:
                address = _redirected(address, answer, False)
            except NetError:
                break
        return 404, b""


def retry_after_seconds(value: str) -> float:
    """What a Retry-After header says, seconds from now; infinity where it cannot be read.

    Args:
        value: seconds, or a date of HTTP.
    """
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return float("inf")
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def _redirected(address: WebAddress, answer: Answer, is_too_far: bool) -> WebAddress:
    location = answer.header("location")
    if is_too_far:
        raise NetError("There are too many redirects.", reason="redirect", status=answer.status)
    if location is None:
        raise NetError("A redirect leads nowhere.", reason="redirect", status=answer.status)
    try:
        return address.join(location)
    except NetError as error:
        raise NetError(
            f"A redirect cannot be followed: {error.message}", reason="redirect", status=answer.status
        ) from error


def _written(address: WebAddress) -> str:
    return f"{address.scheme}://{address.authority}{address.target}"
