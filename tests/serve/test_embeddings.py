import base64
import json
from typing import Any

import numpy as np
import pytest
from openai import OpenAI
from starlette.testclient import TestClient

from tests.serve.colours import ColourEngine, data_uri, picture, refusal, vectors_of

RED = picture("red")


def post(client: TestClient, **fields: Any) -> Any:
    body = json.dumps({"model": "colours", **fields})  # unlike the client's own, takes half a character
    return client.post("/v1/embeddings", content=body, headers={"content-type": "application/json"})


def test_a_text_gives_one_unit_vector_in_the_shape_of_openai(client: TestClient) -> None:
    body = post(client, input="a red dog").json()
    assert body["object"] == "list" and body["model"] == "colours"
    assert [(row["object"], row["index"]) for row in body["data"]] == [("embedding", 0)]
    assert np.linalg.norm(body["data"][0]["embedding"]) == pytest.approx(1, abs=1e-6)
    assert body["usage"] == {"prompt_tokens": 3, "total_tokens": 3, "images": 0, "cost_usd": 0.0}


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_every_encoding_gives_the_same_numbers(
    client: TestClient, engine: ColourEngine, encoding: str | None
) -> None:
    given = post(client, input=["a red dog", "other words"], encoding_format=encoding).json()["data"]
    rows = [row["embedding"] for row in given]
    if encoding == "base64":
        rows = [np.frombuffer(base64.b64decode(row), dtype="<f4") for row in rows]
    np.testing.assert_array_equal(
        np.asarray(rows, dtype=np.float32), engine.embed_texts(["a red dog", "other words"])
    )


def test_texts_and_pictures_may_be_mixed_and_keep_their_order(client: TestClient) -> None:
    blue = base64.b64encode(picture("blue")).decode()
    items = [
        data_uri(RED),
        "a blue thing",
        {"image": blue},
        {"text": "green words"},
        {"image": data_uri(picture("green"))},
        {"type": "image_url", "image_url": {"url": data_uri(picture("blue", "JPEG"), "image/jpeg")}},
        {"type": "image_url", "image_url": data_uri(picture("red", "WEBP"), "image/webp")},
        {"type": "text", "text": "red"},
    ]
    body = post(client, input=items).json()
    nearest = np.asarray([row["embedding"] for row in body["data"]])[:, :3].argmax(axis=1)
    assert nearest.tolist() == [0, 2, 2, 1, 1, 2, 0, 0]
    assert body["usage"]["images"] == 5


@pytest.mark.parametrize(
    "text",
    [
        base64.encodebytes(RED).decode(),
        base64.b64encode(RED).decode().rstrip("="),
        f"data:;base64,{base64.b64encode(RED).decode()}",
        f"DATA:IMAGE/PNG;charset=utf-8;base64,{base64.b64encode(RED).decode()}",
    ],
    ids=["line breaks", "no padding", "no type", "upper case"],
)
def test_common_spellings_of_base64_are_taken(client: TestClient, text: str) -> None:
    assert post(client, input=[{"image": text}]).status_code == 200


@pytest.mark.parametrize(
    ("item", "place"),
    [
        ({"image": "https://example.org/cat.jpg"}, "input[1].image"),
        ({"image": "file:///etc/passwd"}, "input[1].image"),
        ({"type": "image_url", "image_url": {"url": "http://127.0.0.1/"}}, "input[1].image_url.url"),
    ],
)
def test_addresses_are_never_fetched(client: TestClient, item: Any, place: str) -> None:
    refusal(post(client, input=["a", item]), 403, "url_fetch_disabled", place)


@pytest.mark.parametrize("value", [[[64, 65]], [64, 65], [[64], [65]]])
def test_token_ids_are_refused_with_the_setting_that_helps(client: TestClient, value: Any) -> None:
    message = refusal(post(client, input=value), 400, "invalid_value", "input")
    assert "check_embedding_ctx_length=False" in message


