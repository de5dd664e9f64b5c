"""Endpoints made of answers: a payload is read, the work is charged for, given up in time, and settled."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from clipworks.serve.bodies import read_payload
from clipworks.serve.call import Call
from clipworks.serve.edge import request_id
from clipworks.serve.guard import caller_of
from clipworks.serve.problems import (
    RequestError,
    UnavailableError,
    shown,
)
from clipworks.serve.settings import ServeSettings
from clipworks.serve.traces import current_trace

if TYPE_CHECKING:
    from clipworks.serve.service import Service

DEADLINE_HEADER = "x-request-timeout-ms"
"""How long a client waits for the answer, whole milliseconds."""

Endpoint = Callable[[Request], Awaitable[Response]]
Answer = Callable[[Call], Awaitable[Response]]


def work_endpoint(service: "Service", answer: Answer, fields: tuple[str, ...]) -> Endpoint:
    """An endpoint that reads a payload; its work is given up when the client goes away or time is over."""

    async def endpoint(request: Request) -> Response:
        async with service.admission(request), service.counted(request) as request:
            payload = await read_payload(request, service.settings, fields=fields)
            payload |= request.path_params
            call = Call(service, payload, caller_of(request), request_id=request_id(request))
            seconds = _seconds_for(request, service.settings)
            earlier = await call.earlier()
            if earlier is not None:
                return earlier
            current_trace().deadline_at = time.monotonic() + seconds
            work = asyncio.ensure_future(answer(call))
            gone = asyncio.ensure_future(_disconnected(request))
            is_answered = False
            try:
                await asyncio.wait((work, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    return Response(status_code=499)  # nobody reads it
                response = await _in_time(work, seconds)
                response = await call.settle(response)
                is_answered = True
                return response
            finally:
                for task in (work, gone):
                    task.cancel()
                await asyncio.wait((work, gone))
                if not work.cancelled():
                    work.exception()  # nobody else asks for it where the client has gone
                if not is_answered:
                    await call.release()

    return endpoint


def plain(answer: Callable[[Request], Response]) -> Endpoint:
    """An endpoint that costs nothing and waits for nothing."""

    async def endpoint(request: Request) -> Response:
        return answer(request)

    return endpoint


async def _in_time(work: "asyncio.Future[Response]", seconds: float) -> Response:
    """The answer, which is given up when it is not there: what waits in queues is dropped."""
    if not work.done():
        work.cancel()
        await asyncio.wait([work])
    if work.cancelled():
        raise UnavailableError(
            f"The request was not answered within {seconds:g} seconds.", code="deadline_exceeded"
        )
    return work.result()


def _seconds_for(request: Request, settings: ServeSettings) -> float:
    """How long the work on a request may take."""
    given = request.headers.get(DEADLINE_HEADER)
    if given is None:
        return settings.request_seconds
    if not (given.isascii() and given.isdigit() and 0 < int(given[:10]) and len(given) <= 10):
        raise RequestError(
            f"The header {DEADLINE_HEADER} is {shown(given)}; it must be a whole number of milliseconds."
        )
    return min(int(given) / 1000, settings.request_seconds)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
