"""Kept connections to one server that the operator named: the other outbound HTTP, beside `net.py`.

Where it leads stands in the operator's own files and never in a request, so a private address is dialled
where these files say so, and only there. As in `net.py` there are no proxies, cookies, redirects or
compressed bodies, connections come from `dialling.py`, and bytes are counted while they arrive.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import h11

from clipworks.addresses import parse_address
from clipworks.dialling import Dial, Resolve, SystemNames, dial_address, find_addresses, open_stream
from clipworks.errors import ConfigError, NetError

USER_AGENT = "clipworks/0.1 (+asks a provider of its models)"

_HEADER_BYTES = 32 << 10
_PIECE_BYTES = 64 << 10

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class OriginRules:
    """One server, and how much is asked of it."""

    url: str
    """The address that paths are put behind, such as `https://example.org/v1`."""
    is_private: bool = False
    """Whether it may be an address of a private network or of this machine, and speak plain http."""
    ca_file: str = ""
    """Authorities that its certificate is checked against; the system's where it is empty."""
    connect_seconds: float = 3.0
    """Resolving, connecting and the TLS handshake."""
    idle_seconds: float = 4.0
    """How long an unused connection is kept; servers commonly close theirs after 5 seconds."""
    max_connections: int = 32
    """Questions at the same time."""

    def __post_init__(self) -> None:
        try:
            address = parse_address(self.url)
        except NetError as error:
            raise ConfigError(f"url: {error.message}", error.remedy) from error
        if "?" in address.target:
            raise ConfigError("url has a question mark; paths are put behind it.", "Write https://host/v1.")
        if address.scheme == "http" and not self.is_private:
            raise ConfigError(
                "url is plain http, which anybody on the way can read and change.",
                "Write https://, or private = true for a server of a network of your own.",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    data: bytes


class _GoneError(OSError):
    """A kept connection was closed by the other side before it said anything."""


class _Link:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.talk = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEADER_BYTES)
        self.idle_since = time.monotonic()

    @property
    def is_usable(self) -> bool:
        """Whether the other side has, as far as is known, neither closed it nor spoken unasked."""
        return not (self.reader.at_eof() or self.writer.transport.is_closing())

    def close(self) -> None:
        self.writer.transport.abort()


