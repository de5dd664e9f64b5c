"""The door to the web for collecting: one guarded request at a time, thousands at once. The owner of aiohttp.

The guards are those of `net.py`: addresses taken apart by one parser, names resolved once and every
answer checked, only a checked address dialled, no proxies, cookies, netrc files or unpacking of bodies,
a cap of bytes, a deadline for everything. Redirects are not followed here: who asks for pictures must
ask the next host's consent first. Beside `net.py` because a crawl needs kept connections, a cache of
names and answers other than 200; on loopback a request costs 0.38 ms of CPU here and 0.60 ms there.
"""

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from clipworks.addresses import WebAddress, is_public
from clipworks.errors import ConfigError, NetError
from clipworks.names import Names

Route = Callable[[str, int], tuple[str, int]]
"""A checked IP address and a port -> where the connection goes; tests lead it to servers of their own."""

USER_AGENT = "clipworks/0.1 (collects pictures for training; obeys robots.txt as clipworks)"

MAX_DIALLED = 4
REDIRECTS = (301, 302, 303, 307, 308)
_HEAD_BYTES = 64
_REASONS: tuple[tuple[type[BaseException], str, str], ...] = (
    (aiohttp.ClientSSLError, "tls", "The certificate or the encryption of the host is wrong."),
    (aiohttp.ConnectionTimeoutError, "unreachable", "The host does not take connections."),
    (aiohttp.ServerTimeoutError, "timeout", "The host did not answer in time."),
    (TimeoutError, "timeout", "The host did not answer in time."),
    (aiohttp.ClientPayloadError, "damaged", "The answer ends early or is no HTTP."),
    (aiohttp.ClientResponseError, "damaged", "The answer ends early or is no HTTP."),
    (aiohttp.ServerDisconnectedError, "damaged", "The host closed the connection without an answer."),
    (aiohttp.ClientConnectionError, "unreachable", "The host cannot be reached."),
    (OSError, "unreachable", "The host cannot be reached."),
    (aiohttp.ClientError, "damaged", "The answer ends early or is no HTTP."),
    (ValueError, "damaged", "The answer ends early or is no HTTP."),
)


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a host said to one request."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in the order sent; a name may stand several times."""
    data: bytes
    """The body where it was wanted, else empty."""
    is_cut: bool = False
    """Whether the body was longer than what was asked for."""

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for key, value in self.headers if key == name), None)


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
        self.held_bytes = 0
        """Of bodies that are being read or that somebody has not let go yet."""
        connector = aiohttp.TCPConnector(
            resolver=_Checked(names, route),
            use_dns_cache=False,
            limit=0,
            keepalive_timeout=5,
            ssl=tls or ssl.create_default_context(),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=rules.connect_seconds, sock_read=rules.read_seconds
            ),
            headers={"User-Agent": rules.user_agent, "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        """Close the connections; nothing can be asked afterwards."""
        await self._session.close()
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
        await self._check(address)
        url = URL(f"{address.scheme}://{address.authority}{address.target}", encoded=True)
        if (url.raw_host or "").strip("[]") != address.host or url.port != address.port:
            raise NetError("The address can be read in two ways.", reason="malformed")
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                answer = Answer(status=response.status, headers=_pairs(response), data=b"")
                if answer.status == 200 if is_wanted is None else is_wanted(answer):
                    answer = await self._read(answer, response.content, begins_well, cut_bytes)
                if not keep or answer.is_cut or not response.content.at_eof():
                    response.close()
                return answer
        except NetError:
            raise
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            reason, words = next((r, w) for kind, r, w in _REASONS if isinstance(error, kind))
            raise NetError(words, reason=reason) from error

    def let_go(self, num_bytes: int) -> None:
        """Say that a body is no longer held."""
        self.held_bytes -= num_bytes

    async def _check(self, address: WebAddress) -> None:
        """Refuse what may not be asked, and what cannot be, before a connection is tried."""
        if self.rules.ports and address.port not in self.rules.ports:
            raise NetError(f"The port {address.port} is not asked.", reason="blocked")
        try:
            literal = str(ip_address(address.host))
        except ValueError:
            await self._names.addresses(address.host, address.port)
        else:
            if not is_public(literal):
                raise NetError("The host is not on the public internet.", reason="blocked")

    async def _read(
        self,
        answer: Answer,
        content: aiohttp.StreamReader,
        begins_well: Callable[[bytes], bool] | None,
        cut_bytes: int | None,
    ) -> Answer:
        if (answer.header("content-encoding") or "identity").strip().lower() != "identity":
            raise NetError("The body is packed, which was not asked for.", reason="unwanted")
        limit = self.rules.max_bytes if cut_bytes is None else cut_bytes
        said = answer.header("content-length") or "0"
        if cut_bytes is None and said.isdecimal() and int(said) > limit:
            raise _too_large(limit)
        data = bytearray()
        is_whole = False
        try:
            async for piece in content.iter_any():
                data += piece
                self.held_bytes += len(piece)
                if len(data) > limit:
                    if cut_bytes is None:
                        raise _too_large(limit)
                    break
                if self.held_bytes > self.rules.max_bytes_in_flight and len(data) > 1 << 20:
                    raise NetError("Too many large bodies at the same time.", reason="busy")
                if begins_well is not None and len(data) >= _HEAD_BYTES:
                    _check_head(data, begins_well)
                    begins_well = None
            if begins_well is not None:
                _check_head(data, begins_well)
            is_whole = True
        finally:
            if not is_whole:
                self.held_bytes -= len(data)
        self.held_bytes -= max(0, len(data) - limit)
        return Answer(
            status=answer.status,
            headers=answer.headers,
            data=bytes(data[:limit]),
            is_cut=len(data) > limit,
        )


class _Checked(AbstractResolver):
    """Gives aiohttp the addresses that may be dialled, and no others."""

    def __init__(self, names: Names, route: Route | None) -> None:
        self._names = names
        self._route = route or (lambda address, port: (address, port))

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The checked addresses of a name."""
        results = list[ResolveResult]()
        for answer in (await self._names.addresses(host, port))[:MAX_DIALLED]:
            address, where = self._route(answer, port)
            results.append(
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=where,
                    family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                    proto=0,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        return results

    async def close(self) -> None:
        """Nothing of its own."""


def _pairs(response: aiohttp.ClientResponse) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in response.headers.items())


def _check_head(data: bytearray, begins_well: Callable[[bytes], bool]) -> None:
    if not begins_well(bytes(data[:_HEAD_BYTES])):
        raise NetError("The body does not begin like a picture.", reason="unwanted")


def _too_large(limit_bytes: int) -> NetError:
    return NetError(f"The body is larger than {limit_bytes:,} bytes.", reason="too_large")
