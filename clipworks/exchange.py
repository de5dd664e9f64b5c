"""One HTTP/1.1 connection of a crawl: asks, and reads what is wanted of answers. The owner of httptools.

What to do with an answer is decided while its bytes arrive and without a task in between, so that an
answer wakes who waits for it once. Limits of size and pauses are kept here; connecting and the deadline
of the whole are the caller's.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import httptools

from clipworks.errors import NetError

HEAD_BYTES = 64 << 10
"""Most that the head of an answer may have."""
DRAINED_BYTES = 64 << 10
"""Of a body that nobody wants, what is read all the same so that the connection can be used again."""
IDLE_SECONDS = 5.0
"""How long an unused connection is kept; servers commonly close theirs after 5 seconds."""
_BEGINNING_BYTES = 64


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What is wanted of an answer."""

    limit_bytes: int
    """Largest body."""
    is_cut: bool = False
    """Whether a larger body is cut there, instead of being refused."""
    is_wanted: Callable[[Answer], bool] | None = None
    """Given the head; where it says no, there is no body. None wants those of status 200."""
    begins_well: Callable[[bytes], bool] | None = None
    """Given the first 64 bytes; where it says no, the rest is not read."""
    keep: bool = False
    """Whether the connection shall serve another request."""


class Room:
    """Bytes of bodies that all connections together hold.

    Args:
        most_bytes: what would exceed it is given up.
    """

    __slots__ = ("held_bytes", "most_bytes")

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0


class GoneError(Exception):
    """The connection was closed by the other side before it said anything."""


