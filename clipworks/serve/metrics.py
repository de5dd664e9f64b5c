"""What operators watch: counters and histograms in the text form of Prometheus.

Each application has a registry of its own. Labels are names of ours (route templates, served models,
stages, error codes), never a key, an address or anything that a client wrote.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
    start_http_server,
)

from clipworks.errors import ConfigError
from clipworks.serve.minutes import Minutes
from clipworks.serve.traces import Trace

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

Watch = Callable[[int, float], None]
"""Called after each batch with its size and the seconds it took; from any thread."""


class Metrics:
    """The figures of one application."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.in_flight = Gauge("clipworks_requests_in_flight", "Requests being answered.", registry=registry)
        self._requests = Counter(
            "clipworks_requests",
            "Requests answered.",
            ("route", "method", "model", "status"),
            registry=registry,
        )
        self._request_seconds = Histogram(
            "clipworks_request_seconds",
            "From the head of the request to the end of the answer, seconds.",
            ("route", "model"),
            registry=registry,
            buckets=SECONDS,
        )
        self._stage_seconds = Histogram(
            "clipworks_stage_seconds",
            "fetch and prepare: per picture; queue: per item; inference: per batch; seconds.",
            ("stage", "model", "modality"),
            registry=registry,
            buckets=SECONDS,
        )
        self._batch_size = Histogram(
            "clipworks_batch_size",
            "Items per batch.",
            ("model", "modality"),
            registry=registry,
            buckets=SIZES,
        )
        self._images = Counter("clipworks_images", "Pictures worked on.", ("model",), registry=registry)
        self._texts = Counter("clipworks_texts", "Texts worked on.", ("model",), registry=registry)
        self._bytes_in = Counter("clipworks_bytes_in", "Bytes of bodies.", ("route",), registry=registry)
        self._rejects = Counter(
            "clipworks_rejects", "Answers that are errors.", ("reason",), registry=registry
        )
        self._cost = Counter(
            "clipworks_cost_usd", "What was charged, US dollars.", ("model",), registry=registry
        )
        self._fetches = Counter(
            "clipworks_fetches", "Pictures fetched from the web.", ("outcome",), registry=registry
        )
        self.providers = ProviderFigures(registry)
        self.minutes = Minutes()
        """The last day of every model, for the pages of models."""

    def answered(self, trace: Trace, method: str, status: int, seconds: float) -> None:
        """One request is over."""
        known = method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
        self._requests.labels(trace.route, known, trace.model, str(status)).inc()
        self._request_seconds.labels(trace.route, trace.model).observe(seconds)
        self._bytes_in.labels(trace.route).inc(trace.num_bytes_in)
        if trace.asked or trace.model:
            self.minutes.answered(trace.asked or trace.model, status, seconds)
        if status >= 400:
            self._rejects.labels(trace.code or "none").inc()
        elif trace.model:
            self._images.labels(trace.model).inc(trace.num_images)
            self._texts.labels(trace.model).inc(trace.num_texts)
            self._cost.labels(trace.model).inc(trace.cost_micro_usd / 1e6)

    def answers(self) -> dict[tuple[str, str], int]:
        """(route, status) -> requests that were answered since the start, for who looks at the page."""
        counted: dict[tuple[str, str], int] = {}
        for family in self._requests.collect():
            for sample in family.samples:
                if sample.name.endswith("_total"):
                    place = (sample.labels["route"], sample.labels["status"])
                    counted[place] = counted.get(place, 0) + int(sample.value)
        return counted

    def num_in_flight(self) -> int:
        """Requests being answered now."""
        return int(self.registry.get_sample_value("clipworks_requests_in_flight") or 0)

    def stage(self, stage: str, model: str, modality: str, seconds: float) -> None:
        """One picture, item or batch has left a stage."""
        self._stage_seconds.labels(stage, model, modality).observe(seconds)

    def fetched(self, outcome: str) -> None:
        """One picture was fetched (`ok`) or not (the reason of a `NetError`)."""
        self._fetches.labels(outcome).inc()

    def watch(self, stage: str, model: str, modality: str) -> Watch:
        """What to call after each batch of one tower."""

        def watch(num_items: int, seconds: float) -> None:
            self.stage(stage, model, modality, seconds)
            if stage == "inference":
                self._batch_size.labels(model, modality).observe(num_items)

        return watch

    def render(self) -> tuple[bytes, str]:
        """All figures and their content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST

    @contextmanager
    def served_on(self, port: int) -> Iterator[int]:
        """Serve them on a port of loopback of their own; the port taken, where 0 was given.

        Raises:
            ConfigError: the port is taken.
        """
        try:
            server, thread = start_http_server(port, "127.0.0.1", registry=self.registry)
        except OSError as error:
            raise ConfigError(
                f"Cannot listen on 127.0.0.1 port {port} for the metrics: {error.strerror or error}.",
                "Choose another with CLIPWORKS_METRICS_PORT.",
            ) from error
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class ProviderFigures:
    """The figures of providers, where a model has several.

    Args:
        registry: the application's.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        names = ("model", "provider")
        self._calls = Counter(
            "clipworks_provider_calls",
            "Calls of a provider, by what came of them.",
            (*names, "outcome"),
            registry=registry,
        )
        self._seconds = Histogram(
            "clipworks_provider_seconds",
            "Calls of a provider, answered or not, seconds.",
            names,
            registry=registry,
            buckets=SECONDS,
        )
        self._live = Gauge(
            "clipworks_provider_live", "Whether an upstream gets requests.", names, registry=registry
        )

    def called(self, model: str, provider: str, outcome: str, seconds: float) -> None:
        """A provider of a model answered (`ok`), found fault with the items (`client`), or failed (why)."""
        self._calls.labels(model, provider, outcome).inc()
        self._seconds.labels(model, provider).observe(seconds)

    def is_live(self, model: str, provider: str, is_live: bool) -> None:
        """Whether an upstream gets requests now."""
        self._live.labels(model, provider).set(int(is_live))
