"""The door to the web for collecting: one guarded request at a time, thousands at once.

Addresses are taken apart by one parser and names are resolved by `names.py`; connections come from
`dialling.py`, so only checked addresses are dialled, and `exchange.py` speaks HTTP on them with a cap of
bytes and of pauses. There are no proxies, cookies, netrc files or unpacking of bodies. Redirects are not
followed here: who asks for pictures must ask the next host's consent first. Beside `net.py` because a
crawl needs kept connections, a cache of names and answers other than 200.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from clipworks.addresses import WebAddress
from clipworks.dialling import dial_address, dial_first
from clipworks.errors import ConfigError, NetError
from clipworks.exchange import Answer, Exchange, GoneError, Order, Room
from clipworks.names import Names

Route = Callable[[str, int], tuple[str, int]]
"""A checked IP address and a port -> where the connection goes; tests lead it to servers of their own."""

USER_AGENT = "clipworks/0.1 (collects pictures for training; obeys robots.txt as clipworks)"

REDIRECTS = (301, 302, 303, 307, 308)

_Site = tuple[str, str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class CrawlRules:
    """How much may be asked, and how long it may take."""

    user_agent: str = USER_AGENT
    ports: tuple[int, ...] = (80, 443, 8080, 8443)
    """Ports that are dialled; none listed means all."""
    max_bytes: int = 16 << 20
    """Largest body, bytes."""
    max_bytes_in_flight: int = 256 << 20
    """Bodies held at the same time, bytes; what would exceed it is given up as `busy`."""
    connect_seconds: float = 5.0
    """Connecting to one address."""
    read_seconds: float = 10.0
    """Longest pause of a host that answers."""

    def __post_init__(self) -> None:
        if not self.user_agent.isascii() or not self.user_agent.isprintable() or not self.user_agent:
            raise ConfigError(f"user_agent is {self.user_agent!r}; it must be printable ASCII.")
        least = min(self.connect_seconds, self.read_seconds, self.max_bytes, self.max_bytes_in_flight)
        if least <= 0 or not all(1 <= port <= 65535 for port in self.ports):
            raise ConfigError("Every limit of time and bytes must be above 0, and ports from 1 to 65535.")


class Crawler:
    """Asks the web by one set of rules. All methods run in the event loop it is made in.

    Args:
        rules: what may be asked.
        names: addresses of hosts.
        route: where connections really go; to the checked address if None.
        tls: how certificates are checked; the system's authorities if None.
    """

    def __init__(
        self,
        rules: CrawlRules,
        names: Names,
        *,
        route: Route | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.rules = rules
        self._names = names
        self._route = route or (lambda address, port: (address, port))
        self._tls = tls
        self._room = Room(rules.max_bytes_in_flight)
        self._kept: dict[_Site, list[Exchange]] = {}

    @property
    def held_bytes(self) -> int:
        """Of bodies that are being read or that somebody has not let go yet."""
        return self._room.held_bytes

    async def close(self) -> None:
        """Close the connections; nothing can be asked afterwards."""
        for links in list(self._kept.values()):
            for link in list(links):
                link.close()
        await self._names.close()

    async def ask(
        self,
        address: WebAddress,
        *,
        is_wanted: Callable[[Answer], bool] | None = None,
        begins_well: Callable[[bytes], bool] | None = None,
        cut_bytes: int | None = None,
        keep: bool = False,
    ) -> Answer:
        """GET an address, without following anything. The deadline is the caller's (`asyncio.timeout`).

        Args:
            address: from `parse_address`.
            is_wanted: given the head of the answer; where it says no, the body is not read. By default
                bodies of status 200 are.
            begins_well: given the first 64 bytes; where it says no, the rest is not read.
            cut_bytes: read that much and no more, instead of refusing what is larger.
            keep: keep the connection for the next request to this host.

        Raises:
            NetError: there was no answer; `reason` is `blocked`, `dns`, `unreachable`, `timeout`, `tls`,
                `damaged`, `too_large`, `unwanted` or `busy`.
        """
        if self.rules.ports and address.port not in self.rules.ports:
            raise NetError(f"The port {address.port} is not asked.", reason="blocked")
        order = Order(
            limit_bytes=self.rules.max_bytes if cut_bytes is None else cut_bytes,
            is_cut=cut_bytes is not None,
            is_wanted=is_wanted,
            begins_well=begins_well,
            keep=keep,
        )
        request = self._request(address, keep)
        link = self._take(address)
        if link is not None:
            try:
                return await link.ask(request, order)
            except GoneError:
                pass  # it had been closed for being unused; the question was not read
        link = await self._connect(address)
        try:
            return await link.ask(request, order)
        except GoneError as error:
            words = "The host closed the connection without an answer."
            raise NetError(words, reason="damaged") from error

    def let_go(self, num_bytes: int) -> None:
        """Say that a body is no longer held."""
        self._room.held_bytes -= num_bytes

    def _request(self, address: WebAddress, keep: bool) -> bytes:
        lines = (
            f"GET {address.target} HTTP/1.1",
            f"Host: {address.authority}",
            f"User-Agent: {self.rules.user_agent}",
            "Accept: */*",
            "Accept-Encoding: identity",
            *(() if keep else ("Connection: close",)),
        )
        return "\r\n".join((*lines, "", "")).encode("ascii")

    def _take(self, address: WebAddress) -> Exchange | None:
        """A kept connection: its address was checked when it was dialled."""
        site = _site(address)
        links = self._kept.get(site)
        while links:
            link = links.pop()
            if not links:
                del self._kept[site]
            if link.is_usable:
                return link
            link.close()
        return None

    async def _connect(self, address: WebAddress) -> Exchange:
        answers = await self._names.addresses(address.host, address.port)
        # An address of the newer kind may lead nowhere for long; almost all hosts have one of the older.
        answers = sorted(answers, key=lambda answer: ":" in answer)
        try:
            connection = await dial_first(answers, address.port, self._dial)
        except OSError as error:
            words = "takes no connections" if isinstance(error, TimeoutError) else "cannot be reached"
            raise NetError(f"The host {words}.", reason="unreachable") from error
        try:
            return await self._speak(connection, address)
        except BaseException:
            connection.close()
            raise

    async def _dial(self, answer: str, port: int) -> socket.socket:
        async with asyncio.timeout(self.rules.connect_seconds):
            return await dial_address(*self._route(answer, port))

    async def _speak(self, connection: socket.socket, address: WebAddress) -> Exchange:
        changed = partial(self._note, _site(address))
        is_safe = address.scheme == "https"
        try:
            return (
                await asyncio.get_running_loop().create_connection(
                    lambda: Exchange(self._room, self.rules.read_seconds, changed),
                    sock=connection,
                    ssl=self._secure() if is_safe else None,
                    server_hostname=address.host if is_safe else None,
                    ssl_handshake_timeout=self.rules.connect_seconds if is_safe else None,
                )
            )[1]
        except ssl.SSLError as error:
            words = "The certificate or the encryption of the host is wrong."
            raise NetError(words, reason="tls") from error
        except OSError as error:
            raise NetError("The host cannot be reached.", reason="unreachable") from error

    def _note(self, site: _Site, link: Exchange) -> None:
        """Keep a connection that can be used again, and forget one that cannot."""
        if link.is_usable:
            self._kept.setdefault(site, []).append(link)
        elif link in (links := self._kept.get(site, [])):
            links.remove(link)
            if not links:
                del self._kept[site]

    def _secure(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


def _site(address: WebAddress) -> _Site:
    return address.scheme, address.host, address.port
