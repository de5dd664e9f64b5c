"""The outbound HTTP that requests can ask for: one guarded GET. (`origins.py` asks what the operator named.)

Connections come from `dialling.py`, so only checked addresses are dialled. There are no proxies, cookies,
netrc files or compressed bodies here, since nothing below knows of them: h11 reads and writes HTTP on a
connection that this file opened. Off unless asked for. Used by the server, and meant for collecting pictures.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from typing import IO, Literal, NoReturn, get_args

import h11

from clipworks.addresses import WebAddress, parse_address
from clipworks.dialling import Dial, Resolve, SystemNames, dial_address, find_addresses, open_stream
from clipworks.errors import ConfigError, NetError

FetchMode = Literal["off", "allowlist", "public"]

USER_AGENT = "clipworks/0.1 (+fetches single pictures on behalf of its users)"

UNFETCHED = "The address cannot be fetched: it is not allowed, or does not give what is wanted in time."
"""One text for what is blocked and what does not answer: else it would tell which ports are open."""

_Events = AsyncGenerator[h11.Response | h11.Data, None]
_Read = Callable[[_Events], Awaitable[bytes]]

_REDIRECTS = (301, 302, 303, 307, 308)
_HEADER_BYTES = 32 << 10
_PIECE_BYTES = 64 << 10
_HEAD_BYTES = 64

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchRules:
    """What may be fetched, and how much of it."""

    mode: FetchMode = "off"
    """`allowlist` fetches from `hosts` only, `public` from every public address."""
    hosts: tuple[str, ...] = ()
    """Names for `allowlist`; `*.example.org` stands for every name below example.org."""
    ports: tuple[int, ...] = (80, 443)
    max_bytes: int = 20 << 20
    """Largest body, bytes."""
    max_redirects: int = 3
    connect_seconds: float = 3.0
    """Resolving, connecting and the TLS handshake of one hop."""
    read_seconds: float = 5.0
    """Longest pause of a server that answers."""
    total_seconds: float = 15.0
    """Everything, waiting for a place included."""
    max_fetches: int = 32
    """Fetches at the same time."""
    max_fetches_per_caller: int = 8
    """Fetches at the same time on behalf of one caller."""

    def __post_init__(self) -> None:
        if self.mode not in get_args(FetchMode):
            raise ConfigError(f"mode is {self.mode!r}; it must be one of {', '.join(get_args(FetchMode))}.")
        if self.mode == "allowlist" and not self.hosts:
            raise ConfigError("mode is 'allowlist' and no host is listed.", "List some, or choose 'off'.")
        for host in self.hosts:
            name = host.removeprefix("*.").lower()
            try:
                is_name = parse_address(f"http://{name}/").authority == name
            except NetError as error:
                raise ConfigError(f"hosts holds {host!r}: {error.message}") from error
            if not is_name:
                raise ConfigError(f"hosts holds {host!r}; it must be a name without port and path.")
        if not self.ports or not all(1 <= port <= 65535 for port in self.ports):
            raise ConfigError(f"ports is {self.ports}; each must be from 1 to 65535.")
        least = min(self.connect_seconds, self.read_seconds, self.total_seconds)
        if least <= 0 or min(self.max_bytes, self.max_fetches, self.max_fetches_per_caller) < 1:
            raise ConfigError("Every limit of time, bytes and fetches must be above 0.")
        if self.max_redirects < 0:
            raise ConfigError(f"max_redirects is {self.max_redirects}; it must not be below 0.")

    def allows(self, address: WebAddress) -> bool:
        """Whether the rules let this host and port be asked; its IP addresses are checked later."""
        if self.mode == "off" or address.port not in self.ports:
            return False
        return self.mode == "public" or any(_names(entry.lower(), address.host) for entry in self.hosts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """What an address gave."""

    data: bytes
    url: str
    """Where it came from after all redirects."""
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""


class Fetcher:
    """Fetches by one set of rules. All methods run in one event loop, after `close` also in another one.

    Args:
        rules: what may be fetched.
        resolve: names to addresses; the system's resolver in threads of our own if None.
        dial: opens connections to checked addresses; tests lead them to servers of their own.
        tls: how certificates are checked; the system's authorities if None.
    """

    def __init__(
        self,
        rules: FetchRules,
        *,
        resolve: Resolve | None = None,
        dial: Dial | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.rules = rules
        self._system = SystemNames(min(8, rules.max_fetches))
        self._resolve = resolve or self._system.resolve
        self._dial = dial or dial_address
        self._tls = tls
        self._places = asyncio.Semaphore(rules.max_fetches)
        self._callers: dict[str, tuple[asyncio.Semaphore, list[None]]] = {}

    def close(self) -> None:
        """Give the resolver's threads back once no fetch is in work; the next fetch takes new ones."""
        self._system.close()
        self._places = asyncio.Semaphore(self.rules.max_fetches)

    async def fetch(
        self,
        url: str,
        *,
        caller: str = "",
        is_wanted: Callable[[bytes], bool] | None = None,
        max_bytes: int | None = None,
    ) -> Fetched:
        """GET an address; only a whole answer with status 200 counts.

        Args:
            url: http or https.
            caller: on whose behalf; one caller cannot take all places.
            is_wanted: given the first 64 bytes; where it says no, the rest is not read.
            max_bytes: a limit below the one of the rules.

        Raises:
            NetError: it was not fetched; `reason` says why.
        """
        limit = min(max_bytes or self.rules.max_bytes, self.rules.max_bytes)
        return await self._fetch(url, caller, partial(_read, limit_bytes=limit, is_wanted=is_wanted), limit)

    async def download(self, url: str, file: IO[bytes], *, caller: str = "", start: int = 0) -> Fetched:
        """GET an address into a file, piece by piece; `data` of what is returned is empty.

        The file is written by the event loop's own thread: give the download a loop of its own. With
        `start`, only what follows after so many bytes is asked for.

        Raises:
            NetError: it was not fetched (status 200: not from `start`); the file is then not whole.
            OSError: the file cannot be written.
        """
        limit = self.rules.max_bytes - start
        return await self._fetch(url, caller, partial(_store, limit_bytes=limit, file=file), limit, start)

    async def _fetch(self, url: str, caller: str, read: _Read, limit_bytes: int, start: int = 0) -> Fetched:
        address = parse_address(url)
        if self.rules.mode == "off":
            raise NetError("Fetching addresses is switched off.", reason="off")
        try:
            async with asyncio.timeout(self.rules.total_seconds), self._place(caller):
                return await self._follow(address, read, limit_bytes, start)
        except NetError as error:
            logger.info("fetch from %s: %s", address.host, error.reason)
            raise
        except TimeoutError as error:
            logger.info("fetch from %s: timeout", address.host)
            raise NetError(UNFETCHED, reason="timeout") from error
        except _Unwritable as error:
            assert isinstance(error.__cause__, OSError)
            raise error.__cause__ from None
        except (OSError, UnicodeError, h11.RemoteProtocolError) as error:
            reason = "damaged" if isinstance(error, h11.RemoteProtocolError) else "unreachable"
            logger.info("fetch from %s: %s", address.host, reason)
            raise NetError(UNFETCHED, reason=reason) from error

    @asynccontextmanager
    async def _place(self, caller: str) -> AsyncIterator[None]:
        places, users = self._callers.setdefault(
            caller, (asyncio.Semaphore(self.rules.max_fetches_per_caller), [])
        )
        users.append(None)
        try:
            async with places, self._places:
                yield
        finally:
            users.pop()
            if not users:
                self._callers.pop(caller, None)

    async def _follow(self, address: WebAddress, read: _Read, limit_bytes: int, start: int) -> Fetched:
        for _ in range(self.rules.max_redirects + 1):
            async with aclosing(self._get(address, start)) as events:
                response = await anext(events)
                assert isinstance(response, h11.Response)
                headers = tuple((n.decode("latin-1"), v.decode("latin-1")) for n, v in response.headers)
                if response.status_code in _REDIRECTS:
                    address = _redirected(address, headers)
                    continue
                _check_response(response.status_code, dict(headers), limit_bytes, start)
                data = await read(events)
            url = f"{address.scheme}://{address.authority}{address.target}"
            return Fetched(data=data, url=url, headers=headers)
        raise NetError(UNFETCHED, reason="redirect")

    async def _get(self, address: WebAddress, start: int) -> AsyncGenerator[h11.Response | h11.Data, None]:
        """The head of the answer, then pieces of its body. The connection serves one request."""
        async with asyncio.timeout(self.rules.connect_seconds):
            reader, writer = await self._connect(address)
        with closing(writer.transport):
            talk = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEADER_BYTES)
            request = h11.Request(
                method="GET",
                target=address.target,
                headers=[
                    ("Host", address.authority),
                    ("User-Agent", USER_AGENT),
                    ("Accept", "*/*"),
                    ("Accept-Encoding", "identity"),
                    ("Connection", "close"),
                    *([("Range", f"bytes={start}-")] if start else ()),
                ],
            )
            writer.write((talk.send(request) or b"") + (talk.send(h11.EndOfMessage()) or b""))
            try:
                while True:
                    event = talk.next_event()
                    if event is h11.NEED_DATA:
                        async with asyncio.timeout(self.rules.read_seconds):
                            talk.receive_data(await reader.read(_PIECE_BYTES))
                    elif isinstance(event, h11.Response | h11.Data):
                        yield event
                    elif not isinstance(event, h11.InformationalResponse):
                        return
            finally:
                writer.transport.abort()

    async def _connect(self, address: WebAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to an address that was checked a moment ago, and to no other."""
        if not self.rules.allows(address):
            raise NetError(UNFETCHED, reason="blocked")
        try:
            answers = await find_addresses(address.host, address.port, self._resolve)
        except NetError as error:
            reason = "blocked" if error.reason == "blocked" else "unreachable"
            raise NetError(UNFETCHED, reason=reason) from error
        tls = self._secure() if address.scheme == "https" else None
        return await open_stream(answers, address.port, self._dial, tls=tls, server_name=address.host)

    def _secure(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


class _Unwritable(Exception):
    """The file of a download cannot be written, which is no fault of the network."""


def _names(entry: str, host: str) -> bool:
    return host.endswith(entry[1:]) if entry.startswith("*.") else host == entry


def _redirected(address: WebAddress, headers: tuple[tuple[str, str], ...]) -> WebAddress:
    location = dict(headers).get("location")
    if location is None:
        raise NetError(UNFETCHED, reason="redirect")
    try:
        text = location.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        text = location
    try:
        target = address.join(text)
    except NetError as error:
        raise NetError(UNFETCHED, reason="redirect") from error
    if address.scheme == "https" and target.scheme == "http":
        raise NetError(UNFETCHED, reason="redirect")
    return target


def _check_response(status: int, headers: dict[str, str], limit_bytes: int, start: int) -> None:
    is_rest = status == 206 and headers.get("content-range", "").startswith(f"bytes {start}-")
    if not (is_rest if start else status == 200):
        raise NetError(UNFETCHED, reason="status", status=status)
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise NetError(UNFETCHED, reason="unwanted")
    # h11 has checked that it is a number; what is counted below is what counts.
    if int(headers.get("content-length", 0)) > limit_bytes:
        _refuse_size(limit_bytes)


async def _read(
    events: _Events,
    *,
    limit_bytes: int,
    is_wanted: Callable[[bytes], bool] | None,
) -> bytes:
    data = bytearray()
    is_known = is_wanted is None
    async for event in events:
        assert isinstance(event, h11.Data)
        data += event.data
        if len(data) > limit_bytes:
            _refuse_size(limit_bytes)
        if not is_known and len(data) >= _HEAD_BYTES:
            _check_head(data, is_wanted)
            is_known = True
    if not is_known:
        _check_head(data, is_wanted)
    return bytes(data)


async def _store(events: _Events, *, limit_bytes: int, file: IO[bytes]) -> bytes:
    size = 0
    async for event in events:
        assert isinstance(event, h11.Data)
        size += len(event.data)
        if size > limit_bytes:
            _refuse_size(limit_bytes)
        try:
            file.write(event.data)
        except OSError as error:
            raise _Unwritable from error
    return b""


def _check_head(data: bytearray, is_wanted: Callable[[bytes], bool] | None) -> None:
    if is_wanted is not None and not is_wanted(bytes(data[:_HEAD_BYTES])):
        raise NetError(UNFETCHED, reason="unwanted")


def _refuse_size(limit_bytes: int) -> NoReturn:
    raise NetError(f"What the address gives is larger than {limit_bytes:,} bytes.", reason="too_large")
