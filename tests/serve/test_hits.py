import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from clipworks.errors import ConfigError
from clipworks.search.library import Library
from clipworks.serve.app import create_app
from clipworks.serve.fleet import Fleet
from clipworks.serve.roster import ModelSpec
from clipworks.serve.service import Service
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ADDRESS, ColourEngine, data_uri, picture, refusal, talk, write_gallery
from tests.serve.workers import HeldWorker


@pytest.fixture
def bare(settings: ServeSettings, engine: ColourEngine) -> Iterator[TestClient]:
    """A server with one model and no gallery."""
    with TestClient(create_app(settings, {"colours": engine}), base_url=ADDRESS) as client:  # type: ignore[dict-item]
        yield client


def test_words_find_the_picture_with_caption_and_licence(client: TestClient) -> None:
    body = client.post("/v1/search", json={"text": "something red", "limit": 2}).json()
    assert body["is_relevant"] and body["model"] == "colours" and len(body["data"]) == 2
    hit = body["data"][0]
    assert (hit["path"], hit["caption"], hit["licence"], hit["author"]) == (
        "red one.png",
        "a red square",
        "CC0-1.0",
        "A & B",
    )
    assert hit["is_relevant"] and not body["data"][1]["is_relevant"]
    assert hit["score"] > 0.99 and hit["url"] == "/gallery/red%20one.png"
    assert body["usage"] == {"images": 0, "texts": 1, "cost_usd": 0.0}


def test_conditions_narrow_a_search_and_only_what_is_relevant_can_be_asked_for(client: TestClient) -> None:
    asked = {"text": "something red", "where": ["words=square", "words!=red"]}
    found = client.post("/v1/search", json=asked).json()["data"]
    assert {hit["path"] for hit in found} == {"green one.png", "blue one.png"}
    only = client.post("/v1/search", json={"text": "something red", "relevant_only": True}).json()["data"]
    assert [hit["path"] for hit in only] == ["red one.png"]
    assert {"taken", "camera", "place", "tags", "alike"} <= only[0].keys()


def test_terms_for_and_against_and_gallery_pictures_are_weighed(client: TestClient) -> None:
    asked = {"text": "red", "plus": ["blue", "0.5*id:blue one.png"], "minus": ["0.1*green"], "limit": 2}
    body = client.post("/v1/search", json=asked).json()
    paths = {hit["path"] for hit in body["data"]}
    assert "red one.png" in paths and "blue one.png" not in paths, "that is part of the question"
    assert set(body["data"][0]["explained"]) == {
        *("cosine", "+1 red", "+1 blue", "+0.5 blue one.png", "-0.1 green")
    }
    assert body["usage"]["texts"] == 3 and body["usage"]["images"] == 0


def test_more_like_a_gallery_picture_costs_nothing_and_leaves_it_out(client: TestClient) -> None:
    body = client.post("/v1/search", json={"like": "red one.png"}).json()
    assert "red one.png" not in [hit["path"] for hit in body["data"]] and len(body["data"]) == 3
    assert body["usage"]["images"] == body["usage"]["texts"] == 0


@pytest.mark.parametrize("asked", [{"like": "blue one.png"}, {"image": data_uri(picture("blue"))}])
def test_a_region_is_searched_with_by_its_own_pixels(client: TestClient, asked: dict[str, str]) -> None:
    body = client.post("/v1/search", json={**asked, "region": [0, 0, 0.5, 1]}).json()
    assert body["data"][0]["path"] == "blue one.png" and body["usage"]["images"] == 1


def test_words_in_captions_can_count(client: TestClient) -> None:
    body = client.post("/v1/search", json={"text": "red", "plus": ["0.5*words:blue square"]}).json()
    words = {hit["path"]: hit["explained"]["words"] for hit in body["data"]}
    assert words.pop("blue one.png") == pytest.approx(0.5) and set(words.values()) == {0}


def test_conditions_alone_list_what_meets_them(client: TestClient) -> None:
    found = client.post("/v1/search", json={"where": ["words=blue"]}).json()["data"]
    assert [hit["path"] for hit in found] == ["blue one.png"]


