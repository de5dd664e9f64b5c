"""Every route charges for what it embeds, and for nothing else."""

import base64
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.serve.colours import data_uri, picture
from tests.serve.dialects.conftest import Till

RED = data_uri(picture("red"))
RAW = base64.b64encode(picture("red")).decode()


@pytest.mark.parametrize(
    ("address", "body", "amounts"),
    [
        ("/v1/embeddings", {"input": ["a", RED, "b"]}, (1, 2)),
        ("/embeddings", {"input": [RED, {"image": "AAAA"}, "b"], "on_error": "null"}, (1, 1)),
        ("/v1/embeddings", {"input": [{"text": "a", "image": RED}], "fusion": "mean"}, (1, 1)),
        ("/pooling", {"messages": [{"role": "user", "content": "a"}]}, (0, 1)),
        ("/classify", {"input": [RED, RED], "labels": ["a", "b", "c"]}, (2, 3)),
        ("/v1/classify", {"input": RED, "labels": ["a", "b"], "templates": ["{}", "a {}"]}, (1, 4)),
        ("/score", {"queries": "a", "documents": [RED, "b"]}, (1, 2)),
        ("/v1/rerank", {"query": "a", "documents": [RED, "b"]}, (1, 2)),
        ("/v2/embed", {"images": [RED, RED]}, (2, 0)),
        ("/v1/multimodalembeddings", {"inputs": [{"content": ["a"]}]}, (0, 1)),
        ("/embed", {"inputs": ["a", "b"]}, (0, 2)),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b", "c"]}}, (0, 3)),
        ("/models/colours", {"inputs": RAW, "parameters": {"candidate_labels": ["a", "b"]}}, (1, 2)),
        ("/hf/colours/image-feature-extraction", {"inputs": [RAW, RAW]}, (2, 0)),
        ("/knn-service", {"image": RAW}, (1, 0)),
    ],
)
def test_what_is_embedded_is_charged(
    shop: TestClient, till: Till, address: str, body: Any, amounts: tuple[int, int]
) -> None:
    answer = shop.post(address, json=body)
    assert answer.status_code == 200, answer.text
    assert till.settled == [amounts]
    usage = answer.json()["usage"] if isinstance(answer.json(), dict) and "usage" in answer.json() else {}
    assert usage.get("cost_usd", sum(amounts)) == sum(amounts)


@pytest.mark.parametrize(
    ("address", "body"),
    [
        ("/v1/embeddings", {"input": {"image": "AAAA"}, "on_error": "null"}),
        ("/knn-service", {"embedding_input": [1, 0, 0, 0, 0, 0, 0, 0]}),
        ("/metadata", {"ids": ["red one.png"]}),
    ],
)
def test_what_embeds_nothing_is_free(shop: TestClient, till: Till, address: str, body: Any) -> None:
    assert shop.post(address, json=body).status_code == 200
    assert till.settled == []


def test_a_request_that_fails_is_free(shop: TestClient, till: Till) -> None:
    assert shop.post("/v2/embed", json={"images": [RED, "AAAA"]}).status_code == 400
    assert till.settled == []
