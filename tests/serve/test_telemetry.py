import importlib.util
from collections.abc import Mapping
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient

from clipworks.cli.serve import open_spans
from clipworks.errors import MissingExtraError
from clipworks.serve.app import create_app
from clipworks.serve.settings import ServeSettings
from clipworks.serve.telemetry import Spans
from tests.serve.colours import ADDRESS, ColourEngine, data_uri, picture

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def attributes(span: Any) -> Mapping[str, Any]:
    assert span.attributes is not None
    return dict(span.attributes)


def test_a_request_becomes_one_span_with_counts_and_no_content() -> None:
    exporter = InMemorySpanExporter()
    engine = ColourEngine()
    engines: Any = {"colours": engine}
    app = create_app(ServeSettings(), engines, spans=Spans(SimpleSpanProcessor(exporter)))
    with TestClient(app, base_url=ADDRESS) as client:
        headers = {"traceparent": PARENT, "authorization": "Bearer cw_secret"}
        body = {"input": ["private words", data_uri(picture())]}
        client.post("/v1/embeddings?key=cw_secret", json=body, headers=headers)
        client.get("/nothing")
        engine.failure = RuntimeError("broken")
        client.post("/v1/embeddings", json=body)
    good, missing, failed = exporter.get_finished_spans()
    assert good.name == "POST /v1/embeddings" and good.parent is not None
    assert f"{good.parent.trace_id:032x}" == PARENT.split("-")[1]
    found = attributes(good)
    assert found["gen_ai.operation.name"] == "embeddings" and found["gen_ai.request.model"] == "colours"
    assert (found["clipworks.images"], found["clipworks.texts"]) == (1, 1)
    assert found["http.response.status_code"] == 200 and found["clipworks.inference_seconds"] >= 0
    assert good.end_time is not None and good.start_time is not None and good.end_time > good.start_time
    assert attributes(missing)["error.type"] == "not_found" and missing.parent is None
    assert failed.status.status_code.name == "ERROR"
    text = " ".join(span.to_json() for span in (good, missing, failed))
    assert "private" not in text and "secret" not in text


def test_tracing_without_its_packages_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    assert importlib.util.find_spec("clipworks.serve.telemetry") is not None
    monkeypatch.delitem(sys.modules, "clipworks.serve.telemetry")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(MissingExtraError, match=r"clipworks\[otel\]"):
        open_spans()
