"""POST /v1/heatmap: grids of cosines, and what it refuses."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from clipworks.serve.app import create_service_app
from clipworks.serve.fleet import Fleet
from clipworks.serve.roster import ModelSpec, ProviderSpec
from clipworks.serve.service import Service
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ADDRESS, COLOURS, ColourEngine, data_uri, refusal
from tests.serve.workers import HeldWorker


def quarters(*names: str) -> bytes:
    """A picture of four coloured quarters, from the top left, row by row."""
    image = Image.new("RGB", (8, 8))
    for place, name in enumerate(names):
        image.paste(COLOURS[name], (place % 2 * 4, place // 2 * 4, place % 2 * 4 + 4, place // 2 * 4 + 4))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


PICTURE = quarters("red", "green", "blue", "red")


def ask(client: TestClient, **fields: Any) -> Any:
    return client.post("/v1/heatmap", json={"model": "colours", **fields})


def test_each_text_has_a_grid_of_cosines_from_the_top_left(shared_client: TestClient) -> None:
    body = ask(shared_client, image=data_uri(PICTURE), texts=["green", "blue", "red"]).json()
    assert (body["object"], body["model"], body["rows"], body["columns"]) == ("list", "colours", 2, 2)
    assert body["covers"] == "central square"
    assert body["usage"] == {"images": 1, "texts": 3, "cost_usd": 0.0}
    assert [(row["object"], row["index"], row["text"]) for row in body["data"]] == [
        ("heatmap", 0, "green"),
        ("heatmap", 1, "blue"),
        ("heatmap", 2, "red"),
    ]
    green, blue, red = (row["cosines"] for row in body["data"])
    assert green[0][1] > 0.99 > max(green[0][0], green[1][0], green[1][1])
    assert blue[1][0] > 0.99 and red[0][0] > 0.99 and red[1][1] > 0.99
    best = body["data"][1]["max"]
    assert (best["row"], best["column"]) == (1, 0) and best["cosine"] == blue[1][0]


def test_one_text_may_stand_alone_and_templates_are_averaged(shared_client: TestClient) -> None:
    one = ask(shared_client, image=data_uri(PICTURE), text="green").json()
    several = ask(shared_client, image=data_uri(PICTURE), texts=["green"]).json()
    assert one == several
    filled = ask(shared_client, image=data_uri(PICTURE), text="green", templates=["a {}", "{} one"]).json()
    assert filled["usage"]["texts"] == 2 and filled["data"][0]["max"]["column"] == 1


def test_a_file_in_a_form_is_answered_the_same(shared_client: TestClient) -> None:
    wanted = ask(shared_client, image=data_uri(PICTURE), texts=["green", "blue"]).json()
    form = {"model": "colours", "texts": "green,blue"}
    files = {"file": ("a.png", PICTURE, "image/png")}
    assert shared_client.post("/v1/heatmap", data=form, files=files).json() == wanted


ONE = data_uri(PICTURE)


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"text": "red"}, 400, "missing_field", "image"),
        ({"image": ONE}, 400, "missing_field", "text"),
        ({"image": ONE, "text": "red", "texts": ["red"]}, 400, "invalid_value", "text"),
        ({"image": ONE, "text": " "}, 400, "invalid_value", "texts[0]"),
        ({"image": ONE, "texts": []}, 400, "invalid_value", "texts"),
        ({"image": ONE, "texts": ["x"] * 65}, 400, "too_many_inputs", "texts"),
        ({"image": ONE, "text": "x", "templates": ["no"]}, 400, "invalid_value", "templates[0]"),
        ({"image": [ONE, ONE], "text": "red"}, 400, "too_many_inputs", "image"),
        ({"image": "data:image/png;base64,AAAA", "text": "red"}, 400, "invalid_image", "image"),
        ({"image": "https://a/b.png", "text": "red"}, 403, "url_fetch_disabled", "image"),
        ({"image": ONE, "text": "red", "labels": ["red"]}, 400, "invalid_value", "labels"),
        ({"image": ONE, "text": "red", "model": "nope"}, 404, "model_not_found", "model"),
    ],
)  # fmt: skip
def test_wrong_fields_are_named(
    shared_client: TestClient, fields: Any, status: int, code: str, param: str
) -> None:
    refusal(ask(shared_client, **fields), status, code, param)


@pytest.fixture
def elsewhere() -> Iterator[TestClient]:
    """A server whose model is answered by another server only."""
    settings = ServeSettings()
    spec = ModelSpec(
        id="far", providers=(ProviderSpec(name="east", url="http://127.0.0.1:9/v1", private=True),)
    )
    fleet = Fleet(settings, [spec], lambda spec: HeldWorker(ColourEngine()))
    with TestClient(create_service_app(Service(settings, fleet, None)), base_url=ADDRESS) as client:
        yield client


def test_a_model_of_other_servers_is_said_to_give_no_patches(elsewhere: TestClient) -> None:
    answer = elsewhere.post("/v1/heatmap", json={"model": "far", "image": ONE, "text": "red"})
    assert "give no patches" in refusal(answer, 400, "no_patches", "model")


def test_a_failing_engine_tells_nothing_of_its_inside(client: TestClient) -> None:
    engine = client.app.state.service.models["colours"].worker._engine  # type: ignore[attr-defined]
    engine.failure = RuntimeError("secret inside")
    answer = client.post("/v1/heatmap", json={"model": "colours", "image": ONE, "text": "red"})
    assert answer.status_code == 500 and "secret" not in answer.text