def test_words_that_fit_nothing_are_said_to_fit_nothing(client: TestClient) -> None:
    body = client.post("/v1/search", json={"text": "quarterly tax report"}).json()
    assert body["is_relevant"] is False
    assert len(body["data"]) == 4 and not any(hit["is_relevant"] for hit in body["data"])


def test_a_picture_finds_its_like_in_every_form_of_request(client: TestClient) -> None:
    blue = picture("blue", "JPEG")
    answers = [
        client.post("/v1/search", json={"image": data_uri(blue)}),
        client.post("/v1/search", data={"limit": "10"}, files={"image": ("b.jpg", blue)}),
        client.post("/v1/search?limit=10", content=blue, headers={"content-type": "image/jpeg"}),
    ]
    assert answers[0].json()["data"][0]["path"] == "blue one.png"
    assert answers[0].json() == answers[1].json() == answers[2].json()


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({}, 400, "missing_field", "text"),
        ({"text": "a", "image": "b"}, 400, "invalid_value", "text"),
        ({"text": " "}, 400, "invalid_value", "text"),
        ({"text": ["a"]}, 400, "invalid_value", "text"),
        ({"image": "https://a/b.png"}, 403, "url_fetch_disabled", "image"),
        ({"image": "AAAA"}, 400, "invalid_image", "image"),
        ({"text": "a", "limit": 0}, 400, "invalid_value", "limit"),
        ({"text": "a", "limit": 101}, 400, "invalid_value", "limit"),
        ({"text": "a", "limit": "many"}, 400, "invalid_value", "limit"),
        ({"text": "a", "limit": True}, 400, "invalid_value", "limit"),
        ({"text": "a", "where": "colour=red"}, 400, "invalid_value", "where"),
        ({"text": "a", "where": [7]}, 400, "invalid_value", "where"),
        ({"text": "a", "sort": "size"}, 400, "invalid_value", "sort"),
        ({"text": "a", "fold": "yes"}, 400, "invalid_value", "fold"),
        ({"text": "a", "like": "red one.png"}, 400, "invalid_value", "text"),
        ({"like": "no.png"}, 404, "not_found", "like"),
        ({"like": 7}, 400, "invalid_value", "like"),
        ({"like": "no.png", "region": [0, 0, 1, 1]}, 404, "not_found", None),
        ({"text": "a", "region": [0, 0, 1, 1]}, 400, "invalid_value", "region"),
        ({"like": "red one.png", "region": [0, 0, 2, 1]}, 400, "invalid_value", "region"),
        ({"text": "a", "plus": ["@/etc/passwd"]}, 400, "invalid_value", "plus[0]"),
        ({"text": "a", "minus": ["id:red one.png[1,1,0,0]"]}, 400, "invalid_value", "minus[0]"),
        ({"text": "a", "plus": [7]}, 400, "invalid_value", "plus"),
        ({"text": "a", "minus": ["a"]}, 400, "invalid_value", "plus"),
        ({"text": "a", "model": "team/other"}, 400, "invalid_value", "model"),
        ({"text": "a", "model": "no"}, 404, "model_not_found", "model"),
    ],
)
def test_wrong_fields_are_named(client: TestClient, fields: Any, status: int, code: str, param: str) -> None:
    refusal(client.post("/v1/search", json=fields), status, code, param)


