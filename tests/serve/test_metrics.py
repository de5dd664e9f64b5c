import re
import socket
import urllib.request
from typing import Any

import pytest
from starlette.testclient import TestClient

from clipworks.errors import ConfigError
from clipworks.serve.app import create_app
from clipworks.serve.metrics import Metrics
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ADDRESS, ColourEngine, data_uri, picture, refusal


def figures(client: TestClient) -> dict[str, float]:
    """Every sample by its name and labels, as they are written."""
    answer = client.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    rows = (line.rpartition(" ") for line in answer.text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}


def test_what_was_done_is_counted(client: TestClient) -> None:
    body = {"model": "colours", "input": ["red", data_uri(picture("red")), data_uri(picture("blue"))]}
    for _ in range(2):
        assert client.post("/v1/embeddings", json=body).status_code == 200
    client.post(
        "/v1/classify", json={"model": "colours", "input": data_uri(picture()), "labels": ["red", "x"]}
    )
    found = figures(client)
    assert found['clipworks_images_total{model="colours"}'] == 5
    assert found['clipworks_texts_total{model="colours"}'] == 4
    asked = 'clipworks_requests_total{method="POST",model="colours",route="/v1/embeddings",status="200"}'
    assert found[asked] == 2
    assert found['clipworks_stage_seconds_count{modality="image",model="colours",stage="prepare"}'] == 5
    assert found['clipworks_stage_seconds_count{modality="image",model="colours",stage="queue"}'] == 5
    assert found['clipworks_batch_size_sum{modality="image",model="colours"}'] == 5
    assert found['clipworks_batch_size_sum{modality="text",model="colours"}'] == 4  # labels' prompts too
    assert found["clipworks_requests_in_flight"] == 1
    sent = found['clipworks_bytes_in_total{route="/v1/embeddings"}']
    assert sent == 2 * len(client.build_request("POST", "/", json=body).content)
    assert found["process_resident_memory_bytes"] > 1e6


def test_refusals_are_counted_by_their_code_and_work_that_failed_is_no_work(
    client: TestClient, engine: ColourEngine
) -> None:
    client.post("/v1/embeddings", json={"model": "no", "input": "a"})
    client.post("/v1/embeddings", json={"model": "colours", "input": [{"image": "AAAA"}]})
    client.get("/livez", headers={"host": "evil.example"})
    client.get("/wp-admin.php")
    engine.failure = RuntimeError("broken")
    client.post("/v1/embeddings", json={"model": "colours", "input": "a"})
    found = figures(client)
    for code in ("model_not_found", "invalid_image", "host_not_allowed", "not_found", "internal_error"):
        assert found[f'clipworks_rejects_total{{reason="{code}"}}'] == 1, code
    assert not [
        name for name in found if name.startswith(("clipworks_images_total", "clipworks_texts_total"))
    ]


def test_labels_hold_nothing_that_a_client_wrote(client: TestClient) -> None:
    key = {"authorization": "Bearer cw_secret"}
    client.get("/v1/models/some/made-up?name=x", headers=key)
    client.get("/made-up", headers=key)
    client.request("BREW", "/made-up", headers=key)
    client.post("/v1/embeddings", json={"model": "made-up", "input": "made-up"}, headers=key)
    text = client.get("/metrics").text
    assert "made-up" not in text and "secret" not in text and "BREW" not in text
    routes = set(re.findall(r'route="([^"]*)"', text))
    assert routes == {"/v1/models/{id}", "/v1/embeddings", "unmatched"}


def test_two_applications_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.fetched("ok")
    assert b"clipworks_fetches_total{" in first.render()[0]
    assert b"clipworks_fetches_total{" not in second.render()[0]


def test_waiting_and_work_are_told_in_headers(client: TestClient) -> None:
    answer = client.post("/v1/embeddings", json={"model": "colours", "input": "a"})
    assert answer.headers["x-queue-time"].isdigit() and answer.headers["x-inference-time"].isdigit()
    assert "x-inference-time" not in client.get("/livez").headers


def test_the_metrics_may_have_a_port_of_their_own_on_loopback() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    engines: Any = {"colours": ColourEngine()}
    app = create_app(ServeSettings(metrics_port=port), engines)
    with TestClient(app, base_url=ADDRESS) as client:
        refusal(client.get("/metrics"), 404, "not_found", None)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            assert b"clipworks_requests_total" in answer.read()
    with (
        pytest.raises(ConfigError, match="CLIPWORKS_METRICS_PORT"),
        socket.create_server(("127.0.0.1", port)),
    ):
        with Metrics().served_on(port):
            pass
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30)
