"""The page as the server renders it; `test_search_in_browser.py` drives it in a browser."""

import re

import pytest
from starlette.testclient import TestClient

from clipworks.search.library import Library
from clipworks.serve.app import create_app, create_service_app
from clipworks.serve.fleet import Fleet
from clipworks.serve.roster import ModelSpec
from clipworks.serve.service import Service
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ADDRESS, ColourEngine, picture
from tests.serve.workers import HeldWorker


def test_the_page_shows_the_gallery_and_says_where_to_ask(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["cache-control"] == "no-store"
    assert "http://127.0.0.1:8000/v1" in answer.text
    assert "From the gallery" in answer.text and "/gallery/red%20one.png" in answer.text
    assert "a red square" in answer.text and "CC0-1.0" in answer.text and "A &amp; B" in answer.text


def test_everything_that_the_page_loads_is_its_own(client: TestClient) -> None:
    page = client.get("/").text
    loaded = re.findall(r'(?:src|<link[^>]* href)="([^"]+)"', page)
    assert len(loaded) > 5 and all(address.startswith(("/static/", "/gallery/")) for address in loaded)
    for address in loaded:
        assert client.get(address).status_code == 200, address
    assert " style=" not in page and not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=", page)


def test_a_search_has_an_address(client: TestClient) -> None:
    page = client.get("/?q=something+red").text
    assert "1 picture for “something red”" in page and "Further away (3)" in page
    assert "<title>" + 77 * "a" + "... · clipworks</title>" in client.get("/?q=" + 20_000 * "a").text
    assert "<title>something red · clipworks</title>" in page and 'value="something red"' in page


def test_a_search_without_a_match_says_so(client: TestClient) -> None:
    page = client.get("/?q=quarterly+tax+report").text
    assert "No good match for “quarterly tax report”" in page
    assert "here a match begins at 0.50" in page


def test_a_picture_of_the_gallery_finds_its_like(client: TestClient) -> None:
    page = client.get("/?like=blue one.png&fragment=1").text
    assert "Nothing much like this one" in page and "a blue square" in page
    whole = client.get("/?like=blue one.png&region=0,0,0.5,1&fragment=1").text
    assert "1 picture like this one" in whole, "a part of a picture is like the picture"
    assert client.get("/?like=../secret.txt&fragment=1").status_code == 404


def test_an_uploaded_picture_finds_its_like_also_without_scripts(client: TestClient) -> None:
    files = {"image": ("b.jpg", picture("blue", "JPEG"))}
    assert "a blue square" in client.post("/?fragment=1", files=files).text
    whole = client.post("/", files=files)
    assert whole.text.startswith("<!doctype html>") and "like the one you chose" in whole.text


@pytest.mark.parametrize("data", [b"no picture", b""])
def test_a_file_that_is_no_picture_is_answered_in_words(client: TestClient, data: bytes) -> None:
    answer = client.post("/?fragment=1", files={"image": ("b.jpg", data)})
    assert answer.status_code == 400 and 'role="alert"' in answer.text
    assert "The file is" in answer.text


def test_a_fragment_is_only_the_results(client: TestClient) -> None:
    assert "<html" not in client.get("/?q=red&fragment=1").text


def test_markup_in_queries_captions_and_sources_is_escaped(client: TestClient) -> None:
    attack = "<script>alert(1)</script>\"'"
    for address in ("/", "/?fragment=1"):
        page = client.get(
            address, params={"q": attack} if address == "/" else {"q": "black " + attack, "fragment": 1}
        )
        assert "<script>alert" not in page.text
        assert 'href="javascript:' not in page.text
    assert "&lt;script&gt;alert(1)" in client.get("/?q=black").text


def test_a_strange_host_header_is_not_repeated(engine: ColourEngine) -> None:
    app = create_app(ServeSettings(insecure=True), {"pictogram": engine})  # type: ignore[dict-item]
    with TestClient(app) as client:
        page = client.get("/", headers={"host": 'x";rm -rf ~;"'}).text
    assert "rm -rf" not in page and "http://127.0.0.1:8000/v1" in page


def test_a_search_that_is_too_long_is_refused_in_words(client: TestClient) -> None:
    answer = client.get("/", params={"q": "x" * 10_001})
    assert answer.status_code == 400 and "at most 10,000" in answer.text


def test_a_failing_engine_does_not_take_the_page_with_it(client: TestClient, engine: ColourEngine) -> None:
    client.get("/")
    engine.failure = RuntimeError("secret inside")
    answer = client.get("/?q=red")
    assert answer.status_code == 500 and "secret" not in answer.text


def test_a_search_that_takes_too_long_is_given_up_in_words(
    engine: ColourEngine, gallery: Library, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ServeSettings(request_seconds=0.1)
    worker = HeldWorker(engine)
    fleet = Fleet(settings, [ModelSpec(id="colours")], lambda spec: worker)
    app = create_service_app(Service(settings, fleet, gallery, loads_first=True))
    with TestClient(app, base_url=ADDRESS) as client:
        worker.may_answer.clear()
        try:
            answer = client.get("/?q=red")
            assert answer.status_code == 504 and "within 0.1 seconds" in answer.text
            assert int(answer.headers["retry-after"]) >= 1
            assert client.get("/").status_code == 200
        finally:
            worker.may_answer.set()
    assert "Traceback" not in caplog.text


def test_without_a_gallery_the_page_leads_to_the_playground(
    settings: ServeSettings, engine: ColourEngine
) -> None:
    with TestClient(create_app(settings, {"pictogram": engine}), base_url=ADDRESS) as client:  # type: ignore[dict-item]
        page = client.get("/").text
    assert 'href="/playground"' in page and "words-form" not in page


def test_a_hit_leads_to_the_playground_with_its_picture(client: TestClient) -> None:
    page = client.get("/?q=red").text
    address = re.search(r'href="(/playground\?picture=[^"]+)"', page)
    assert address is not None
    assert re.search(r'value="red one.png"[^>]* checked', client.get(address[1]).text)


def test_the_built_in_models_limits_are_said_beside_the_box(
    settings: ServeSettings, engine: ColourEngine
) -> None:
    with TestClient(create_app(settings, {"pictogram": engine}), base_url=ADDRESS) as client:  # type: ignore[dict-item]
        page = client.get("/").text
    assert "weak on photographs" in page
    assert "clipworks serve --model laion/CLIP-ViT-B-32-laion2B-s34B-b79K" in page


def test_conditions_order_and_number_stand_in_the_address(client: TestClient) -> None:
    found = client.get("/?q=red&where=words%3Dsquare%3Bwords!%3Dred&fragment=1")
    assert found.status_code == 200 and "green%20one.png" in found.text and "red%20one.png" not in found.text
    page = client.get("/?q=red&where=words%3Dsquare&sort=newest&n=48").text
    assert 'value="words=square"' in page and '<option value="newest" selected>' in page
    wrong = client.get("/?q=red&where=colour%3Dred")
    assert wrong.status_code == 400 and "no field" in wrong.text
    none = client.get("/?q=red&where=tag%3Dnone").text
    assert "No picture meets the conditions." in none
