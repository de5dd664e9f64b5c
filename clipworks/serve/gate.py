"""Who is let in, and what a request costs: what the server asks of a gate, and the gate that asks nobody.

The gate of a server that asks for keys is in `key_gate.py`.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from starlette.requests import Request
from starlette.responses import Response

if TYPE_CHECKING:
    from clipworks.serve.inputs import Payload


class Charge(Protocol):
    """Money set aside for one request."""

    cost_micro_usd: int
    """What the request costs if it is answered, millionths of a US dollar."""

    def reduce(self, *, images: int, texts: int) -> None:
        """Only so many of the items could be used; the others cost nothing."""

    async def settle(self, response: Response) -> Response:
        """Take the money: this is the answer, or that which an equal request got, if there was one."""

    async def release(self) -> None:
        """Give it back: there is no answer. Also what was taken already."""


class Caller(Protocol):
    """Who sends a request: a key and its account, or anybody on a server without keys."""

    @property
    def name(self) -> str:
        """What fair shares and spans know it by: the id of its key, or nothing."""

    async def earlier(self, payload: "Payload") -> Response | None:
        """The answer to an equal request that the client sent before and named by the same `Idempotency-Key`.

        Raises:
            ClipworksError: the name stands for another request, or for one in work.
        """

    async def charge(self, *, model: str, images: int, texts: int) -> Charge:
        """Set money aside before the work.

        Args:
            model: id of the model that does the work.
            images: pictures that it reads.
            texts: texts that it reads, prompts of labels included.

        Raises:
            ClipworksError: the model is not open to this caller, or credit or a limit is used up.
        """

    def headers(self) -> dict[str, str]:
        """What every answer to this request says of limits, credit and cost."""


class Gate(Protocol):
    """Who is let in."""

    async def admit(self, request: Request, scope: str) -> Caller:
        """The sender of a request, known before its body is read.

        Args:
            scope: what the route is for: `inference`, `usage` or `admin`.

        Raises:
            ClipworksError: no key, an unknown one, or one without this scope.
        """

    async def is_ready(self) -> bool:
        """Whether it can tell who is let in."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """The time in which it is asked."""


class Anybody:
    """The caller of a server without keys: everything is free."""

    name = ""

    async def earlier(self, payload: "Payload") -> Response | None:
        """Nothing is remembered."""
        return None

    async def charge(self, *, model: str, images: int, texts: int) -> Charge:
        """Nothing is set aside."""
        return _Nothing()

    def headers(self) -> dict[str, str]:
        """Nothing to say."""
        return {}


class OpenGate:
    """The gate of a server without keys."""

    async def admit(self, request: Request, scope: str) -> Caller:
        """Everybody may do everything but administer."""
        return Anybody()

    async def is_ready(self) -> bool:
        """Always."""
        return True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Nothing to open."""
        yield


class _Nothing:
    cost_micro_usd = 0

    def reduce(self, *, images: int, texts: int) -> None:
        """Nothing costs nothing."""

    async def settle(self, response: Response) -> Response:
        """Nothing to take."""
        return response

    async def release(self) -> None:
        """Nothing to give back."""
