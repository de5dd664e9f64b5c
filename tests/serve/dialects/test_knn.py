import base64
import json
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.serve.colours import ColourEngine, picture, vectors_of

ALL_FIELDS = {
    "text": None,
    "image": None,
    "image_url": None,
    "embedding_input": None,
    "deduplicate": True,
    "use_safety_model": True,
    "use_violence_detector": True,
    "indice_name": "gallery",
    "use_mclip": False,
    "aesthetic_score": 9,
    "aesthetic_weight": 0.5,
    "modality": "image",
    "num_images": 2,
    "num_result_ids": 2,
}
"""What clip-retrieval's client sends."""


@pytest.mark.parametrize("field", ["text", "image", "embedding_input"])
def test_a_search_as_the_client_sends_it(client: TestClient, engine: ColourEngine, field: str) -> None:
    query: dict[str, Any] = {
        "text": "something red",
        "image": base64.b64encode(picture("red")).decode(),
        "embedding_input": (7 * vectors_of(engine, "red")[0]).tolist(),
    }
    body = json.dumps({**ALL_FIELDS, field: query[field]})
    rows = client.post("/knn-service", content=body, headers={"content-type": ""}).json()
    assert len(rows) == 2 and rows[0]["similarity"] > 0.99 > rows[1]["similarity"]
    assert (rows[0]["id"], rows[0]["caption"]) == ("red one.png", "a red square")
    assert client.get(rows[0]["url"]).content == picture("red")
    wanted = vectors_of(engine, "red", picture("red"))
    assert rows[0]["similarity"] == pytest.approx(float(np.dot(*wanted)), abs=1e-5)


def test_a_picture_may_be_uploaded(client: TestClient) -> None:
    rows = client.post("/knn-service", files={"image": ("a.png", picture("blue"))}).json()
    assert rows[0]["id"] == "blue one.png" and len(rows) == 4


def test_metadata_is_found_by_id(client: TestClient) -> None:
    rows = client.post("/metadata", json={"ids": ["red one.png"], "indice_name": "gallery"}).json()
    assert rows[0]["id"] == "red one.png"
    assert rows[0]["metadata"] == {
        "url": "/gallery/red%20one.png",
        "caption": "a red square",
        "licence": "CC0-1.0",
        "author": "A & B",
        "source": "https://example.org/?a=1&b=2",
    }


def test_more_ids_than_a_search_gives_are_refused(client: TestClient) -> None:
    refused = client.post("/metadata", json={"ids": ["red one.png"] * 3001})
    assert refused.status_code == 400 and refused.json()["code"] == "too_many_inputs"
    assert "ids has 3,001 items; at most 3,000" in refused.json()["message"]


def test_the_one_index_is_listed(client: TestClient) -> None:
    assert client.get("/indices-list").json() == ["gallery"]
