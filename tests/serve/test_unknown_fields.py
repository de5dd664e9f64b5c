"""A field that does not exist is refused wherever it stands, on every route, with the nearest names."""

import time
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from clipworks.serve.keys import KeyTerms
from clipworks.serve.problems import nearest
from tests.serve.cluster import new_sqlite
from tests.serve.colours import data_uri, picture
from tests.serve.paying import bearer, new_key, paid_server

RED = data_uri(picture("red"))
SENTENCES = {"source_sentence": "a", "sentences": ["b"]}

BODIES: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"model": "colours", "input": "a"},
    "/embeddings": {"model": "colours", "input": "a"},
    "/pooling": {"model": "colours", "input": "a"},
    "/v1/classify": {"model": "colours", "input": RED, "labels": ["a"]},
    "/classify": {"model": "colours", "input": RED, "labels": ["a"]},
    "/v1/similarity": {"model": "colours", "images": [RED], "texts": ["a"]},
    "/v1/search": {"text": "red"},
    "/score": {"model": "colours", "queries": "a", "documents": ["b"]},
    "/v1/score": {"model": "colours", "queries": "a", "documents": ["b"]},
    "/rerank": {"model": "colours", "query": "a", "documents": ["b"]},
    "/v1/rerank": {"model": "colours", "query": "a", "documents": ["b"]},
    "/v2/rerank": {"model": "colours", "query": "a", "documents": ["b"]},
    "/v1/embed": {"model": "colours", "texts": ["a"]},
    "/v2/embed": {"model": "colours", "texts": ["a"]},
    "/v1/multimodalembeddings": {"model": "colours", "inputs": [{"content": ["a"]}]},
    "/embed": {"model": "colours", "inputs": "a"},
    "/similarity": {"model": "colours", "inputs": SENTENCES},
    "/models/{model:path}": {"inputs": "a"},
    "/hf/{model:path}/{task}": {"inputs": "a"},
    "/knn-service": {"text": "red"},
    "/metadata": {"ids": ["red one.png"]},
    "/v1/heatmap": {"model": "colours", "image": RED, "text": "a"},
    "/playground": {"model": "colours", "file": RED, "label": "a"},
    "/": {},
}
"""Route -> a body that it takes."""

INSIDE: list[tuple[str, Any, str]] = [
    ("/v1/embeddings", {"input": [{"text": "a", "txt": "b"}]}, "input[0]"),
    ("/v1/embeddings", {"input": [{"image": RED, "labels": ["b"]}]}, "input[0]"),
    ("/v1/embeddings", {"input": [{"image_url": {"url": RED, "size": 5}}]}, "input[0].image_url"),
    ("/v1/embeddings", {"messages": [{"role": "user", "content": "a", "colour": 1}]}, "messages[0]"),
    ("/v1/embeddings", {"messages": [{"content": [{"text": "a", "x": 1}]}]}, "messages[0].content[0]"),
    ("/v1/classify", {"input": [{"image": RED, "tag": 1}], "labels": ["a"]}, "input[0]"),
    ("/v1/similarity", {"images": [{"image": RED, "tag": 1}], "texts": ["a"]}, "images[0]"),
    ("/v2/embed", {"inputs": [{"content": [{"type": "text", "text": "a", "b": 1}]}]}, "inputs[0].content[0]"),
    ("/v1/rerank", {"query": {"text": "a", "b": 1}, "documents": ["a"]}, "query"),
    ("/similarity", {"inputs": {**SENTENCES, "sentence": "c"}}, "inputs"),
    ("/models/colours", {"inputs": "a", "parameters": {"normalise": True}}, "parameters"),
    ("/models/colours", {"inputs": "a", "options": {"wait": True}}, "options"),
    ("/hf/colours/feature-extraction", {"inputs": "a", "parameters": {"top_k": 5}}, "parameters"),
]


@pytest.mark.parametrize("path", BODIES)
def test_every_route_refuses_a_field_that_it_does_not_have(shared_client: TestClient, path: str) -> None:
    address = path.replace("{model:path}", "colours").replace("{task}", "feature-extraction")
    body = BODIES[path]
    if path != "/":
        taken = shared_client.post(address, json=body)
        assert taken.status_code == 200, taken.text
    refused = shared_client.post(address, json={**body, "colour": 1})
    assert refused.status_code in (400, 422) and "no field 'colour'" in unescape(refused.text), refused.text


@pytest.mark.parametrize(("address", "body", "place"), INSIDE)
def test_an_object_inside_a_request_is_read_as_strictly(
    shared_client: TestClient, address: str, body: dict[str, Any], place: str
) -> None:
    named = {} if address.startswith(("/models/", "/hf/")) else {"model": "colours"}
    refused = shared_client.post(address, json={**named, **body})
    assert refused.status_code in (400, 422), refused.text
    assert f"in {place}. Nearest: " in refused.text, refused.text


def test_options_of_hugging_face_count_wherever_they_stand(shared_client: TestClient) -> None:
    body = {"inputs": "a", "options": {"wait_for_model": True}, "parameters": {"truncate": True}}
    assert shared_client.post("/models/colours", json=body).status_code == 200
    refused = shared_client.post("/models/colours", json={"inputs": "a", "parameters": {"normalize": False}})
    assert refused.status_code == 400 and "unit length" in refused.text


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, dict[str, str]]]:
    with paid_server(new_sqlite(tmp_path_factory.mktemp("office"))) as (client, database):
        terms = KeyTerms(name="boss", scopes=("admin", "usage"))
        yield client, bearer(new_key(database, "boss", terms=terms)[1])


@pytest.mark.parametrize(
    "path", ["accounts", "accounts/boss/grants", "accounts/boss/adjustments", "keys", "keys/boss/rotate"]
)
def test_routes_of_an_administrator_refuse_it_too(
    office: tuple[TestClient, dict[str, str]], path: str
) -> None:
    refused = office[0].post(f"/v1/admin/{path}", json={"colour": 1}, headers=office[1])
    assert refused.status_code == 400 and "no field 'colour'" in refused.text
    refused = office[0].get("/v1/usage?colour=1", headers=office[1])
    assert refused.status_code == 400 and "no parameter 'colour'" in refused.text


def test_what_is_known_of_a_model_is_asked_for_by_its_name_only(shared_client: TestClient) -> None:
    refused = shared_client.get("/info?modle=colours")
    assert refused.status_code == 422 and "Nearest: model" in refused.text


def test_no_route_that_takes_a_body_is_forgotten(shared_client: TestClient) -> None:
    app: Any = shared_client.app
    posted = {
        route.path for route in app.routes if isinstance(route, Route) and "POST" in (route.methods or ())
    }
    assert {path for path in posted if not path.startswith("/v1/admin/")} == set(BODIES)


def test_a_name_of_any_length_is_compared_at_once() -> None:
    """The event loop compares: nobody else is answered meanwhile."""
    started = time.process_time()
    assert nearest("images" * 300_000, ["images", "labels"]) == "Nearest: images, labels."
    assert time.process_time() - started < 0.2
