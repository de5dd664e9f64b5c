"""From a host's name to an open connection: the way out for all that asks the web. No HTTP.

A name is resolved once, every answer is judged, one that is not public spoils them all, and a judged
address itself is dialled; the name goes only into the TLS handshake. `net.py`, `origins.py` and
`crawler.py` reach the network through this file and through nothing else.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address

from clipworks.addresses import is_public
from clipworks.errors import NetError

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host name and port -> its IP addresses in text. Raises OSError where there are none."""

Dial = Callable[[str, int], Awaitable[socket.socket]]
"""A checked IP address and a port -> a connected, non-blocking socket. Raises OSError."""

MAX_ANSWERS = 32
"""A public name with more addresses than that is refused."""
MAX_DIALLED = 4
"""Addresses of one name that are tried."""


async def find_addresses(
    host: str, port: int, resolve: Resolve, *, is_private: bool = False
) -> tuple[str, ...]:
    """The IP addresses behind a host, at least one, each once; what comes back may be dialled.

    Args:
        host: a name, or an IP address in text, which is judged as the answers of a resolver are.
        port: handed to the resolver.
        resolve: who is asked, once.
        is_private: the operator named this host himself: any address will do.

    Raises:
        NetError: `dns`: there is no address; `blocked`: one of them is not on the public internet.
        OSError, UnicodeError: of the resolver.
    """
    try:
        answers: tuple[str, ...] = (str(ip_address(host)),)
    except ValueError:
        answers = tuple(dict.fromkeys(await resolve(host, port)))
    if not answers:
        raise NetError("The host name has no address.", reason="dns")
    if not is_private and (len(answers) > MAX_ANSWERS or not all(map(is_public, answers))):
        raise NetError("The host is not on the public internet.", reason="blocked")
    return answers


async def dial_first(answers: Sequence[str], port: int, dial: Dial) -> socket.socket:
    """A connection to the first address that takes one.

    Args:
        answers: from `find_addresses`.
        port: 1..65535.
        dial: such as `dial_address`.

    Raises:
        OSError: none of them does.
    """
    failure = OSError("no address")
    for answer in answers[:MAX_DIALLED]:
        try:
            return await dial(answer, port)
        except OSError as error:
            failure = error
    try:
        raise failure
    finally:
        del failure  # an error holds this frame; were it held here, both would wait for the garbage collector


async def open_stream(
    answers: Sequence[str], port: int, dial: Dial, *, tls: ssl.SSLContext | None, server_name: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As `dial_first`, with the TLS handshake where `tls` is given, as streams.

    Raises:
        OSError: there is no connection, or the certificate is not that of `server_name`.
    """
    connection = await dial_first(answers, port, dial)
    try:
        return await asyncio.open_connection(
            sock=connection, ssl=tls, server_hostname=server_name if tls else None
        )
    except BaseException:
        connection.close()
        raise


async def dial_address(address: str, port: int) -> socket.socket:
    """A connection to an IP address that was checked, and to nothing else.

    Raises:
        OSError: there is none.
    """
    is_v6 = ":" in address
    connection = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # An IP address in text is not looked up again; were it, the peer would tell.
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
        reached = connection.getpeername()[0]
        if reached != address and ip_address(reached) != ip_address(address):
            raise OSError(f"dialled {address} and reached {reached}")
    except BaseException:
        connection.close()
        raise
    return connection


class SystemNames:
    """The system's resolver in threads of our own: one that hangs must not take those of other work.

    Args:
        threads: questions at the same time.
    """

    def __init__(self, threads: int) -> None:
        self._num_threads = threads
        self._threads: ThreadPoolExecutor | None = None

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """The IP addresses of a name. Raises OSError where there are none."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._num_threads, thread_name_prefix="resolver")
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        rows = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return [str(row[4][0]) for row in rows]

    def close(self) -> None:
        """Give the threads back; the next question takes new ones."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        self._threads = None
