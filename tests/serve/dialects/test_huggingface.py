"""The Inference API of Hugging Face and its Text Embeddings Inference, which share their vectors."""

import base64
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from clipworks.serve.app import create_service_app
from clipworks.serve.dialects.huggingface import DEFAULT_TEMPLATE
from clipworks.serve.fleet import Fleet
from clipworks.serve.roster import ModelSpec
from clipworks.serve.service import Service
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ADDRESS, ColourEngine, data_uri, picture, vectors_of
from tests.serve.workers import HeldWorker

RED = picture("red")
RAW = base64.b64encode(RED).decode()
LABELS = ["blue", "red", "green"]
CLASSIFY = "/hf/team/other/zero-shot-image-classification"


def probabilities(templates: list[str]) -> dict[str, float]:
    engine = ColourEngine("other")
    head = engine.label_head(LABELS, templates)
    return dict(zip(LABELS, engine.probabilities(vectors_of(engine, RED) @ head.T)[0].tolist(), strict=True))


@pytest.mark.parametrize("address", ["/models/team/other", "/models/team%2Fother", CLASSIFY])
@pytest.mark.parametrize("template", [None, "only {}"])
def test_labels_are_ranked_by_probability(client: TestClient, address: str, template: str | None) -> None:
    parameters: dict[str, Any] = {"candidate_labels": LABELS, "hypothesis_template": template}
    rows = client.post(address, json={"inputs": RAW, "parameters": parameters}).json()
    wanted = probabilities([template or DEFAULT_TEMPLATE])
    assert rows[0]["label"] == "red"
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert {row["label"]: row["score"] for row in rows} == pytest.approx(wanted, abs=1e-6)


def test_raw_bytes_of_no_type_are_a_picture(client: TestClient) -> None:
    none = {"content-type": ""}
    rows = client.post(f"{CLASSIFY}?labels=blue,red,green", content=RED, headers=none).json()
    assert {row["label"]: row["score"] for row in rows} == pytest.approx(
        probabilities([DEFAULT_TEMPLATE]), abs=1e-6
    )
    vector = client.post("/models/team/other", content=RED, headers=none).json()
    np.testing.assert_array_equal(np.asarray(vector, np.float32), vectors_of(ColourEngine(), RED))


def test_several_pictures_give_a_list_each(client: TestClient) -> None:
    body = {"inputs": [RAW, RAW], "parameters": {"candidate_labels": "blue, red"}}
    rows = client.post(CLASSIFY, json=body).json()
    assert [[row["label"] for row in one] for one in rows] == [["red", "blue"]] * 2


@pytest.mark.parametrize(
    "address",
    ["/embed", "/models/colours", "/hf/colours/feature-extraction", "/hf/colours/image-feature-extraction"],
)
def test_features_are_a_bare_list_of_vectors(client: TestClient, engine: ColourEngine, address: str) -> None:
    named = {"model": "colours"} if address == "/embed" else {}
    items: list[Any] = [data_uri(RED)] if "image" in address else ["a red dog", "b", data_uri(RED)]
    wanted = vectors_of(engine, *(RED if item.startswith("data:") else item for item in items))
    options = {"normalize": True, "truncate": True, "truncation_direction": "Right", "prompt_name": None}
    rows = client.post(address, json={"inputs": items, **options, **named}).json()
    np.testing.assert_array_equal(np.asarray(rows, dtype=np.float32), wanted)
    single = client.post(address, json={"inputs": items[0], **named}).json()
    assert single == rows[:1]


def test_plain_base64_is_a_picture_where_pictures_are_meant(client: TestClient, engine: ColourEngine) -> None:
    rows = client.post("/hf/colours/image-feature-extraction", json={"inputs": RAW}).json()
    np.testing.assert_array_equal(np.asarray(rows, dtype=np.float32), vectors_of(engine, RED))


@pytest.mark.parametrize("address", ["/similarity", "/models/colours", "/hf/colours/sentence-similarity"])
def test_sentences_are_compared_with_their_source(
    client: TestClient, engine: ColourEngine, address: str
) -> None:
    inputs = {"source_sentence": "a red dog", "sentences": ["red", "blue"]}
    named = {"model": "colours"} if address == "/similarity" else {}
    source, *others = vectors_of(engine, "a red dog", "red", "blue")
    answer = client.post(address, json={"inputs": inputs, **named}).json()
    np.testing.assert_allclose(answer, np.stack(others) @ source, atol=1e-6)


def test_a_long_text_is_cut_unless_that_is_forbidden(client: TestClient) -> None:
    body = {"model": "colours", "inputs": "many words " * 50}
    assert client.post("/embed", json=body).status_code == 200
    refused = client.post("/embed", json={**body, "truncate": False})
    assert refused.status_code == 422 and "100 tokens" in refused.json()["error"]


def test_the_limits_of_the_server_can_be_asked(client: TestClient, engine: ColourEngine) -> None:
    known = client.get("/info?model=colours").json()
    assert (known["model_id"], known["model_sha"]) == ("colours", engine.fingerprint)
    assert (known["max_client_batch_size"], known["max_input_length"]) == (100, 77)
    refused = client.get("/info")
    assert refused.status_code == 422 and "'model' is missing" in refused.json()["error"]


def test_asking_about_a_model_loads_it_within_the_time_of_a_request(engine: ColourEngine) -> None:
    worker = HeldWorker(engine)
    worker.may_load.clear()
    settings = ServeSettings(request_seconds=0.2)
    fleet = Fleet(settings, [ModelSpec(id="colours", preload=False)], lambda spec: worker)
    with TestClient(create_service_app(Service(settings, fleet, None)), base_url=ADDRESS) as client:
        refused = client.get("/info")
        assert refused.status_code == 503 and refused.headers["retry-after"]
        assert refused.json() == {
            "error": "The model colours is being loaded. Try again later.",
            "error_type": "Unhealthy",
        }
        worker.may_load.set()
        while (answer := client.get("/info")).status_code == 503:
            pass
        assert answer.json()["model_sha"] == engine.fingerprint
