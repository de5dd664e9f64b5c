"""One request that asks for work: what it says, who sends it, and what it costs.

An answer is a function from a `Call` to a response. It reads the payload, charges for the items that
it is about to work on, and does the work. `endpoints.py` settles the charge when the response is ready and
releases it when there is none, so that what is billed is what was answered.
"""

import time
from typing import TYPE_CHECKING

from starlette.responses import Response

from clipworks.serve.traces import current_trace

if TYPE_CHECKING:
    from clipworks.serve.gate import Caller, Charge
    from clipworks.serve.inputs import Payload
    from clipworks.serve.service import Service


class Call:
    """A request in work."""

    def __init__(self, service: "Service", payload: "Payload", caller: "Caller", *, request_id: str) -> None:
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
