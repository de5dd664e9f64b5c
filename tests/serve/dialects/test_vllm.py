import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.serve.colours import ColourEngine, data_uri, picture, vectors_of

RED = picture("red")


def test_pooling_gives_vectors_under_the_name_data(client: TestClient, engine: ColourEngine) -> None:
    answer = client.post("/pooling", json={"model": "colours", "input": ["a", data_uri(RED)]}).json()
    assert [(row["object"], row["index"]) for row in answer["data"]] == [("pooling", 0), ("pooling", 1)]
    rows = np.asarray([row["data"] for row in answer["data"]], dtype=np.float32)
    np.testing.assert_array_equal(rows, vectors_of(engine, "a", RED))


def test_a_chat_gives_one_vector(client: TestClient, engine: ColourEngine) -> None:
    content = [{"type": "image_url", "image_url": {"url": data_uri(RED)}}]
    body = {"model": "colours", "messages": [{"role": "user", "content": content}]}
    (row,) = client.post("/v1/embeddings", json=body).json()["data"]
    np.testing.assert_array_equal(np.asarray([row["embedding"]], np.float32), vectors_of(engine, RED))


def test_a_classification_has_probabilities_in_the_order_of_the_labels(
    client: TestClient, engine: ColourEngine
) -> None:
    labels = ["blue", "red", "green"]
    body = {"model": "colours", "input": [data_uri(RED), data_uri(picture("green"))], "labels": labels}
    rows = client.post("/classify", json=body).json()["data"]
    assert [(row["index"], row["label"], row["num_classes"]) for row in rows] == [
        (0, "red", 3),
        (1, "green", 3),
    ]
    images = vectors_of(engine, RED, picture("green"))
    wanted = engine.probabilities(images @ engine.label_head(labels).T)
    np.testing.assert_allclose([row["probs"] for row in rows], wanted, atol=1e-6)
    assert [sum(row["probs"]) for row in rows] == pytest.approx([1, 1], abs=1e-5)
