"""Real HTTP servers as upstreams, each a whole clipworks, that can be told to misbehave."""

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.testclient import TestClient

from clipworks.serve.app import create_app, create_service_app
from clipworks.serve.fleet import fleet_of_loaders
from clipworks.serve.roster import ModelSpec, ProviderSpec, Routing
from clipworks.serve.service import Service
from clipworks.serve.settings import ServeSettings
from tests.serve import workers
from tests.serve.colours import ADDRESS, ColourEngine


class Upstream:
    """An ASGI application in front of a clipworks: a fault answers in its place."""

    def __init__(
        self, engine: ColourEngine | None = None, *, hides: Sequence[str] = (), **tells: Any
    ) -> None:
        self.engine = engine or ColourEngine()
        self.fault: Any = None
        """None, or an ASGI application that answers POST requests."""
        self.delay = 0.0
        """Seconds before each answer to a POST request."""
        self.hides = hides
        """Fields of the row of the model that are not told."""
        self.tells = tells
        """What the row of the model says in place of the truth."""
        self.bodies: list[Any] = []
        """What POST requests said."""
        self.headers: list[dict[str, str]] = []
        self.address = ""
        settings = ServeSettings(max_images=64, insecure=True)
        self._app = create_app(settings, {"colours": self.engine})  # type: ignore[dict-item]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "GET":
            await self._app(scope, receive, self._hiding(send))
            return
        self.headers.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await asyncio.sleep(self.delay)
        if self.fault is not None:
            await self.fault(scope, receive, send)
            return
        pieces = bytearray()

        async def receive_noted() -> Any:
            message = await receive()
            pieces.extend(message.get("body", b""))
            if message["type"] == "http.request" and not message.get("more_body"):
                self.bodies.append(json.loads(pieces))
            return message

        await self._app(scope, receive_noted, self._hiding(send))

    def _hiding(self, send: Any) -> Any:
        if not self.hides and not self.tells:
            return send

        async def hide(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    (name, value)
                    for name, value in message["headers"]
                    if name not in (b"content-length", b"x-model-fingerprint")
                ]
            elif message.get("body"):
                row = json.loads(message["body"])
                body = {key: value for key, value in row.items() if key not in self.hides}
                message["body"] = json.dumps(body | self.tells).encode()
            await send(message)

        return hide


def says(status: int, body: Any = b"", headers: dict[str, str] | None = None) -> Any:
    """An application that always answers so."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    rows = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": rows})
        await send({"type": "http.response.body", "body": data})

    return app


def drips() -> Any:
    """An application that answers 200 and then a byte now and then, without end."""
    return _endless(b" ", 0.05)


def floods() -> Any:
    """An application that answers 200 and then more than anybody can hold."""
    return _endless(bytes(1 << 16), 0.0)


def _endless(piece: bytes, pause: float) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        gone = asyncio.ensure_future(hangs()(scope, receive, send))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not gone.done():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(pause)

    return app


def hangs() -> Any:
    """An application that never answers."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    return app


@contextmanager
def served(app: Any, port: int = 0) -> Iterator[int]:
    """The application behind a real port of loopback."""
    config = uvicorn.Config(app, port=port, log_config=None, lifespan="on", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    started = threading.Event()
    startup = server.startup

    async def start(sockets: Any = None) -> None:
        await startup(sockets)
        started.set()

    server.startup = start  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(30)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)


@contextmanager
def upstreams(*apps: Upstream) -> Iterator[None]:
    """The upstreams at work, each with its `address`."""
    if not apps:
        yield
        return
    with served(apps[0]) as port:
        apps[0].address = f"http://127.0.0.1:{port}/v1"
        with upstreams(*apps[1:]):
            yield


def provider(upstream: Upstream, name: str, **given: Any) -> ProviderSpec:
    values = {"timeout_seconds": 5.0, "model": "colours", **given}
    return ProviderSpec(name=name, url=upstream.address, private=True, **values)


@contextmanager
def gateway(
    *providers: ProviderSpec, routing: Routing = "health", loader: Any = workers.colours, **given: Any
) -> Iterator[TestClient]:
    """A server whose one model, `gate`, has these providers; `local` is an engine of colours."""
    settings = ServeSettings(workers="thread", **given)
    spec = ModelSpec(id="gate", providers=providers, routing=routing)
    service = Service(settings, fleet_of_loaders(settings, [spec], lambda _: loader), None)
    with TestClient(create_service_app(service), base_url=ADDRESS) as client:
        yield client


def live(*names: str) -> Any:
    """Whether these providers get requests, for `wait_until`."""
    return lambda states: all(states[name] == "live" for name in names)


def wait_until(client: TestClient, condition: Any) -> dict[str, Any]:
    """Ask for the model's row until it is so; it is asked often, and no request is made of it."""
    for _ in range(2000):
        row: dict[str, Any] = client.get("/v1/models/gate").json()
        if condition({one["name"]: one["status"] for one in row["providers"]}):
            return row
        threading.Event().wait(0.01)
    raise AssertionError(row)