class Exchange(asyncio.Protocol):
    """One connection; one request at a time.

    Args:
        room: where the bytes of bodies are counted; those of an answer stay counted.
        read_seconds: longest pause of a host that answers.
        changed: told when the connection can be used again, and when it no longer can.
    """

    __slots__ = (
        *("_answer", "_body", "_changed", "_drained", "_ends_by_closing", "_head_bytes", "_headers", "_last"),
        *("_loop", "_order", "_parser", "_read_seconds", "_received", "_room", "_timer", "_transport"),
        "_waiter",
    )

    def __init__(self, room: Room, read_seconds: float, changed: Callable[["Exchange"], None]) -> None:
        self._room = room
        self._read_seconds = read_seconds
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        parser = httptools.HttpResponseParser(self)
        parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._parser: httptools.HttpResponseParser | None = parser
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last = self._loop.time()
        self._waiter: asyncio.Future[Answer] | None = None
        self._order: Order | None = None
        self._answer: Answer | None = None
        self._headers = list[tuple[str, str]]()
        self._body = bytearray()
        self._begin()

    @property
    def is_usable(self) -> bool:
        """Whether a request can be sent, as far as is known."""
        is_open = self._transport is not None and not self._transport.is_closing()
        return is_open and self._order is None and self._loop.time() - self._last < IDLE_SECONDS

    def close(self) -> None:
        """Let the connection go; who waits for an answer is told that there is none."""
        self._give_up(GoneError())

    async def ask(self, request: bytes, order: Order) -> Answer:
        """Send a request and wait for its answer, as far as it is wanted.

        Args:
            request: head of a GET, with its empty line.
            order: what is wanted.

        Raises:
            NetError: `timeout`, `damaged`, `too_large`, `unwanted` or `busy`.
            GoneError: nothing was said, and the connection is closed.
        """
        if self._transport is None or not self.is_usable:
            raise GoneError
        self._begin()
        waiter: asyncio.Future[Answer] = self._loop.create_future()
        self._waiter = waiter
        self._order = order
        self._last = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(min(self._read_seconds, IDLE_SECONDS), self._tick)
        self._transport.write(request)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._room.held_bytes -= len(waiter.result().data)
            self.close()
            raise

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio: the connection is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Of asyncio: bytes have arrived."""
        if self._order is None or self._parser is None:  # nobody asked
            self.close()
            return
        if self._waiter is not None:
            self._last = self._loop.time()
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self._give_up(error.__context__ or error)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._give_up(_damaged())
        if self._answer is None and self._received > HEAD_BYTES:
            self._give_up(_damaged())

    def connection_lost(self, exc: Exception | None) -> None:
        """Of asyncio: the connection is gone."""
        error: BaseException = _damaged() if self._received else GoneError()
        if self._ends_by_closing and exc is None:
            try:
                self._end_body()
            except NetError as wrong:
                error = wrong
        self._give_up(error)
        self._parser = None  # they know each other: else both wait for the collector of garbage

    def on_message_begin(self) -> None:
        """Of httptools: an answer begins."""
        if self._order is None:  # a second one that nobody asked for
            raise _damaged()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Of httptools: a line of the head, or of the trailer of a body in chunks."""
        if self._answer is None:
            self._head_bytes += len(name) + len(value) + 4  # with colon, space and line end
            if self._head_bytes > HEAD_BYTES:
                raise _damaged()
            self._headers.append((name.decode("latin-1").lower(), value.decode(errors="surrogateescape")))

    def on_headers_complete(self) -> None:
        """Of httptools: the head is there."""
        order, parser = self._order, self._parser
        assert order is not None and parser is not None
        status = parser.get_status_code()
        if status < 200:  # the answer is still to come
            self._headers = []
            return
        answer = self._answer = Answer(status=status, headers=tuple(self._headers), data=b"")
        length = answer.header("content-length")
        self._ends_by_closing = length is None and answer.header("transfer-encoding") is None
        if not (status == 200 if order.is_wanted is None else order.is_wanted(answer)):
            self._answer_with(answer)
            if not order.keep:
                self.close()
        elif (answer.header("content-encoding") or "identity").strip().lower() != "identity":
            raise NetError("The body is packed, which was not asked for.", reason="unwanted")
        elif not order.is_cut and length and length.isdecimal() and int(length) > order.limit_bytes:
            raise _too_large(order.limit_bytes)

    def on_body(self, piece: bytes) -> None:
        """Of httptools: a piece of the body."""
        order = self._order
        if order is None:
            return
        if self._waiter is None:
            self._drained += len(piece)
            if self._drained > DRAINED_BYTES:
                self.close()
            return
        self._body += piece
        self._room.held_bytes += len(piece)
        size = len(self._body)
        if size >= _BEGINNING_BYTES > size - len(piece):
            self._check_beginning(order)
        if size > order.limit_bytes:
            if not order.is_cut:
                raise _too_large(order.limit_bytes)
            self._end_body()
            self.close()
        elif self._room.held_bytes > self._room.most_bytes and size > 1 << 20:
            raise NetError("Too many large bodies at the same time.", reason="busy")

    def on_message_complete(self) -> None:
        """Of httptools: the answer is whole, or was one that announces another."""
        order, parser = self._order, self._parser
        if self._answer is None or order is None or parser is None:
            return
        self._end_body()
        self._order = None
        if order.keep and parser.should_keep_alive():
            self._changed(self)
        else:
            self.close()

    def _begin(self) -> None:
        self._answer = None
        self._headers = []
        self._received = 0
        self._head_bytes = 0
        self._drained = 0
        self._ends_by_closing = False
        self._body = bytearray()

    def _check_beginning(self, order: Order) -> None:
        if order.begins_well is not None and not order.begins_well(bytes(self._body[:_BEGINNING_BYTES])):
            raise NetError("The body does not begin like a picture.", reason="unwanted")

    def _end_body(self) -> None:
        answer, order = self._answer, self._order
        if answer is None or order is None or self._waiter is None:
            return
        size = len(self._body)
        if size < _BEGINNING_BYTES:
            self._check_beginning(order)
        data = bytes(self._body[: order.limit_bytes])
        self._room.held_bytes -= size - len(data)
        self._body = bytearray()
        is_cut = size > order.limit_bytes
        self._answer_with(replace(answer, data=data, is_cut=is_cut))

    def _answer_with(self, answer: Answer) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(answer)
        else:
            self._room.held_bytes -= len(answer.data)

    def _give_up(self, error: BaseException) -> None:
        """Close the connection; an answer that is not whole becomes an error."""
        waiter, self._waiter = self._waiter, None
        self._order = None
        self._room.held_bytes -= len(self._body)
        self._body = bytearray()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
            self._changed(self)
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    def _tick(self) -> None:
        """A pause may have been too long; one timer serves all that happens on the connection."""
        most = self._read_seconds if self._waiter is not None else IDLE_SECONDS
        left = self._last + most - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._tick)
        else:
            self._timer = None
            self._give_up(NetError("The host did not answer in time.", reason="timeout"))


def _damaged() -> NetError:
    return NetError("The answer ends early or is no HTTP.", reason="damaged")


def _too_large(limit_bytes: int) -> NetError:
    return NetError(f"The body is larger than {limit_bytes:,} bytes.", reason="too_large")
