"""A refusal has the shape that the address's clients read, whoever refuses."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from clipworks.serve.app import create_app
from clipworks.serve.database import Database
from clipworks.serve.keys import KeyTerms
from clipworks.serve.settings import ServeSettings
from clipworks.serve.shapes import SHAPE_BY_PATH, error_body, shape_of
from tests.serve.cluster import new_sqlite
from tests.serve.colours import ADDRESS, ColourEngine
from tests.serve.paying import bearer, new_key, paid_server

FAMILIES = {
    "/v1/embeddings": "detail",
    "/v1/classify": "openai",
    "/pooling": "openai",
    "/v1/rerank": "detail",
    "/v2/rerank": "message",
    "/v2/embed": "message",
    "/v1/multimodalembeddings": "detail",
    "/embed": "tei",
    "/similarity": "tei",
    "/models/team/other": "huggingface",
    "/hf/colours/feature-extraction": "huggingface",
    "/knn-service": "message",
    "/v1/admin/keys": "openai",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, Database]]:
    place = tmp_path_factory.mktemp("shapes")
    with paid_server(new_sqlite(place), max_body_bytes=1000, max_image_bytes=900) as server:
        yield server


def read(path: str, body: dict[str, Any]) -> tuple[str, str]:
    """The message and the kind of a refusal, found where the address's clients look for them."""
    shape = FAMILIES[path]
    if shape == "message":
        assert set(body) == {"message", "id", "code", "param"} and body["id"]
        return body["message"], body["code"]
    if shape in ("tei", "huggingface"):
        assert set(body) == {"error", "error_type"}
        return body["error"], body["error_type"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert set(body) == ({"error", "detail"} if shape == "detail" else {"error"})
    assert body.get("detail", body["error"]["message"]) == body["error"]["message"]
    return body["error"]["message"], body["error"]["type"]


@pytest.mark.parametrize("path", FAMILIES)
def test_whoever_is_not_let_in_reads_it_in_the_words_of_the_family(
    served: tuple[TestClient, Database], path: str
) -> None:
    client, database = served
    answer = client.post(path, json={"model": "colours"})
    message, kind = read(path, answer.json())
    assert answer.status_code == 401 and "asks for a key" in message
    assert kind in ("Authentication", "authentication_error", "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    _, looker = new_key(database, terms=KeyTerms(name="a", scopes=("usage",)))
    answer = client.post(path, json={}, headers=bearer(looker))
    message, kind = read(path, answer.json())
    assert answer.status_code == 403 and "has no scope" in message
    assert kind in ("Permission", "permission_error", "scope_not_allowed")
    _, slow = new_key(
        database, terms=KeyTerms(name="b", scopes=("inference", "admin"), requests_per_minute=1)
    )
    client.post(path, json={}, headers=bearer(slow))
    answer = client.post(path, json={}, headers=bearer(slow))
    message, kind = read(path, answer.json())
    assert answer.status_code == 429 and "1 requests in a minute" in message and answer.headers["retry-after"]
    assert kind in ("Overloaded", "rate_limit_error", "rate_limit_exceeded")


@pytest.mark.parametrize("path", FAMILIES)
def test_a_body_that_is_too_large_and_a_wrong_method_are_told_in_the_same_words(
    served: tuple[TestClient, Database], path: str
) -> None:
    client, database = served
    _, secret = new_key(database, terms=KeyTerms(name="c", scopes=("inference", "admin")))
    answer = client.post(path, json={"model": "x" * 1000}, headers=bearer(secret))
    message, _ = read(path, answer.json())
    assert answer.status_code == 413 and "larger than 1,000 bytes" in message
    answer = client.put(path, headers=bearer(secret))
    assert answer.status_code == 405 and "takes" in read(path, answer.json())[0]


def test_a_host_that_is_not_ours_is_refused_in_the_same_words() -> None:
    app = create_app(ServeSettings(), {"colours": ColourEngine()})  # type: ignore[dict-item]
    with TestClient(app, base_url=ADDRESS) as client:
        for path in FAMILIES:
            answer = client.post(path, json={}, headers={"host": "evil.example.org"})
            message, _ = read(path, answer.json())
            assert answer.status_code == 403 and "not called" in message


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (400, "Validation"),
        (401, "Authentication"),
        (402, "Credit"),
        (403, "Permission"),
        (404, "NotFound"),
        (408, "Timeout"),
        (413, "Validation"),
        (422, "Validation"),
        (429, "Overloaded"),
        (500, "Backend"),
        (503, "Unhealthy"),
        (504, "Timeout"),
    ],
)
def test_hugging_face_is_told_what_kind_of_error_it_is(status: int, word: str) -> None:
    body = error_body("huggingface", message="m", status=status, code="c", param=None, request_id="r")
    assert body == {"error": "m", "error_type": word}


def test_each_address_with_a_shape_of_its_own_is_a_route() -> None:
    app = create_app(ServeSettings(), {"colours": ColourEngine()})  # type: ignore[dict-item]
    paths = {route.path for route in app.routes if isinstance(route, Route)}
    assert set(SHAPE_BY_PATH) <= paths
    assert {shape_of(path) for path in paths} == {"openai", "detail", "message", "tei", "huggingface"}
