"""A gate that writes down what is charged."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from clipworks.search.library import Library
from clipworks.serve.app import create_app
from clipworks.serve.gate import Caller, Charge
from clipworks.serve.inputs import Payload
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ADDRESS, ColourEngine


class Till:
    """What was settled, as (images, texts); everything is let in, at a dollar an item."""

    def __init__(self) -> None:
        self.settled: list[tuple[int, int]] = []

    async def admit(self, request: Request, scope: str) -> Caller:
        return self

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield

    name = ""

    def headers(self) -> dict[str, str]:
        return {}

    async def earlier(self, payload: Payload) -> Response | None:
        return None

    async def charge(self, *, model: str, images: int, texts: int) -> Charge:
        return _Noted(self, (images, texts))


class _Noted:
    def __init__(self, till: Till, amounts: tuple[int, int]) -> None:
        self.cost_micro_usd = sum(amounts) * 1_000_000
        self._till = till
        self._amounts = amounts

    def reduce(self, *, images: int, texts: int) -> None:
        self._amounts = (images, texts)
        self.cost_micro_usd = (images + texts) * 1_000_000

    async def settle(self, response: Response) -> Response:
        self._till.settled.append(self._amounts)
        return response

    async def release(self) -> None:
        pass


@pytest.fixture
def till() -> Till:
    return Till()


@pytest.fixture
def shop(settings: ServeSettings, engine: ColourEngine, gallery: Library, till: Till) -> Iterator[TestClient]:
    """A server with one model, a gallery and a till."""
    app = create_app(settings, {"colours": engine}, gallery, gate=till)  # type: ignore[dict-item]
    with TestClient(app, base_url=ADDRESS) as client:
        yield client
