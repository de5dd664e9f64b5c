"""The process that serves an application: its port, its start and its end."""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette

from clipworks.errors import ConfigError
from clipworks.serve.ending import GRACE_SECONDS, leave_within
from clipworks.serve.heap import limit_freed_memory

if TYPE_CHECKING:
    from clipworks.serve.service import Service


def serve_app(app: Starlette, service: "Service", on_ready: Callable[[str], None] | None) -> None:
    """Listen and answer until SIGINT or SIGTERM.

    Args:
        app: the application of `service`.
        on_ready: called once with the address when all models that are loaded at start answer.

    Once a signal has come this returns within `drain_seconds`, `shutdown_seconds` and 5 seconds, or ends the
    process with 1: what hangs then is named in the log.

    Raises:
        ConfigError: the port, or that of the metrics, is taken.
        ClipworksError: a model cannot be loaded at start.
        KeyboardInterrupt: the server was stopped with Ctrl-C, after it has finished.
    """
    settings = service.settings
    limit_freed_memory()
    with listen(settings.host, settings.port) as listener:
        if settings.metrics_port:
            # The application takes it when it starts; what is wrong then uvicorn says with a traceback.
            listen("127.0.0.1", settings.metrics_port, named_by="CLIPWORKS_METRICS_PORT").close()
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=max(1, round(settings.shutdown_seconds)),
        )
        server = _Server(config, service, partial(on_ready, _address(listener)) if on_ready else None)
        server.run(sockets=[listener])
        if server.ending is not None:
            server.ending.cancel()
        if server.failure is not None:
            raise server.failure


def listen(host: str, port: int, *, named_by: str = "--port") -> socket.socket:
    """A socket bound to an address, on whose connections answers are sent at once.

    Args:
        named_by: what the port is chosen with, for the message.

    Raises:
        ConfigError: the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends answers at once (TCP_NODELAY) only where the protocol is said; otherwise each one of
    # two parts waits 40 ms for the client's acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"Cannot listen on {host} port {port}: {error.strerror or error}.",
            f"Choose another with {named_by}.",
        ) from error
    return listener


class _Server(uvicorn.Server):
    """uvicorn's server, which says when it answers, and stops when a model cannot be loaded at start."""

    def __init__(
        self, config: uvicorn.Config, service: "Service", on_ready: Callable[[], None] | None
    ) -> None:
        super().__init__(config)
        self.failure: BaseException | None = None
        self._service = service
        self._on_ready = on_ready
        self._stop_at = float("inf")
        self.ending: threading.Timer | None = None
        """Ends the process if its end takes too long."""

    async def main_loop(self) -> None:
        """Run as uvicorn does; meanwhile wait for the models, then call `on_ready`."""
        loading = asyncio.create_task(self._service.loaded())
        loading.add_done_callback(self._when_loaded)
        try:
            await super().main_loop()
        finally:
            loading.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first SIGTERM begins the drain; any signal after it ends the drain at once."""
        settings = self._service.settings
        if self.ending is None:
            drain = settings.drain_seconds if sig == signal.SIGTERM else 0.0
            self.ending = leave_within(drain + settings.shutdown_seconds + GRACE_SECONDS)
        if sig == signal.SIGTERM and not self._service.is_stopping:
            self._service.is_stopping = True
            # Clients send their next request on another connection, which leads elsewhere if anywhere.
            self.config.encoded_headers.append((b"connection", b"close"))
            self.server_state.default_headers.append((b"connection", b"close"))
            self._stop_at = time.monotonic() + settings.drain_seconds
        elif sig == signal.SIGTERM:
            self.should_exit = True
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """uvicorn's look around, ten times a second."""
        return await super().on_tick(counter) or time.monotonic() >= self._stop_at

    def _when_loaded(self, loading: asyncio.Task[None]) -> None:
        if loading.cancelled():
            return
        self.failure = loading.exception()
        if self.failure is not None:
            self.should_exit = True
        elif self._on_ready is not None:
            self._on_ready()


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