@pytest.mark.parametrize(
    ("item", "status", "code", "place"),
    [
        ({"image": "%%%"}, 400, "invalid_image", "input[1].image"),
        ({"image": base64.b64encode(b"hello").decode()}, 400, "invalid_image", "input[1].image"),
        ({"image": ""}, 400, "invalid_image", "input[1].image"),
        ({"image": "data:image/png;base64,"}, 400, "invalid_image", "input[1].image"),
        ({"image": "data:image/png,abc"}, 400, "invalid_image", "input[1].image"),
        ({"image": "data:text/html;base64,aGk="}, 415, "unsupported_image_format", "input[1].image"),
        ({"image": data_uri(b"<svg xmlns='x'/>")}, 415, "unsupported_image_format", "input[1].image"),
        ({"image": data_uri(picture("red", "JPEG", 64)[:400])}, 400, "invalid_image", "input[1].image"),
        ({"image": "A" * 300_000}, 413, "image_too_large", "input[1].image"),
        ({"image": 7}, 400, "invalid_image", "input[1].image"),
        ({"image": {"image": {}}}, 400, "invalid_value", "input[1].image"),
        ({"text": "a", "image": "b"}, 400, "invalid_value", "input[1]"),
        ({"type": "text"}, 400, "invalid_value", "input[1]"),
        ({"type": "image_url", "image_url": {}}, 400, "invalid_image", "input[1].image_url.url"),
        ("", 400, "invalid_value", "input[1]"),
        (" \n", 400, "invalid_value", "input[1]"),
        (None, 400, "invalid_value", "input[1]"),
        (1.5, 400, "invalid_value", "input[1]"),
        (["nested"], 400, "invalid_value", "input[1]"),
        ("x" * 10_001, 400, "invalid_value", "input[1]"),
        ("half \ud800", 400, "invalid_value", "input[1]"),
    ],
)
def test_a_wrong_item_is_named(client: TestClient, item: Any, status: int, code: str, place: str) -> None:
    message = refusal(post(client, input=["fine", item]), status, code, place)
    assert place in message and len(message) < 400
    assert post(client, input="fine").status_code == 200


