"""One OpenTelemetry span per request, for those who ask for it (`CLIPWORKS_TRACING=1`, extra `otel`).

A span is made when its request is over, from the trace that was kept anyway. It has names, counts and
times, no content. Nothing here is imported unless tracing is switched on.
"""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from clipworks.serve.traces import Ended, Trace

_OPERATIONS = {"/v1/embeddings": "embeddings"}


class Spans:
    """Turns traces into spans.

    Args:
        processor: where they go; to an OTLP collector by the OTEL_* variables if None.
    """

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": "clipworks"}))
        self._provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("clipworks.serve")
        self._propagator = TraceContextTextMapPropagator()

    def ended(self, trace: Trace, ended: Ended) -> None:
        """One request is over."""
        attributes: dict[str, str | int | float] = {
            "http.request.method": ended.method,
            "http.route": trace.route,
            "http.response.status_code": ended.status,
            "clipworks.request_id": trace.request_id,
            "clipworks.images": trace.num_images,
            "clipworks.texts": trace.num_texts,
        }
        if trace.model:
            attributes["gen_ai.operation.name"] = _OPERATIONS.get(trace.route, trace.route.rpartition("/")[2])
            attributes["gen_ai.request.model"] = trace.model
        if trace.code:
            attributes["error.type"] = trace.code
        for stage, seconds in trace.seconds.items():
            attributes[f"clipworks.{stage}_seconds"] = seconds
        span = self._tracer.start_span(
            f"{ended.method} {trace.route}",
            context=self._propagator.extract({"traceparent": ended.traceparent}),
            kind=SpanKind.SERVER,
            attributes=attributes,
            start_time=ended.started_ns,
        )
        if ended.status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end_time=ended.started_ns + round(ended.seconds * 1e9))

    def close(self) -> None:
        """Send what still waits."""
        self._provider.shutdown()
