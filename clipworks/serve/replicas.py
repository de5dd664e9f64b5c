"""The same application as a Ray Serve deployment: several replicas behind one port, as many as work asks for.

Each replica is a process with its own engines, queues and share of the cores; what must hold for all of them
together, keys, credit, charges and repeats, is in the database. There is no dashboard, and `cli/serve.py`
tells Ray to report no usage, before it is imported. This is the only file that imports it.
"""

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.config import AutoscalingConfig, BackpressureConfig, HTTPOptions
from ray.serve.schema import LoggingConfig

from clipworks.errors import ClipworksError
from clipworks.model.pipeline import num_cores
from clipworks.serve.logs import start_logging
from clipworks.serve.server import listen
from clipworks.serve.settings import ServeSettings

if TYPE_CHECKING:
    from clipworks.serve.service import Service

NAME = "clipworks"
OBJECT_STORE_BYTES = 80 << 20
"""Requests do not go through it; the least that Ray takes is 75 MiB."""

MakeApp = Callable[[ServeSettings], Any]
"""Builds the application in a replica; a function of a module, or a partial of one."""

logger = logging.getLogger(__name__)


def run_replicas(
    settings: ServeSettings, make_app: MakeApp, *, on_ready: Callable[[str], None] | None = None
) -> None:
    """Serve from replicas until SIGINT or SIGTERM; requests in work are finished first.

    Args:
        settings: where to listen, how many replicas, and how much each of them takes on.
        make_app: called in every replica, with settings for one in which engines are in threads.
        on_ready: called once with the address when the first replicas answer.

    Raises:
        ConfigError: the settings do not fit replicas, or the port is taken.
        ClipworksError: the replicas do not start.
        KeyboardInterrupt: the server was stopped with Ctrl-C, after it has finished.
    """
    inner = replace(settings, workers="thread")  # a replica is a process of its own already
    with listen(settings.host, settings.port) as free:
        port = int(free.getsockname()[1])
    start_logging(settings.log_format)
    with _running_ray(settings), _until_told() as told:
        try:
            serve.start(
                proxy_location="HeadOnly",
                http_options=HTTPOptions(host=settings.host, port=port, request_timeout_s=None),
                logging_config=_quiet(),
            )
            serve.run(_deployment(inner, make_app), name=NAME, route_prefix="/")
            if on_ready is not None:
                host = f"[{settings.host}]" if ":" in settings.host else settings.host
                on_ready(f"http://{host}:{port}")
            told.wait()
        except (RuntimeError, RayError) as error:
            raise ClipworksError("The replicas did not start; the lines above say why.") from error
        finally:
            serve.shutdown()


def _deployment(settings: ServeSettings, make_app: MakeApp) -> Any:
    """What Ray starts as often as it finds right."""
    threads = threads_of(settings)

    def build() -> Any:
        """In the replica: its share of the cores, its engines and the application."""
        start_logging(settings.log_format)
        take_cores(serve.get_replica_context().rank.local_rank, threads)
        return make_app(settings)

    class Replica:
        """Ray asks it whether it is well, and replaces it when it is not."""

        async def check_health(self) -> None:
            """Raises where a model that is loaded does not answer."""
            service: Service = self.app.state.service  # type: ignore[attr-defined]
            for name, model in service.models.items():
                if model.status == "live" and not await model.is_ready():
                    raise ClipworksError(f"The model {name} does not answer.")

    return serve.deployment(
        serve.ingress(build)(Replica),
        name=NAME,
        autoscaling_config=AutoscalingConfig(
            min_replicas=settings.min_replicas,
            max_replicas=settings.max_replicas,
            initial_replicas=settings.min_replicas,
            target_ongoing_requests=settings.ongoing_per_replica,
            upscale_delay_s=settings.upscale_seconds,
            downscale_delay_s=settings.downscale_seconds,
        ),
        max_ongoing_requests=settings.max_requests,
        max_queued_requests=settings.max_requests,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
        graceful_shutdown_timeout_s=settings.shutdown_seconds,
        graceful_shutdown_wait_loop_s=0.2,
        max_constructor_retry_count=2,
        health_check_timeout_s=60,
        logging_config=_quiet(),
        ray_actor_options={"num_cpus": threads},
    ).bind()


def threads_of(settings: ServeSettings) -> int:
    """Cores of one replica: what the settings say, or an equal share of this machine's."""
    return settings.replica_threads or max(1, num_cores() // settings.max_replicas)


def take_cores(place: int, threads: int) -> None:
    """Bind this thread, and those that it starts, to the place-th share of the cores."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        share = {cores[(place * threads + i) % len(cores)] for i in range(min(threads, len(cores)))}
        os.sched_setaffinity(0, share)


@contextmanager
def _running_ray(settings: ServeSettings) -> Iterator[None]:
    """A Ray of our own on this machine, which nobody else can join; or the cluster at `ray_address`."""
    options: dict[str, Any] = {"logging_level": "warning", "configure_logging": False}
    if settings.ray_address:
        try:
            ray.init(address=settings.ray_address, **options)
        except ConnectionError as error:
            raise ClipworksError(
                f"The Ray cluster at {settings.ray_address} cannot be joined: {error}.",
                "Check CLIPWORKS_RAY_ADDRESS. A cluster with a token needs RAY_AUTH_MODE=token and its "
                "RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) here too.",
            ) from error
        try:
            yield
        finally:
            ray.shutdown()
        return
    with tempfile.TemporaryDirectory(prefix="clipworks-", ignore_cleanup_errors=True) as folder:
        ray.init(
            include_dashboard=False,
            num_cpus=max(num_cores(), settings.max_replicas * threads_of(settings)),
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=folder,
            **options,
        )
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _until_told() -> Iterator[threading.Event]:
    """Set by SIGTERM; SIGINT raises KeyboardInterrupt as ever."""
    told = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: told.set())
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, interrupt)


def _quiet() -> LoggingConfig:
    """The application writes a line per request; Ray's own would say it twice."""
    return LoggingConfig(log_level="WARNING", enable_access_log=False)
