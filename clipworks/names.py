"""Host names and their addresses: asked of c-ares, kept for a while, the failures too. The owner of aiodns.

A collection asks for the same hosts over and over and a tenth of them no longer exist; the system's
resolver would take a thread for each question. Every answer is judged when it arrives (`dialling.py`).
"""

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import aiodns

from clipworks.dialling import Resolve, find_addresses
from clipworks.errors import NetError

MAX_NAMES = 8192
"""Names kept; the one that was not needed for longest goes first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    answers: tuple[str, ...]
    """Empty where the name is of no use."""
    until: float
    why: str
    reason: str


class Names:
    """The addresses of hosts, each asked once while it is known. All methods run in one event loop.

    Args:
        resolve: who is asked; c-ares with the system's name servers if None.
        seconds: how long an answer is believed.
        failure_seconds: how long it is believed that a name does not exist.
        timeout_seconds: for one question to one name server; two tries are made.
    """

    def __init__(
        self,
        resolve: Resolve | None = None,
        *,
        seconds: float = 600,
        failure_seconds: float = 300,
        timeout_seconds: float = 3,
    ) -> None:
        self._resolve = resolve or self._ask_cares
        self._seconds = seconds
        self._failure_seconds = failure_seconds
        self._timeout_seconds = timeout_seconds
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asked: dict[str, asyncio.Task[_Known]] = {}
        self._cares: aiodns.DNSResolver | None = None

    async def close(self) -> None:
        """Give the sockets of the resolver back."""
        for task in list(self._asked.values()):
            task.cancel()
        if self._cares is not None:
            await self._cares.close()

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """The IP addresses of a name, at least one, all of the public internet.

        Raises:
            NetError: `dns`: there is no such name, or nobody answers for it; `blocked`: it leads elsewhere.
        """
        known = self._known.get(host)
        if known is not None and known.until > time.monotonic():
            self._known.move_to_end(host)
        else:
            task = self._asked.get(host)
            if task is None:
                task = asyncio.ensure_future(self._ask(host, port))
                self._asked[host] = task
                task.add_done_callback(lambda _: self._asked.pop(host, None))
            # Who waits may be cancelled by a deadline of its own; the others still want the answer.
            known = await asyncio.shield(task)
        if known.reason:
            raise NetError(known.why, reason=known.reason)
        return known.answers

    async def _ask(self, host: str, port: int) -> _Known:
        answers: tuple[str, ...] = ()
        why = reason = ""
        try:
            answers = await find_addresses(host, port, self._resolve)
        except NetError as error:
            why, reason = error.message, error.reason
        except (OSError, UnicodeError):
            why, reason = "The host name has no address.", "dns"
        seconds = self._failure_seconds if reason == "dns" else self._seconds
        known = _Known(answers=answers, until=time.monotonic() + seconds, why=why, reason=reason)
        self._known[host] = known
        self._known.move_to_end(host)
        while len(self._known) > MAX_NAMES:
            self._known.popitem(last=False)
        return known

    async def _ask_cares(self, host: str, port: int) -> Sequence[str]:
        if self._cares is None:
            self._cares = aiodns.DNSResolver(timeout=self._timeout_seconds, tries=2)
        try:
            found = await self._cares.getaddrinfo(host, port=port, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError as error:
            raise OSError(*error.args) from error
        rows = [node.addr[0] for node in found.nodes]
        return [row.decode("ascii") if isinstance(row, bytes) else str(row) for row in rows]