class Origin:
    """Asks one server. All methods run in one event loop.

    Args:
        rules: where it is.
        resolve: names to addresses; the system's resolver in a thread of our own if None.
        dial: opens connections to checked addresses.

    Raises:
        ConfigError: `ca_file` cannot be read.
    """

    def __init__(
        self, rules: OriginRules, *, resolve: Resolve | None = None, dial: Dial | None = None
    ) -> None:
        self.rules = rules
        self._address = parse_address(rules.url)
        self._system = SystemNames(2)
        self._resolve = resolve or self._system.resolve
        self._dial = dial or dial_address
        self._tls = _secure(rules.ca_file) if self._address.scheme == "https" else None
        self._places = asyncio.Semaphore(rules.max_connections)
        self._kept: deque[_Link] = deque()

    def close(self) -> None:
        """Let the connections go; nothing can be asked afterwards."""
        while self._kept:
            self._kept.pop().close()
        self._system.close()

    async def ask(
        self,
        path: str,
        *,
        body: bytes | None = None,
        kind: str = "application/json",
        headers: Headers = (),
        seconds: float,
        max_bytes: int,
    ) -> Answer:
        """GET a path below the address, or POST to it; any status is an answer.

        Args:
            path: begins with a slash.
            body: what to post; None asks with GET.
            kind: content type of the body.
            headers: more of them, such as the key.
            seconds: everything, waiting for a connection included.
            max_bytes: largest body of an answer.

        Raises:
            NetError: there was no answer; `reason` says why.
        """
        request = self._request(path, body, [("Content-Type", kind), *headers] if body else headers)
        try:
            async with asyncio.timeout(seconds), self._places:
                return await self._ask(request, body or b"", max_bytes)
        except TimeoutError as error:
            raise NetError(f"No answer within {seconds:.3g} seconds.", reason="timeout") from error
        except ssl.SSLCertVerificationError as error:
            why = error.verify_message.rstrip(".")
            raise NetError(
                f"The server's certificate is not trusted: {why}.", reason="unreachable"
            ) from error
        except (OSError, UnicodeError) as error:
            raise NetError("The server cannot be reached.", reason="unreachable") from error
        except h11.ProtocolError as error:
            raise NetError("The server does not speak HTTP as it should.", reason="damaged") from error

    def _request(self, path: str, body: bytes | None, headers: Headers) -> h11.Request:
        more = [("Content-Length", str(len(body)))] if body else []
        return h11.Request(
            method="GET" if body is None else "POST",
            target=self._address.target.rstrip("/") + path,
            headers=[
                ("Host", self._address.authority),
                ("User-Agent", USER_AGENT),
                ("Accept", "application/json"),
                ("Accept-Encoding", "identity"),
                *more,
                *headers,
            ],
        )

    async def _ask(self, request: h11.Request, body: bytes, max_bytes: int) -> Answer:
        link = self._take()
        if link is not None:
            try:
                return await self._talk(link, request, body, max_bytes)
            except _GoneError:
                pass  # it had been closed for being unused; the question was not read
        return await self._talk(await self._connect(), request, body, max_bytes)

    def _take(self) -> _Link | None:
        oldest = time.monotonic() - self.rules.idle_seconds
        while self._kept:
            link = self._kept.pop()
            if link.idle_since > oldest and link.is_usable:
                return link
            link.close()
        return None

    async def _talk(self, link: _Link, request: h11.Request, body: bytes, max_bytes: int) -> Answer:
        is_kept = False
        talk = link.talk
        try:
            link.writer.write(
                b"".join(
                    talk.send(event) or b""
                    for event in (request, *([h11.Data(data=body)] if body else []), h11.EndOfMessage())
                )
            )
            answer = await _read(link, max_bytes)
            if talk.our_state is h11.DONE and talk.their_state is h11.DONE and not talk.trailing_data[0]:
                talk.start_next_cycle()
                link.idle_since = time.monotonic()
                self._kept.append(link)
                is_kept = True
            return answer
        finally:
            if not is_kept:
                link.close()

    async def _connect(self) -> _Link:
        address = self._address
        async with asyncio.timeout(self.rules.connect_seconds):
            try:
                answers = await find_addresses(
                    address.host, address.port, self._resolve, is_private=self.rules.is_private
                )
            except NetError as error:
                raise _refused(error) from error
            return _Link(
                *await open_stream(answers, address.port, self._dial, tls=self._tls, server_name=address.host)
            )


async def _read(link: _Link, max_bytes: int) -> Answer:
    """The answer to what was sent, counted while it arrives."""
    head: dict[str, str] = {}
    status = 0
    data = bytearray()
    num_received = 0
    while True:
        event = link.talk.next_event()
        if event is h11.NEED_DATA:
            num_received += await _receive(link, has_begun=num_received > 0)
        elif isinstance(event, h11.Response):
            status = event.status_code
            head = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
            if head.get("content-encoding", "identity").strip().lower() != "identity":
                raise NetError("The answer is compressed, which was not asked for.", reason="unwanted")
        elif isinstance(event, h11.Data):
            data += event.data
            if len(data) > max_bytes:
                raise NetError(f"The answer is larger than {max_bytes:,} bytes.", reason="too_large")
        elif not isinstance(event, h11.InformationalResponse):
            return Answer(status=status, headers=head, data=bytes(data))


async def _receive(link: _Link, *, has_begun: bool) -> int:
    """Take what has arrived; how many bytes."""
    try:
        piece = await link.reader.read(_PIECE_BYTES)
    except ConnectionError:
        piece = b""
    if not piece and not has_begun:
        raise _GoneError("closed before it answered")
    link.talk.receive_data(piece)
    return len(piece)


def _refused(error: NetError) -> NetError:
    if error.reason == "blocked":
        return NetError(
            "The server has a private address, and private = true is not said of it.", reason="blocked"
        )
    return NetError("The server cannot be reached.", reason="unreachable")


def _secure(ca_file: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca_file {ca_file} cannot be read as certificates: {error}.") from error
    context.set_alpn_protocols(["http/1.1"])
    return context
