"""One request that asks for work: what it says, who sends it, and what it costs.

An answer is a function from a `Call` to a response. It reads the payload, charges for the items that
it is about to work on, and does the work. `app.py` settles the charge when the response is ready and
releases it when there is none, so that what is billed is what was answered.
"""

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from starlette.requests import Request
from starlette.responses import Response

from clipworks.serve.traces import current_trace

if TYPE_CHECKING:
    from clipworks.serve.inputs import Payload
    from clipworks.serve.service import Service


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


class Call:
    """A request in work."""

    def __init__(self, service: "Service", payload: "Payload", caller: Caller, *, request_id: str) -> None:
        self.service = service
        self.payload = payload
        self.request_id = request_id
        self.started_at = time.monotonic()
        """`time.monotonic()` when the body had been read, seconds."""
        self._caller = caller
        self._charges: list[Charge] = []

    async def charge(self, model: str, *, images: int = 0, texts: int = 0) -> float:
        """Charge for items before they are worked on; the cost in US dollars, for `usage`.

        Raises:
            ClipworksError: as `Caller.charge`.
        """
        charge = await self._caller.charge(model=model, images=images, texts=texts)
        self._charges.append(charge)
        current_trace().charged(model, images, texts, charge.cost_micro_usd)
        return charge.cost_micro_usd / 1e6

    async def recharge(self, model: str, *, images: int = 0, texts: int = 0) -> float:
        """Charge for the items that could be used only, in place of all that was charged for.

        What is too much goes back with the answer, so nobody else can spend what this request still needs.
        """
        if images + texts == 0:
            await self.release()
            current_trace().discharged()
            return 0.0
        (charge,) = self._charges
        charge.reduce(images=images, texts=texts)
        current_trace().discharged()
        current_trace().charged(model, images, texts, charge.cost_micro_usd)
        return charge.cost_micro_usd / 1e6

    async def earlier(self) -> Response | None:
        """What the client was told before, where it sends the request again.

        Raises:
            ClipworksError: as `Caller.earlier`.
        """
        return await self._caller.earlier(self.payload)

    async def settle(self, response: Response) -> Response:
        """Take the money for everything that was charged; what is to be answered.

        Raises:
            ClipworksError: it cannot be taken, so the answer must not be given.
        """
        for charge in self._charges:
            response = await charge.settle(response)
        return response

    async def release(self) -> None:
        """Give back everything that was charged: there is no answer, even where money was taken for it."""
        while self._charges:
            await self._charges.pop().release()


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
