from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.serve.colours import ColourEngine, data_uri, picture, vectors_of

RED, BLUE = picture("red"), picture("blue")
DOCUMENTS: list[Any] = [
    "something blue",
    {"image": data_uri(RED)},
    {"text": "a green thing"},
    data_uri(BLUE),
    {"content": [{"type": "text", "text": "red"}]},
]


def cosines(engine: ColourEngine) -> Any:
    query, *rows = vectors_of(engine, "a red dog", "something blue", RED, "a green thing", BLUE, "red")
    return np.stack(rows) @ query


@pytest.mark.parametrize("address", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_documents_are_sorted_by_their_cosine_with_the_query(
    client: TestClient, engine: ColourEngine, address: str
) -> None:
    body = {"model": "colours", "query": "a red dog", "documents": DOCUMENTS}
    answer = client.post(address, json=body).json()
    wanted = cosines(engine)
    order = [row["index"] for row in answer["results"]]
    assert order == np.argsort(-wanted, kind="stable").tolist()
    np.testing.assert_allclose(
        [row["relevance_score"] for row in answer["results"]], wanted[order], atol=1e-6
    )
    documents = {row["index"]: row.get("document") for row in answer["results"]}
    assert documents == {
        0: {"text": "something blue"},
        1: None,  # pictures are not sent back
        2: {"text": "a green thing"},
        3: None,
        4: {"text": "red"},
    }
    assert answer["usage"]["images"] == 2 and answer["model"] == "colours"
    assert answer["meta"]["billed_units"]["images"] == 2


def test_the_best_few_are_enough_and_documents_may_be_left_out(client: TestClient) -> None:
    body = {"model": "colours", "query": "a red dog", "documents": DOCUMENTS, "top_n": 2}
    rows = client.post("/rerank", json={**body, "return_documents": False}).json()["results"]
    assert [row.keys() for row in rows] == [{"index", "relevance_score"}] * 2


def test_a_picture_can_be_the_query(client: TestClient) -> None:
    body = {"model": "colours", "query": {"image": data_uri(BLUE)}, "documents": DOCUMENTS}
    assert client.post("/v1/rerank", json=body).json()["results"][0]["index"] in (0, 3)


def test_uploaded_pictures_are_the_documents(client: TestClient) -> None:
    files = [("file", ("a.png", RED)), ("file", ("b.png", BLUE))]
    answer = client.post("/v1/rerank", data={"model": "colours", "query": "blue"}, files=files)
    assert [row["index"] for row in answer.json()["results"]] == [1, 0]


@pytest.mark.parametrize("names", [("queries", "documents"), ("text_1", "text_2"), ("data_1", "data_2")])
@pytest.mark.parametrize("address", ["/score", "/v1/score"])
def test_a_score_is_the_cosine_of_a_pair(
    client: TestClient, engine: ColourEngine, address: str, names: tuple[str, str]
) -> None:
    left, right = names
    body = {"model": "colours", left: "a red dog", right: DOCUMENTS}
    answer = client.post(address, json=body).json()
    assert [(row["index"], row["object"]) for row in answer["data"]] == [(i, "score") for i in range(5)]
    np.testing.assert_allclose([row["score"] for row in answer["data"]], cosines(engine), atol=1e-6)


def test_as_many_queries_as_documents_are_pairs(client: TestClient) -> None:
    body = {"model": "colours", "queries": ["red", "blue"], "documents": ["red", "red"]}
    same, other = (row["score"] for row in client.post("/score", json=body).json()["data"])
    assert same == pytest.approx(1, abs=1e-6) and other < 0.9


def test_each_part_of_a_content_is_a_document(client: TestClient) -> None:
    parts = [{"type": "image_url", "image_url": {"url": data_uri(data)}} for data in (RED, BLUE)]
    body = {"model": "colours", "queries": "blue", "documents": {"content": parts}}
    first, second = (row["score"] for row in client.post("/score", json=body).json()["data"])
    assert first < second and second > 0.99
