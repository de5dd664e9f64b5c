import base64
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from clipworks.serve.outputs import to_dtype
from tests.serve.colours import ColourEngine, data_uri, picture, vectors_of

RED = picture("red")


def test_pictures_give_vectors_of_every_type(client: TestClient, engine: ColourEngine) -> None:
    types = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
    body = {"model": "colours", "input_type": "image", "images": [data_uri(RED)], "embedding_types": types}
    answer = client.post("/v2/embed", json=body).json()
    wanted = vectors_of(engine, RED)
    assert list(answer["embeddings"]) == types
    np.testing.assert_array_equal(np.asarray(answer["embeddings"]["float"], np.float32), wanted)
    for name in ("int8", "uint8", "binary", "ubinary"):
        np.testing.assert_array_equal(answer["embeddings"][name], to_dtype(wanted, name))
    (text,) = answer["embeddings"]["base64"]
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(text), "<f4"), wanted[0])
    assert answer["meta"] == {"api_version": {"version": "2"}, "billed_units": {"images": 1}}
    assert answer["texts"] == [] and answer["id"]


def test_inputs_mix_texts_and_pictures(client: TestClient, engine: ColourEngine) -> None:
    image = {"type": "image_url", "image_url": {"url": data_uri(RED)}}
    inputs = [{"content": [{"type": "text", "text": "a dog"}]}, {"content": [image]}]
    body = {"model": "colours", "input_type": "search_document", "inputs": inputs}
    answer = client.post("/v2/embed", json=body).json()
    rows = np.asarray(answer["embeddings"]["float"], dtype=np.float32)
    np.testing.assert_array_equal(rows, vectors_of(engine, "a dog", RED))
    assert answer["meta"]["billed_units"] == {"images": 1, "input_tokens": 2}


def test_a_text_that_looks_like_a_picture_stays_a_text_among_texts(
    client: TestClient, engine: ColourEngine
) -> None:
    texts = [data_uri(RED), "https://example.org/a.png"]
    answer = client.post("/v2/embed", json={"model": "colours", "texts": texts}).json()
    rows = np.asarray(answer["embeddings"]["float"], dtype=np.float32)
    np.testing.assert_array_equal(rows, vectors_of(engine, *texts))
    assert answer["texts"] == texts


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"texts": ["a"]}, "embeddings_floats"),
        ({"texts": ["a"], "embedding_types": ["float"]}, "embeddings_by_type"),
        ({"images": [data_uri(RED)]}, "embeddings_by_type"),
    ],
)
def test_version_1_gives_a_bare_list_for_texts_only(client: TestClient, fields: Any, kind: str) -> None:
    answer = client.post("/v1/embed", json={"model": "colours", **fields}).json()
    assert answer["response_type"] == kind and answer["meta"]["api_version"]["version"] == "1"
    assert isinstance(answer["embeddings"], list if kind == "embeddings_floats" else dict)


def test_a_long_text_is_refused_only_where_nothing_may_be_cut(client: TestClient) -> None:
    body = {"model": "colours", "texts": ["many words " * 50]}
    assert client.post("/v2/embed", json={**body, "truncate": "END"}).status_code == 200
    refused = client.post("/v2/embed", json={**body, "truncate": "NONE"})
    assert refused.status_code == 400 and "100 tokens" in refused.json()["message"]


def test_an_uploaded_file_is_taken(client: TestClient) -> None:
    answer = client.post("/v2/embed", data={"model": "colours"}, files={"file": ("a.png", RED)})
    assert len(answer.json()["embeddings"]["float"]) == 1
