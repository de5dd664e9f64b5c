"""Three wrong requests for each route, and the words in which its family's clients hear of them."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from clipworks.serve.app import create_app
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ADDRESS, ColourEngine, data_uri, picture

RED = data_uri(picture("red"))
LONG = "/v1/multimodalembeddings"
HF = "/hf/colours/zero-shot-image-classification"
TWO = {"text": "a", "image": RED}

WRONG: list[tuple[str, Any, int, str]] = [
    ("/embeddings", {"input": ["a"] * 3000}, 400, "input has 3,000 items"),
    ("/embeddings", {"input": [[1, 2]]}, 400, "check_embedding_ctx_length=False"),
    ("/embeddings", {"input": [TWO]}, 400, "input[0] has 2 parts"),
    ("/embeddings", {"input": "a", "modalty": "text"}, 400, "modality"),
    ("/pooling", {"input": []}, 400, "input is an empty list"),
    ("/pooling", {}, 400, "'input' is missing"),
    ("/pooling", {"input": ["a", {"image": "https://a/b.png"}]}, 403, "input[1].image is an address"),
    ("/classify", {"input": RED}, 400, "'labels' is missing"),
    ("/classify", {"input": "no picture", "labels": ["a"]}, 400, "input must be a picture"),
    ("/classify", {"input": RED, "labels": ["a", " "]}, 400, "labels[1] is empty"),
    ("/score", {"queries": "a"}, 400, "'documents' is missing"),
    ("/score", {"queries": ["a", "b"], "documents": ["a", "b", "c"]}, 400, "2 queries and 3 documents"),
    ("/v1/score", {"queries": 7.5, "documents": ["a"]}, 400, "queries is 7.5"),
    ("/v1/score", {"queries": "a", "documents": []}, 400, "documents is an empty list"),
    ("/rerank", {"documents": ["a"]}, 400, "'query' is missing"),
    ("/rerank", {"query": "a", "documents": "b"}, 400, "documents is 'b'"),
    ("/v1/rerank", {"query": "a", "documents": []}, 400, "documents is an empty list"),
    ("/v1/rerank", {"query": "a", "documents": ["b", None]}, 400, "documents[1] is null"),
    ("/v1/rerank", {"query": "a", "documents": ["b"], "top_n": 0}, 400, "top_n is 0"),
    ("/v2/rerank", {"query": [1], "documents": ["b"]}, 400, "query is [1]"),
    ("/v2/rerank", {"query": "a", "documents": ["b"], "model": "no"}, 404, "'no' is not served"),
    ("/v2/rerank", {"query": "a", "documents": ["b"], "return_documents": "x"}, 400, "true or false"),
    ("/rerank", {"query": "a", "documents": ["a"] * 3000}, 400, "documents has 3,000 items"),
    ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["a"] * 3000}}, 422, "has 3,000 items"),
    ("/v1/embed", {"texts": ["a"] * 3000}, 400, "texts has 3,000 items"),
    ("/v1/embed", {}, 400, "neither texts nor images"),
    ("/v1/embed", {"texts": "a"}, 400, "texts must be a list"),
    ("/v1/embed", {"texts": ["a"], "truncate": "START"}, 400, "END or NONE"),
    ("/v2/embed", {"texts": ["a"], "images": [RED]}, 400, "images and texts"),
    ("/v2/embed", {"images": [RED, "AAAA"]}, 400, "images[1]"),
    ("/v2/embed", {"texts": ["a"], "embedding_types": ["half"]}, 400, "'half'"),
    ("/v2/embed", {"texts": ["a"], "output_dimension": 4}, 400, "matryoshka"),
    ("/v2/embed", {"inputs": [{"content": [{"type": "text", "text": "a"}, TWO]}]}, 400, "content[1]"),
    (LONG, {"inputs": [{"content": []}]}, 400, "inputs[0].content is an empty list"),
    (LONG, {"inputs": [{"content": [{"type": "video_url", "video_url": "x"}]}]}, 400, "inputs[0].content[0]"),
    (LONG, {"inputs": [{"content": ["a"]}], "output_dtype": "half"}, 400, "output_dtype"),
    ("/embed", {"inputs": []}, 422, "inputs is an empty list"),
    ("/embed", {"inputs": "a", "normalize": False}, 422, "unit length"),
    ("/embed", {"inputs": "a", "prompt_name": "query"}, 422, "named prompts"),
    ("/embed", {"inputs": "a", "truncation_direction": "Left"}, 422, "Right"),
    ("/embed", {"inputs": [[1, 2]]}, 422, "token ids"),
    ("/similarity", {"inputs": ["a"]}, 422, "must be an object"),
    ("/similarity", {"inputs": {"source_sentence": "a"}}, 422, "'sentences' is missing"),
    ("/similarity", {"inputs": {"source_sentence": "a", "sentences": [""]}}, 422, "sentences[0] is empty"),
    ("/models/colours", {}, 400, "'inputs' is missing"),
    ("/models/colours", {"inputs": "a", "parameters": 7}, 400, "parameters is 7"),
    ("/models/colour", {"inputs": "a"}, 404, "Nearest: colours"),
    (HF, {"inputs": "AAAA", "parameters": {"candidate_labels": ["a", "b"]}}, 400, "inputs"),
    (HF, {"inputs": RED}, 400, "'labels' is missing"),
    (
        HF,
        {"inputs": RED, "parameters": {"candidate_labels": ["a"], "hypothesis_template": "no place"}},
        400,
        "templates[0]",
    ),
    ("/hf/colours/translation", {"inputs": "a"}, 404, "Nearest:"),
    ("/knn-service", {}, 400, "one of 'text'"),
    ("/knn-service", {"text": "a", "image": "AAAA"}, 400, "one of 'text'"),
    ("/knn-service", {"text": "a", "modality": "text"}, 400, "none of texts"),
    ("/knn-service", {"text": "a", "indice_name": "laion5B"}, 400, "'laion5B'"),
    ("/knn-service", {"image_url": "https://a/b.png"}, 403, "image_url is an address"),
    ("/knn-service", {"embedding_input": [1, 2]}, 400, "8 numbers"),
    ("/knn-service", {"embedding_input": [1e300] * 8}, 400, "8 numbers"),
    ("/knn-service", {"embedding_input": [0] * 8}, 400, "length 0"),
    ("/knn-service", {"text": "a", "num_images": 0}, 400, "num_images is 0"),
    ("/metadata", {}, 400, "'ids' is missing"),
    ("/metadata", {"ids": [7]}, 404, "ids[0] is 7"),
    ("/metadata", {"ids": ["../secret.txt"]}, 404, "ids[0]"),
]


def message_of(address: str, status: int, body: dict[str, Any]) -> str:
    """The error's words, found where the family's clients look for them."""
    if address in ("/v1/embed", "/v2/embed", "/v2/rerank", "/knn-service", "/metadata"):
        assert body["id"] and body["code"]
        return str(body["message"])
    if address.startswith(("/embed", "/similarity", "/models/", "/hf/")) and address != "/embeddings":
        assert body["error_type"] == {403: "Permission", 404: "NotFound"}.get(status, "Validation")
        return str(body["error"])
    if address in ("/embeddings", LONG, "/rerank", "/v1/rerank"):
        assert body["detail"] == body["error"]["message"]
    assert body["error"]["code"] and body["error"]["type"]
    return str(body["error"]["message"])


@pytest.mark.parametrize(("address", "fields", "status", "words"), WRONG)
def test_a_wrong_request_is_refused_in_the_familys_words(
    shared_client: TestClient, address: str, fields: Any, status: int, words: str
) -> None:
    names_model = not address.startswith(("/models/", "/hf/", "/knn-service", "/metadata"))
    body = {"model": "colours", **fields} if names_model else fields
    answer = shared_client.post(address, json=body)
    assert answer.status_code == status, answer.text
    assert words in message_of(address, status, answer.json())
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(("address", "key"), [("/v2/embed", "message"), ("/embed", "error")])
def test_a_failure_of_ours_has_the_familys_shape_too(
    client: TestClient, engine: ColourEngine, address: str, key: str
) -> None:
    engine.failure = RuntimeError("secret inside")
    field = "texts" if address == "/v2/embed" else "inputs"
    answer = client.post(address, json={"model": "colours", field: ["a"]})
    assert answer.status_code == 500 and "request id" in answer.json()[key] and "secret" not in answer.text


def test_without_a_gallery_clip_retrieval_finds_no_index(settings: ServeSettings) -> None:
    app = create_app(settings, {"colours": ColourEngine()})  # type: ignore[dict-item]
    with TestClient(app, base_url=ADDRESS) as client:
        assert client.get("/indices-list").json() == []
        refused = client.post("/knn-service", json={"text": "a"})
        assert refused.status_code == 404 and refused.json()["code"] == "no_gallery"
