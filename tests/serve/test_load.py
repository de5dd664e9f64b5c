"""Under load every answer equals the answer to the same request alone, whatever else is asked meanwhile."""

import base64
import io
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tiny_clip import TinyClip

from clipworks.model.engine import Engine
from clipworks.model.loading import load
from clipworks.serve.app import create_app
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ADDRESS, ColourEngine, data_uri

WORDS = "red green blue black fox boat mountain of with and the very long short old sailing".split()


@pytest.fixture(scope="module")
def real_engine(tiny_clip: TinyClip) -> Engine:
    return load(tiny_clip.native, precision="f32")


@pytest.fixture(params=["colours", "tiny CLIP"])
def client(request: pytest.FixtureRequest) -> Iterator[TestClient]:
    engine: Any = ColourEngine() if request.param == "colours" else request.getfixturevalue("real_engine")
    other: Any = ColourEngine("other")
    settings = ServeSettings(image_batch=5, text_batch=7, max_text_queue=2048)
    with TestClient(create_app(settings, {"model": engine, "other": other}), base_url=ADDRESS) as client:
        yield client


def noise(rng: random.Random) -> bytes:
    pixels = np.frombuffer(rng.randbytes(10 * 14 * 3), dtype=np.uint8).reshape(10, 14, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, rng.choice(["PNG", "WEBP", "BMP"]), lossless=True)
    return file.getvalue()


def text(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.choice([1, 3, 10, 60])))


def a_request(rng: random.Random) -> tuple[str, dict[str, Any]]:
    model = rng.choice(["model", "model", "other"])
    kind = rng.choice(["embeddings", "embeddings", "classify", "similarity"])
    pictures = [data_uri(noise(rng)) for _ in range(rng.choice([1, 2, 6]))]
    texts = [text(rng) for _ in range(rng.choice([1, 2, 9]))]
    if kind == "classify":
        return "/v1/classify", {"model": model, "input": pictures, "labels": sorted(set(texts))}
    if kind == "similarity":
        return "/v1/similarity", {"model": model, "images": pictures, "texts": texts}
    items = [*pictures, *texts]
    rng.shuffle(items)
    return "/v1/embeddings", {"model": model, "input": items, "encoding_format": "base64"}


def numbers(answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    rows = answer.json()["data"]
    if "embedding" in rows[0]:
        return [np.frombuffer(base64.b64decode(row["embedding"]), dtype="<f4") for row in rows]
    if "scores" in rows[0]:
        return [row["scores"] for row in rows]
    return [[label["score"] for label in sorted(row["labels"], key=lambda one: one["label"])] for row in rows]


@pytest.mark.slow
def test_answers_under_load_equal_answers_alone(client: TestClient) -> None:
    rng = random.Random(7)
    requests = [a_request(rng) for _ in range(24)]
    alone = [numbers(client.post(address, json=body)) for address, body in requests]
    order = rng.sample(range(len(requests)), len(requests))
    with ThreadPoolExecutor(12) as pool:
        together = pool.map(lambda i: numbers(client.post(requests[i][0], json=requests[i][1])), order)
        for place, result in zip(order, together, strict=True):
            np.testing.assert_allclose(np.asarray(result), np.asarray(alone[place]), atol=1e-5)


def test_a_batch_equals_its_items_one_by_one(client: TestClient) -> None:
    rng = random.Random(8)
    items = [data_uri(noise(rng)) for _ in range(8)] + [text(rng) for _ in range(10)]
    rng.shuffle(items)
    ask = {"model": "model", "encoding_format": "base64"}
    together = numbers(client.post("/v1/embeddings", json={**ask, "input": items}))
    for item, vector in zip(items, together, strict=True):
        (single,) = numbers(client.post("/v1/embeddings", json={**ask, "input": [item]}))
        np.testing.assert_allclose(vector, single, atol=1e-5)


def test_broken_pictures_fail_alone_while_others_are_answered(client: TestClient) -> None:
    rng = random.Random(9)
    good = [data_uri(noise(rng)) for _ in range(15)]
    wanted = numbers(
        client.post("/v1/embeddings", json={"model": "model", "input": good, "encoding_format": "base64"})
    )

    def ask(place: int) -> Any:
        item: Any = {"image": "AAAA"} if place % 3 == 0 else good[place]
        body = {"model": "model", "input": [item], "encoding_format": "base64"}
        return client.post("/v1/embeddings", json=body)

    with ThreadPoolExecutor(10) as pool:
        for place, answer in enumerate(pool.map(ask, range(15))):
            if place % 3 == 0:
                assert answer.status_code == 400
                assert answer.json()["error"]["param"] == "input[0].image"
            else:
                np.testing.assert_allclose(numbers(answer)[0], wanted[place], atol=1e-5)


def test_every_request_of_a_failing_engine_gets_its_error_and_the_next_one_an_answer() -> None:
    engine = ColourEngine()
    engines: Any = {"model": engine}
    rng = random.Random(10)
    bodies = [{"input": [data_uri(noise(rng)), text(rng)]} for _ in range(20)]
    app = create_app(ServeSettings(), engines)
    with TestClient(app, base_url=ADDRESS) as client, ThreadPoolExecutor(10) as pool:
        engine.failure = RuntimeError("out of memory")
        answers = list(pool.map(lambda body: client.post("/v1/embeddings", json=body), bodies))
        assert {answer.status_code for answer in answers} == {500}
        assert len({answer.headers["x-request-id"] for answer in answers}) == 20
        engine.failure = None
        assert client.post("/v1/embeddings", json=bodies[0]).status_code == 200


@pytest.mark.slow
def test_a_flood_is_answered_or_refused_with_a_time_never_dropped() -> None:
    settings = ServeSettings(max_texts=4, max_text_queue=4, text_batch=2, max_requests=12)
    engine: Any = ColourEngine()
    engine.gate = threading.Event()
    body = {"input": ["a", "b", "c", "d"]}

    def ask(_: int) -> Any:
        answer = client.post("/v1/embeddings", json=body)
        if answer.status_code == 429:
            engine.gate.set()  # until the first refusal the engine holds its first batch
        return answer

    app = create_app(settings, {"model": engine})
    with TestClient(app, base_url=ADDRESS) as client, ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, range(120)))
        assert {answer.status_code for answer in answers} == {200, 429}
        for answer in answers:
            if answer.status_code == 429:
                assert int(answer.headers["retry-after"]) >= 1 and int(answer.headers["retry-after-ms"]) >= 1
        assert client.post("/v1/embeddings", json=body).status_code == 200