@pytest.mark.parametrize("depth", [3, 200, 800, 900, 940, 960, 980])
def test_lists_in_lists_are_refused_at_any_depth(client: TestClient, depth: int) -> None:
    body = '{"model": "colours", "input": ["a", ' + "[" * depth + "]" * depth + "]}"
    answer = client.post("/v1/embeddings", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text


def test_the_first_of_several_broken_pictures_is_named(client: TestClient) -> None:
    items = [data_uri(RED), {"image": "AAAA"}, {"image": "BBBB"}]
    for _ in range(5):
        refusal(post(client, input=items), 400, "invalid_image", "input[1].image")


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({}, "missing_field", "input"),
        ({"input": None}, "missing_field", "input"),
        ({"input": []}, "invalid_value", "input"),
        ({"input": ["a"] * 101}, "too_many_inputs", "input"),
        ({"input": [data_uri(RED)] * 9}, "too_many_inputs", "input"),
        ({"input": "a", "dimensions": 4}, "invalid_value", "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "invalid_value", "encoding_format"),
        ({"input": "a", "encoding_format": ["float"]}, "invalid_value", "encoding_format"),
        ({"input": "a", "modality": "audio"}, "invalid_value", "modality"),
        ({"input": "a", "dimensions": True}, "invalid_value", "dimensions"),
        ({"input": "a", "output_dimension": 4}, "invalid_value", "output_dimension"),
        ({"input": "a", "output_dtype": "int4"}, "invalid_value", "output_dtype"),
        ({"input": "a", "embedding_type": ["float", "half"]}, "invalid_value", "embedding_type"),
        (
            {"input": "a", "embedding_type": "float", "output_dtype": "int8"},
            "invalid_value",
            "embedding_type",
        ),
        ({"input": "a", "normalized": False}, "invalid_value", "normalized"),
        ({"input": "a", "normalized": "perhaps"}, "invalid_value", "normalized"),
        ({"input": "a", "fusion": "sum"}, "invalid_value", "fusion"),
        ({"input": "a", "on_error": "skip"}, "invalid_value", "on_error"),
        ({"input": "many words " * 50, "truncation": False}, "invalid_value", None),
        ({"input": "a", "messages": [{"role": "user", "content": "a"}]}, "invalid_value", "messages"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": ["a"]}, "invalid_value", "messages[0]"),
        ({"messages": [{"role": "user", "content": []}]}, "invalid_value", "messages[0].content"),
        ({"messages": [{"content": "a"}, {"content": "b"}]}, "invalid_value", "messages"),
        ({"input": {"content": ["a", "b"]}}, "invalid_value", "input"),
        ({"input": {"content": ["a", {"image": 7}]}}, "invalid_image", "input.content[1].image"),
        ({"input": "a", "model": None}, "missing_field", "model"),
    ],
)
def test_wrong_fields_are_named(shared_client: TestClient, fields: Any, code: str, param: str | None) -> None:
    message = refusal(post(shared_client, **fields), 400, code, param)
    assert post(shared_client, **fields).json()["detail"] == message  # where Jina's and Voyage's clients look


@pytest.mark.parametrize("name", ["colour", "", 7, ["colours"], "x" * 100_000])
def test_an_unknown_model_is_answered_with_the_nearest_names(shared_client: TestClient, name: Any) -> None:
    message = refusal(post(shared_client, input="a", model=name), 404, "model_not_found", "model")
    assert "colours" in message and len(message) < 400


@pytest.mark.parametrize("dimensions", [0, None, 8])
def test_all_dimensions_may_be_asked_for(client: TestClient, dimensions: int | None) -> None:
    answer = post(client, input="a", dimensions=dimensions, output_dimension=dimensions, user="u")
    assert len(answer.json()["data"][0]["embedding"]) == 8


def test_the_reason_why_a_vector_is_not_cut_is_said(client: TestClient) -> None:
    assert "matryoshka" in refusal(post(client, input="a", dimensions=4), 400, "invalid_value", "dimensions")


def test_a_long_text_is_cut_unless_that_is_forbidden(client: TestClient) -> None:
    assert post(client, input="many words " * 50).status_code == 200
    assert post(client, input="many words " * 50, truncate=True).status_code == 200
    message = refusal(post(client, input="many words " * 50, truncate=False), 400, "invalid_value", None)
    assert "100 tokens; the model reads 75" in message


def test_an_unknown_field_is_refused_with_the_nearest_names(client: TestClient) -> None:
    message = refusal(
        post(client, input="a", encoding_fromat="base64"), 400, "invalid_value", "encoding_fromat"
    )
    assert "encoding_format" in message


def test_a_bare_address_is_refused_unless_it_is_said_to_be_a_text(client: TestClient) -> None:
    address = "https://example.org/a.png"
    refusal(post(client, input=["a", address]), 403, "url_fetch_disabled", "input[1]")
    refusal(post(client, input=address, modality="image"), 403, "url_fetch_disabled", "input")
    assert post(client, input=address, modality="text").json()["usage"]["images"] == 0
    assert post(client, input=f"a fox, see {address}").status_code == 200


def test_a_raw_picture_and_a_form_are_taken_too(client: TestClient) -> None:
    raw = client.post("/v1/embeddings?model=colours", content=RED, headers={"content-type": "image/png"})
    form = client.post(
        "/v1/embeddings",
        data={"model": "colours", "input": "a blue text"},
        files=[("file", ("a.png", RED, "image/png"))],
    )
    wanted = post(client, input=[data_uri(RED), "a blue text"])
    assert raw.json()["data"] == wanted.json()["data"][:1]
    assert form.json()["data"] == wanted.json()["data"]


def test_a_chat_with_one_part_is_one_vector(client: TestClient, engine: ColourEngine) -> None:
    chats: list[tuple[Any, str | bytes]] = [
        ([{"type": "image_url", "image_url": {"url": data_uri(RED)}}], RED),
        ("a blue boat", "a blue boat"),
    ]
    for content, item in chats:
        body = post(client, messages=[{"role": "user", "content": content}]).json()
        rows = [row["embedding"] for row in body["data"]]
        np.testing.assert_array_equal(np.asarray(rows, np.float32), vectors_of(engine, item))


def test_several_parts_give_their_mean_where_it_is_asked_for(
    client: TestClient, engine: ColourEngine
) -> None:
    pair = {"text": "green", "image": data_uri(RED)}
    items = [pair, "blue", {"content": ["black", {"image": data_uri(RED)}]}]
    refusal(post(client, input=items), 400, "invalid_value", "input[0]")
    body = post(client, input=items, fusion="mean").json()
    red, green, blue, black = vectors_of(engine, RED, "green", "blue", "black")
    wanted = np.stack([red + green, blue, red + black])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose([row["embedding"] for row in body["data"]], wanted, atol=1e-6)
    assert (body["usage"]["images"], body["usage"]["prompt_tokens"]) == (2, 3)


def test_a_request_can_go_on_without_items_that_cannot_be_used(
    client: TestClient, engine: ColourEngine
) -> None:
    broken = {"image": data_uri(picture("red", "JPEG", 64)[:400])}
    items: list[Any] = ["red", broken, 7, data_uri(RED), {"text": "a", **broken}]
    body = post(client, input=items, on_error="null", fusion="mean", encoding_format="base64").json()
    assert [row["index"] for row in body["data"]] == [0, 1, 2, 3, 4]
    assert [row["embedding"] is None for row in body["data"]] == [False, True, True, False, True]
    codes = {i: body["data"][i]["error"]["code"] for i in (1, 2, 4)}
    assert codes == {1: "invalid_image", 2: "invalid_value", 4: "invalid_image"}
    assert body["data"][1]["error"]["param"] == "input[1].image"
    assert (body["usage"]["images"], body["usage"]["prompt_tokens"]) == (1, 1)
    rows = [np.frombuffer(base64.b64decode(body["data"][i]["embedding"]), "<f4") for i in (0, 3)]
    np.testing.assert_array_equal(np.stack(rows), vectors_of(engine, "red", RED))
    refusal(post(client, input=items, fusion="mean"), 400, "invalid_value", "input[2]")


def test_a_request_of_nothing_but_broken_items_is_answered(client: TestClient) -> None:
    body = post(client, input=[{"image": "AAAA"}], on_error="null").json()
    assert body["data"][0]["embedding"] is None and body["usage"]["images"] == 0


def test_a_broken_server_is_no_broken_item(client: TestClient, engine: ColourEngine) -> None:
    engine.failure = RuntimeError("broken")
    refusal(post(client, input=["a"], on_error="null"), 500, "internal_error", None)


def test_several_types_stand_side_by_side(client: TestClient, engine: ColourEngine) -> None:
    row = post(client, input="red", embedding_type=["float", "ubinary", "base64"]).json()["data"][0]
    assert row["embeddings"].keys() == {"float", "ubinary", "base64"}
    assert row["embedding"] == row["embeddings"]["float"]
    assert row["embeddings"]["ubinary"] == np.packbits(vectors_of(engine, "red") > 0).tolist()


def test_models_are_listed_and_found_by_id_also_with_a_slash(client: TestClient) -> None:
    rows = client.get("/v1/models").json()["data"]
    assert [row["id"] for row in rows] == ["colours", "team/other"]
    assert {"id", "object", "created", "owned_by", "dim", "fingerprint"} <= rows[0].keys()
    stats = {"queue_fraction": 0.0, "queue_absolute": 0, "results_pending": 0, "batch_size": 32}
    assert client.get("/models").json()["data"][0]["stats"] == rows[0]["stats"] == stats
    assert "owned_by" not in client.get("/models").json()["data"][0]
    for address in ("/v1/models/team/other", "/v1/models/team%2Fother"):
        assert client.get(address).json() == rows[1]
    refusal(client.get("/v1/models/teem/other"), 404, "model_not_found", "model")


def test_the_openai_client_reads_the_answers(client: TestClient) -> None:
    openai = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="x", http_client=client, max_retries=0)
    answer = openai.embeddings.create(
        model="colours", input=["a red dog", data_uri(RED)]
    )  # base64 by default
    text, image = (np.asarray(row.embedding) for row in answer.data)
    assert float(text @ image) > 0.99
    assert answer.usage.prompt_tokens == 3
    assert [model.id for model in openai.models.list()] == ["colours", "team/other"]
    assert openai.models.retrieve("team/other").owned_by == "clipworks"