def test_a_large_picture_is_served_smaller_in_a_form_that_browsers_show(
    settings: ServeSettings, tmp_path: Path
) -> None:
    gallery, engines = write_gallery(tmp_path, ColourEngine()), {"colours": ColourEngine()}
    file = io.BytesIO()
    Image.effect_noise((2000, 1000), 90).save(file, "TIFF")
    (tmp_path / "pictures" / "red one.png").write_bytes(file.getvalue())
    with TestClient(create_app(settings, engines, gallery), base_url=ADDRESS) as client:  # type: ignore[arg-type]
        for side, width in ((100, 240), (480, 480), (99_999, 1920)):
            answer = client.get(f"/gallery/red%20one.png?side={side}")
            assert answer.headers["content-type"] == "image/jpeg"
            assert Image.open(io.BytesIO(answer.content)).size == (width, width // 2)
        assert client.get("/gallery/red%20one.png").content == file.getvalue()
        assert client.get("/gallery/blue%20one.png?side=240").headers["content-type"] == "image/png"
        (tmp_path / "pictures" / "red one.png").write_bytes(b"x" * 500_000)
        refusal(client.get("/gallery/red%20one.png?side=240"), 400, "invalid_image", None)


def test_gallery_pictures_are_served(client: TestClient) -> None:
    answer = client.get("/gallery/red%20one.png")
    assert answer.content == picture("red") and answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    [
        "no.png",
        "",
        "../secret.txt",
        "..%2Fsecret.txt",
        "%2e%2e/secret.txt",
        "..%5csecret.txt",
        "/etc/passwd",
        "%2Fetc%2Fpasswd",
        "red one.png/../../secret.txt",
        "red%20one.png%00",
    ],
)
def test_nothing_but_the_gallerys_pictures_can_be_had(client: TestClient, name: str) -> None:
    answer = client.get(f"/gallery/{name}")
    assert answer.status_code == 404 and b"not for you" not in answer.content


def test_paths_that_a_client_would_tidy_up_reach_nothing_either(
    settings: ServeSettings, engine: ColourEngine, gallery: Library
) -> None:
    app = create_app(settings, {"colours": engine}, gallery)  # type: ignore[dict-item]
    for path in (
        "/gallery/../secret.txt",
        "/gallery//etc/passwd",
        "/static/../app.py",
        "/gallery/./red one.png",
    ):
        sent = asyncio.run(talk(app, "GET", path))
        assert sent[0]["status"] == 404, path


def test_a_file_that_has_gone_is_not_found(settings: ServeSettings, tmp_path: Path) -> None:
    gallery = write_gallery(tmp_path, ColourEngine())
    item = gallery.get("red one.png")
    assert item is not None
    Path(item.path).unlink()
    engines: Any = {"colours": ColourEngine()}
    with TestClient(create_app(settings, engines, gallery), base_url=ADDRESS) as client:
        refusal(client.get("/gallery/red%20one.png"), 404, "not_found", None)


def test_without_a_gallery_a_search_says_so(bare: TestClient) -> None:
    refusal(bare.post("/v1/search", json={"text": "a"}), 404, "no_gallery", None)
    refusal(bare.get("/gallery/a.png"), 404, "no_gallery", None)


def test_a_gallery_of_another_checkpoint_is_refused(settings: ServeSettings, gallery: Library) -> None:
    with pytest.raises(ConfigError, match="was embedded by the checkpoint .* not among the models"):
        create_app(settings, {"other": ColourEngine("other")}, gallery)  # type: ignore[dict-item]


def test_the_model_of_a_gallery_must_be_loaded_at_start_and_that_is_said(
    settings: ServeSettings, engine: ColourEngine, gallery: Library
) -> None:
    async def story(preload: bool) -> str | None:
        specs = [ModelSpec(id="other"), ModelSpec(id="colours", preload=preload)]
        engines: Any = {"colours": engine, "other": ColourEngine("other")}
        fleet = Fleet(settings, specs, lambda spec: HeldWorker(engines[spec.id]))
        service = Service(settings, fleet, gallery)
        async with service.running():
            await service.loaded()
            return service.gallery_model and service.gallery_model.name

    assert asyncio.run(story(True)) == "colours"
    with pytest.raises(ConfigError, match="colours would have.*preload = true"):
        asyncio.run(story(False))


def test_a_server_without_models_is_refused(settings: ServeSettings) -> None:
    with pytest.raises(ConfigError, match="no model"):
        create_app(settings, {})


def test_the_only_model_need_not_be_named(bare: TestClient) -> None:
    assert bare.post("/v1/embeddings", json={"input": "a"}).json()["model"] == "colours"
