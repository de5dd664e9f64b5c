"""The gate of a server with keys, and the callers that it lets in, who pay for what they ask.

Money is set aside before the work and spent when the answer is ready. Whatever happens between, a
client that leaves or an engine that fails, gives it back; what a killed process left behind is given
back by the next one, or by any other when its time is over.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from clipworks.errors import ClipworksError
from clipworks.serve import ledger, repeats
from clipworks.serve.books import Books
from clipworks.serve.database import Database
from clipworks.serve.edge import request_id
from clipworks.serve.keys import Key, find_key, key_with_id, now_ms
from clipworks.serve.ledger import Order, Reserved
from clipworks.serve.limits import Limits
from clipworks.serve.prices import Prices, show_usd
from clipworks.serve.problems import RequestError, shown
from clipworks.serve.process import has_died, name_this_process
from clipworks.serve.repeats import Answer, Repeat
from clipworks.serve.sessions import Session
from clipworks.serve.settings import ServeSettings
from clipworks.serve.traces import current_trace
from clipworks.serve.visitors import (
    PAID_FORMS,
    SAFE_METHODS,
    TOKEN_HEADER,
    Visitors,
    check_form_of,
    forget_old,
    secret_of,
    session_of,
)

if TYPE_CHECKING:
    from clipworks.serve.bodies import Payload

MAX_REPEAT_KEY = 255
SWEEP_SECONDS = 15.0

logger = logging.getLogger(__name__)


class KeyGate:
    """Lets in who has a key.

    Args:
        database: accounts, keys and the ledger; closed when the gate is.
        prices: what models cost.
        settings: how long a charge may be in work, and a request be repeated.
    """

    def __init__(self, database: Database, prices: Prices, settings: ServeSettings) -> None:
        self.books = Books(database)
        self.visitors = Visitors(self.books, settings)
        self.prices = prices
        self.settings = settings
        self.limits = Limits()
        self.server = name_this_process()
        self._pending: set[asyncio.Task[None]] = set()
        self.owed: set[str] = set()
        """Charges to be given back, by id, which the database could not do when it was asked."""

    async def admit(self, request: Request, scope: str) -> "KeyCaller":
        """The caller whose key the request carries, or who is signed in; it uses one request of its limit.

        Raises:
            RequestError: no key, an unknown one, one without this scope, a limit is used up, or a request of
                a session does not come from a page of this site.
        """
        session = session_of(request)
        if session is None:
            key = await self._key_of(request)
        else:
            if request.method not in SAFE_METHODS:
                self.visitors.check_own(request)
                if request.scope["path"] not in PAID_FORMS:
                    check_form_of(request, request.headers.get(TOKEN_HEADER))
            key = await self._key_of_pages(session)
        if scope not in key.terms.scopes:
            raise RequestError(
                f"This key has no scope {scope!r}; it has {', '.join(key.terms.scopes)}.",
                "Use a key that was made with it.",
                code="scope_not_allowed",
            )
        repeat_key = request.headers.get("idempotency-key")
        if repeat_key is not None and not 0 < len(repeat_key) <= MAX_REPEAT_KEY:
            raise RequestError(f"An Idempotency-Key has from 1 to {MAX_REPEAT_KEY} characters.")
        if repeat_key is not None and scope == "admin":
            raise RequestError(
                "Routes of an administrator keep no Idempotency-Key: sent twice, a request is done twice.",
                "Leave the header out, and look at the account before you send it again.",
            )
        self._count(key, request)
        return KeyCaller(self, key, request.url.path, request_id(request), repeat_key)

    async def is_ready(self) -> bool:
        """Whether the database of accounts answers."""
        return await self.books.is_answering()

    def later(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Begin work that is finished whatever becomes of the request it belongs to."""
        task = asyncio.ensure_future(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return task

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The time in which it lets in; what dead processes left in work is released first."""
        async with self.books.open():
            await self.sweep()
            sweeping = asyncio.ensure_future(self._sweep_on())
            try:
                yield
            finally:
                sweeping.cancel()
                await asyncio.gather(*self._pending, sweeping, return_exceptions=True)

    async def sweep(self) -> int:
        """Release every charge that nobody will end, and those that are owed; how many there were."""
        num_released = 0
        for charge_id in tuple(self.owed):
            num_released += await self.books.write(
                partial(ledger.release, charge_id=charge_id, may_refund=True)
            )
            self.owed.discard(charge_id)
        servers = await self.books.read(ledger.servers_at_work)
        dead = [name for name in servers if name != self.server and has_died(name)]
        charges = await self.books.read(partial(ledger.abandoned, dead_servers=dead))
        for charge_id in charges:
            num_released += await self.books.write(partial(ledger.release, charge_id=charge_id))
        if num_released:
            logger.warning("released %d charges of requests that were never answered", num_released)
        before = now_ms() - round(self.settings.idempotency_hours * 3_600_000)
        await self.books.write(partial(repeats.forget, before_ms=before))
        await self.books.write(forget_old)
        return num_released

    async def _sweep_on(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.sweep()
            except ClipworksError:
                logger.warning("the database of accounts did not answer; sweeping later", exc_info=True)

    async def _key_of(self, request: Request) -> Key:
        key = await self.books.read(partial(find_key, secret=secret_of(request)))
        if key is None:
            raise RequestError(
                "This key is not known here, was revoked or has expired.",
                "Check it, or ask the owner of this server for another.",
                code="invalid_api_key",
            )
        return key

    async def admit_pages(self, request: Request, session: Session) -> "KeyCaller":
        """Who is signed in, on a page that has made sure that it was asked by one of its own.

        Raises:
            RequestError: the key of the account's pages has ended, or its limit is used up.
        """
        key = await self._key_of_pages(session)
        self._count(key, request)
        return KeyCaller(self, key, request.url.path, request_id(request), None)

    async def _key_of_pages(self, session: Session) -> Key:
        key = await self.books.read(partial(key_with_id, identity=session.pages_key_id))
        if key is None or not key.is_working(now_ms()):
            raise RequestError(
                "The key that pays for what these pages ask was revoked or has expired.",
                "Make it anew on your account page.",
                code="pages_key_ended",
            )
        return key

    def _count(self, key: Key, request: Request) -> None:
        try:
            self.limits.take(key, "requests", 1)
            if key.terms.bytes_per_minute is not None:
                length = request.headers.get("content-length", "")
                if not length.isdecimal() and request.method in ("POST", "PUT", "PATCH"):
                    raise RequestError(
                        "This key has a limit in bytes, and the request does not say its length.",
                        "Send the header Content-Length.",
                        code="length_required",
                    )
                self.limits.take(key, "bytes", int(length or 0))
        except RequestError as error:
            error.headers |= self.limits.headers(key)
            raise


class KeyCaller:
    """Who sent one request: a key, its account, and what the request has cost so far."""

    def __init__(self, gate: KeyGate, key: Key, path: str, identity: str, repeat_key: str | None) -> None:
        self.key = key
        self.name = key.id
        self._gate = gate
        self._path = path
        self._request_id = identity
        self._repeat_key = repeat_key
        self._repeat: Repeat | None = None
        self._balance_micro_usd = key.balance_micro_usd
        self._charges: list[KeyCharge] = []

    async def earlier(self, payload: "Payload") -> Response | None:
        """What the client was told before, where it names this request by the same `Idempotency-Key`.

        None also where that answer was too large to be kept: the work is done again, and not paid again.

        Raises:
            RequestError: the name stands for another request, or for one in work.
        """
        if self._repeat_key is None:
            return None
        digest = await asyncio.to_thread(repeats.digest_of, self._path, payload)
        self._repeat = Repeat(key=self._repeat_key, digest=digest)
        work = partial(repeats.earlier, account_id=self.key.account_id, repeat=self._repeat)
        known = await self._gate.books.read(work)
        if known is None or known.answer is None:
            return None
        self._charges.append(KeyCharge(self._gate, None, ledger.paid_before(known), self.key))
        return _response(known.answer)

    async def charge(self, *, model: str, images: int, texts: int) -> "KeyCharge":
        """Set money aside before the work.

        Raises:
            RequestError: the key may not use the model, a limit is used up, or there is no money for it.
        """
        terms = self.key.terms
        if terms.models and model not in terms.models:
            raise RequestError(
                f"This key may not use the model {shown(model)}.",
                f"It may use {', '.join(terms.models)}.",
                code="model_not_allowed",
                param="model",
            )
        order = self._order(model, images, texts)
        self._gate.limits.take(self.key, "images", images)
        reserving = asyncio.ensure_future(self._gate.books.write(partial(ledger.reserve, order=order)))
        try:
            reserved = await asyncio.shield(reserving)
        except asyncio.CancelledError:
            self._gate.later(self._undo(reserving, order))
            raise
        except ClipworksError:
            self._gate.limits.put_back(self.key, "images", images)
            raise
        if reserved.balance_micro_usd is not None:
            self._balance_micro_usd = reserved.balance_micro_usd
        charge = KeyCharge(self._gate, order, reserved, self.key)
        self._charges.append(charge)
        return charge

    def headers(self) -> dict[str, str]:
        """Limits of the key, credit of the account, cost of this request."""
        cost = sum(charge.cost_micro_usd for charge in self._charges if charge.is_settled)
        back = sum(charge.returned_micro_usd for charge in self._charges)
        headers = {
            **self._gate.limits.headers(self.key),
            "x-credit-remaining-usd": show_usd(self._balance_micro_usd + back),
            "x-request-cost-usd": show_usd(cost),
        }
        if any(charge.is_repeated for charge in self._charges):
            headers["idempotent-replayed"] = "true"
        return headers

    def _order(self, model: str, images: int, texts: int) -> Order:
        return Order(
            account_id=self.key.account_id,
            key_id=self.key.id,
            budget_period=self.key.terms.budget_period,
            model=model,
            images=images,
            texts=texts,
            price=self._gate.prices.of(model),
            request_id=self._request_id,
            server=self._gate.server,
            expires_at_ms=now_ms() + round(self._gate.settings.reservation_seconds * 1000),
            repeat=self._repeat,
        )

    async def _undo(self, reserving: "asyncio.Future[Reserved]", order: Order) -> None:
        """Release what was set aside for a request that went away meanwhile."""
        try:
            charge = KeyCharge(self._gate, order, await reserving, self.key)
        except ClipworksError:
            self._gate.limits.put_back(self.key, "images", order.images)
            return
        await charge.release()


class KeyCharge:
    """Money set aside for one request.

    Args:
        order: what it pays for; None where it was paid before and nothing is done again.
        key: in whose limit of pictures it counts.
    """

    def __init__(self, gate: KeyGate, order: Order | None, reserved: Reserved, key: Key) -> None:
        self.cost_micro_usd = reserved.cost_micro_usd
        self.is_repeated = reserved.is_settled
        """Whether an equal request paid for it before."""
        self.is_settled = reserved.is_settled
        self.returned_micro_usd = 0
        """What came back of the money that was set aside."""
        self._gate = gate
        self._order = order
        self._held_micro_usd = reserved.cost_micro_usd
        self._earlier = reserved.answer
        self._charge_id = reserved.charge_id
        self._settling: asyncio.Future[str] | None = None
        self._is_released = False
        self._key = key
        self._counted_images = order.images if order is not None else 0

    def reduce(self, *, images: int, texts: int) -> None:
        """Only so many items could be used: settling spends what they cost and gives back the rest."""
        if self._order is not None and not self.is_repeated:
            self._order = replace(self._order, images=images, texts=texts)
            self.cost_micro_usd = self._order.cost_micro_usd

    async def settle(self, response: Response) -> Response:
        """Spend it: the answer is ready. What is to be said, which is what was said before where it was.

        Raises:
            RequestError: it cannot be spent, so the answer must not be given.
        """
        if self._earlier is not None:  # an equal request was answered while this one was in work
            return _response(self._earlier)
        if self.is_settled or self._order is None:
            return response
        work = partial(
            ledger.settle, order=self._order, charge_id=self._charge_id, answer=self._kept(response)
        )
        self._settling = asyncio.ensure_future(self._gate.books.write(work))
        self._charge_id = await asyncio.shield(self._settling)
        self.is_settled = True
        self.returned_micro_usd = self._held_micro_usd - self.cost_micro_usd
        return response

    async def release(self) -> None:
        """Give it back: there is no answer, and its pictures count in no limit."""
        self._gate.limits.put_back(self._key, "images", self._counted_images)
        self._counted_images = 0
        if not self.is_repeated and not self._is_released:
            await asyncio.shield(self._gate.later(self._give_back()))

    def _kept(self, response: Response) -> Answer | None:
        """What is told again to a client that sends the request again."""
        assert self._order is not None
        body = bytes(response.body)
        if self._order.repeat is None or len(body) > self._gate.settings.idempotency_bytes:
            return None
        return Answer(
            body=body,
            media_type=response.media_type or "application/octet-stream",
            fingerprint=current_trace().fingerprint,
        )

    async def _give_back(self) -> None:
        try:
            if self._settling is not None:  # it may be on its way, and an answer that is cancelled is none
                await asyncio.wait([self._settling])
                if self._settling.exception() is None:
                    self._charge_id = self._settling.result()
            work = partial(ledger.release, charge_id=self._charge_id, may_refund=True)
            self._is_released = await self._gate.books.write(work)
            self.is_settled = False
            self.returned_micro_usd = self._held_micro_usd if self._is_released else 0
        except ClipworksError:
            self._gate.owed.add(self._charge_id)  # a settling whose answer was lost may have happened
            logger.warning(
                "charge %s of request %s is given back later",
                self._charge_id,
                self._order and self._order.request_id,
                exc_info=True,
            )


def _response(answer: Answer) -> Response:
    current_trace().fingerprint = answer.fingerprint
    return Response(answer.body, media_type=answer.media_type)
