import base64

import numpy as np
from starlette.testclient import TestClient

from clipworks.serve.outputs import to_dtype
from tests.serve.colours import ColourEngine, data_uri, picture, vectors_of

ADDRESS = "/v1/multimodalembeddings"
WEBP = picture("red", "WEBP")
INPUTS = [
    {"content": [{"type": "image_base64", "image_base64": data_uri(WEBP, "image/webp")}]},
    {"content": [{"type": "text", "text": "a red dog"}]},
    {"content": [{"type": "image_url", "image_url": data_uri(picture("blue"))}]},
]


def test_each_input_of_one_part_gives_its_vector(client: TestClient, engine: ColourEngine) -> None:
    body = {"model": "colours", "inputs": INPUTS, "truncation": True, "input_type": None}
    answer = client.post(ADDRESS, json=body).json()
    rows = np.asarray([row["embedding"] for row in answer["data"]], dtype=np.float32)
    np.testing.assert_array_equal(rows, vectors_of(engine, WEBP, "a red dog", picture("blue")))
    assert answer["usage"]["text_tokens"] == answer["usage"]["total_tokens"] == 3
    assert answer["usage"]["image_pixels"] == 2 * 8 * 8


def test_numbers_of_fewer_bits_come_as_base64_too(client: TestClient, engine: ColourEngine) -> None:
    wanted = vectors_of(engine, WEBP, "a red dog", picture("blue"))
    for dtype, kind in (("float", "<f4"), ("int8", "i1"), ("ubinary", "u1")):
        body = {"model": "colours", "inputs": INPUTS, "output_dtype": dtype, "encoding_format": "base64"}
        rows = [row["embedding"] for row in client.post(ADDRESS, json=body).json()["data"]]
        numbers = [np.frombuffer(base64.b64decode(row), kind) for row in rows]
        np.testing.assert_array_equal(np.stack(numbers), to_dtype(wanted, dtype))


def test_a_text_with_a_picture_needs_fusion(client: TestClient, engine: ColourEngine) -> None:
    both = [{"content": INPUTS[0]["content"] + INPUTS[1]["content"]}]
    refused = client.post(ADDRESS, json={"model": "colours", "inputs": both})
    assert refused.status_code == 400 and '"fusion": "mean"' in refused.json()["detail"]
    answer = client.post(ADDRESS, json={"model": "colours", "inputs": both, "fusion": "mean"}).json()
    mean = vectors_of(engine, WEBP, "a red dog").sum(axis=0)
    np.testing.assert_allclose(answer["data"][0]["embedding"], mean / np.linalg.norm(mean), atol=1e-6)
