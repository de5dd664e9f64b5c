import base64
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.serve.colours import data_uri, picture, refusal

RED, BLUE = picture("red"), picture("blue")
LABELS = ["green", "red", "blue"]


def classify(client: TestClient, **fields: Any) -> Any:
    return client.post("/v1/classify", json={"model": "colours", **fields})


def test_labels_come_best_first_with_score_and_cosine(client: TestClient) -> None:
    body = classify(client, input=[data_uri(RED), {"image": data_uri(BLUE)}], labels=LABELS).json()
    assert body["object"] == "list" and body["model"] == "colours"
    assert [(row["object"], row["index"]) for row in body["data"]] == [
        ("classification", 0),
        ("classification", 1),
    ]
    for row, best in zip(body["data"], ("red", "blue"), strict=True):
        scores = [label["score"] for label in row["labels"]]
        assert row["labels"][0]["label"] == best
        assert scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1, abs=1e-5)
        assert all(-1.001 <= label["cosine"] <= 1.001 for label in row["labels"])
    assert body["usage"] == {"images": 2, "texts": 3, "cost_usd": 0.0}


def test_templates_are_averaged(client: TestClient) -> None:
    body = classify(client, input=data_uri(RED), labels=LABELS, templates=["a {}.", "the {} one"]).json()
    assert body["data"][0]["labels"][0]["label"] == "red"
    assert body["usage"]["texts"] == 6


def test_a_form_with_files_gives_the_same_answer_as_json(client: TestClient) -> None:
    wanted = classify(client, input=[data_uri(RED), data_uri(BLUE)], labels=LABELS).json()
    files = [("file", ("a.png", RED, "image/png")), ("file", ("b.png", BLUE, "image/png"))]
    for labels in ("green, red,blue", json.dumps(LABELS), LABELS):
        form = {"model": "colours", "labels": labels}
        assert client.post("/v1/classify", data=form, files=files).json() == wanted


def test_a_raw_picture_takes_its_labels_from_the_query(client: TestClient) -> None:
    wanted = classify(client, input=[data_uri(RED)], labels=LABELS).json()
    address = "/v1/classify?model=colours&labels=green,red,blue"
    for kind in ("image/png", "application/octet-stream", "image/whatever; x=y"):
        assert client.post(address, content=RED, headers={"content-type": kind}).json() == wanted


def test_similarity_gives_cosines_in_the_order_of_the_texts(client: TestClient) -> None:
    fields = {"model": "colours", "images": [data_uri(RED), data_uri(BLUE)], "texts": ["red", "blue", "red"]}
    body = client.post("/v1/similarity", json=fields).json()
    assert [row["object"] for row in body["data"]] == ["similarity", "similarity"]
    first, second = (row["scores"] for row in body["data"])
    assert first[0] == first[2] > 0.99 > first[1] and second[1] > 0.99
    assert body["usage"] == {"images": 2, "texts": 3, "cost_usd": 0.0}
    form = client.post(
        "/v1/similarity",
        data={"model": "colours", "texts": ["red", "blue", "red"]},
        files=[("images", ("a.png", RED)), ("images", ("b.png", BLUE))],
    )
    assert form.json() == body


def test_one_kind_alone_is_compared_with_itself(client: TestClient) -> None:
    images = [data_uri(RED), data_uri(BLUE), data_uri(RED)]
    body = client.post("/v1/similarity", json={"model": "colours", "images": images}).json()
    first, second, third = (row["scores"] for row in body["data"])
    assert first[0] == pytest.approx(1) and first == third and first[2] == first[0] > first[1] == second[0]
    assert body["usage"] == {"images": 3, "texts": 0, "cost_usd": 0.0}
    body = client.post("/v1/similarity", json={"model": "colours", "texts": ["red", "a blue one"]}).json()
    (one, other), (_, same) = (row["scores"] for row in body["data"])
    assert one == pytest.approx(1) and same == pytest.approx(1) and other < 0.9
    assert body["usage"] == {"images": 0, "texts": 2, "cost_usd": 0.0}


ONE = [data_uri(RED)]


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"labels": LABELS}, 400, "missing_field", "input"),
        ({"input": ONE}, 400, "missing_field", "labels"),
        ({"input": ONE, "labels": []}, 400, "invalid_value", "labels"),
        ({"input": ONE, "labels": "red"}, 400, "invalid_value", "labels"),
        ({"input": ONE, "labels": ["red", " "]}, 400, "invalid_value", "labels[1]"),
        ({"input": ONE, "labels": ["red", 3]}, 400, "invalid_value", "labels[1]"),
        ({"input": ONE, "labels": ["x" * 501]}, 400, "invalid_value", "labels[0]"),
        ({"input": ONE, "labels": ["x"] * 1001}, 400, "too_many_inputs", "labels"),
        ({"input": ONE, "labels": ["x"], "templates": ["no"]}, 400, "invalid_value", "templates[0]"),
        ({"input": ONE, "labels": ["x"], "templates": ["{} {}"]}, 400, "invalid_value", "templates[0]"),
        ({"input": ONE, "labels": ["x"], "templates": "{}"}, 400, "invalid_value", "templates"),
        ({"input": ONE, "labels": ["x"] * 90, "templates": ["{}"] * 90}, 400, "too_many_inputs", "templates"),
        ({"input": [], "labels": LABELS}, 400, "invalid_value", "input"),
        ({"input": "red", "labels": LABELS}, 400, "invalid_image", "input"),
        ({"input": ONE * 9, "labels": LABELS}, 400, "too_many_inputs", "input"),
        ({"input": [data_uri(RED), "https://a/b"], "labels": LABELS}, 403, "url_fetch_disabled", "input[1]"),
        ({"input": [{"image": "AAAA"}], "labels": LABELS}, 400, "invalid_image", "input[0].image"),
    ],
)  # fmt: skip
def test_wrong_fields_are_named(client: TestClient, fields: Any, status: int, code: str, param: str) -> None:
    refusal(classify(client, **fields), status, code, param)


def test_a_label_of_ten_megabytes_is_refused(client: TestClient) -> None:
    refusal(
        classify(client, input=[data_uri(RED)], labels=["x" * 10_000_000]), 413, "request_too_large", None
    )
    refusal(
        classify(client, input=[data_uri(RED)], labels=["x" * 900_000]), 400, "invalid_value", "labels[0]"
    )


def test_a_template_cannot_reach_into_the_program(client: TestClient) -> None:
    template = "{} {0.__class__} {label!r}"
    body = classify(client, input=[data_uri(RED)], labels=LABELS, templates=[template])
    assert body.json()["data"][0]["labels"][0]["label"] == "red"


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({}, "missing_field", "images"),
        ({"images": [data_uri(RED)], "texts": []}, "invalid_value", "texts"),
        ({"images": [], "texts": ["a"]}, "invalid_value", "images"),
        ({"images": [data_uri(RED)], "texts": ["a", ""]}, "invalid_value", "texts[1]"),
        ({"images": [base64.b64encode(b"no").decode()], "texts": ["a"]}, "invalid_image", "images[0]"),
    ],
)
def test_wrong_fields_of_similarity_are_named(client: TestClient, fields: Any, code: str, param: str) -> None:
    refusal(client.post("/v1/similarity", json={"model": "colours", **fields}), 400, code, param)
