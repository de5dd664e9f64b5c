"""Pictures by address: off by default, guarded when on, and the same answers as pictures that were sent."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest
import web as webs
from ssrf import NAMES, private_urls
from web import Web, answer, running_web

from clipworks.errors import ConfigError
from clipworks.serve.app import create_app
from clipworks.serve.fetching import NOT_FETCHED, rules_of
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ADDRESS, ColourEngine, data_uri, picture, refusal

PUBLIC = ServeSettings(url_mode="public", url_seconds=5.0, max_body_bytes=3000, max_image_bytes=2000)

Story = Callable[[Web, httpx2.AsyncClient], Awaitable[Any]]


def with_server(story: Story, settings: ServeSettings = PUBLIC) -> Any:
    """Play a story with the application, whose web is ours."""

    async def play() -> Any:
        async with running_web() as web:
            web.pages |= {f"/{colour}.png": answer(picture(colour)) for colour in ("red", "green", "blue")}
            engines: Any = {"colours": ColourEngine()}
            known = replace(settings, url_ports=f"80,443,{web.port}")
            app = create_app(known, engines, web=web.fetcher(rules_of(known)))
            transport = httpx2.ASGITransport(app=app)
            async with app.router.lifespan_context(app):
                async with httpx2.AsyncClient(transport=transport, base_url=ADDRESS) as client:
                    return await story(web, client)

    return asyncio.run(play())


def address(name: str) -> str:
    return f"http://pictures.example/{name}.png"


def test_nothing_is_fetched_by_default() -> None:
    async def story(web: Web, client: httpx2.AsyncClient) -> None:
        for item in ({"image": address("red")}, {"type": "image_url", "image_url": {"url": address("red")}}):
            said = await client.post("/v1/embeddings", json={"input": [item]})
            assert refusal(said, 403, "url_fetch_disabled", said.json()["error"]["param"])
        assert not web.asked and not web.dialled

    with_server(story, ServeSettings())


def test_a_fetched_picture_gives_the_vector_of_the_same_picture_sent() -> None:
    async def story(web: Web, client: httpx2.AsyncClient) -> None:
        items = [
            {"image": address("red")},
            data_uri(picture("green")),
            {"type": "image_url", "image_url": {"url": address("blue")}},
            "a text",
        ]
        sent = [data_uri(picture(c)) for c in ("red", "green", "blue")] + ["a text"]
        fetched = await client.post("/v1/embeddings", json={"input": items})
        known = await client.post("/v1/embeddings", json={"input": sent})
        assert fetched.status_code == 200, fetched.text
        assert fetched.json()["data"] == known.json()["data"]
        assert fetched.json()["usage"]["images"] == 3
        body = {"input": [address("red")], "labels": ["red", "blue"]}
        labelled = await client.post("/v1/classify", json=body)
        assert labelled.json()["data"][0]["labels"][0]["label"] == "red"
        asked = {"images": address("blue"), "texts": ["blue"]}
        assert (await client.post("/v1/similarity", json=asked)).json()["data"][0]["scores"][0] > 0.9
        assert {d[0] for d in web.dialled} == {webs.PUBLIC}
        assert 'clipworks_fetches_total{outcome="ok"} 4.0' in (await client.get("/metrics")).text
        form = {"url": address("green"), "label": "blue, green"}
        page = await client.post("/playground", data=form, files={"file": ("", b"")})
        assert page.status_code == 200 and "<h3>green.png</h3>" in page.text
        assert page.text.index('<th scope="row">green') < page.text.index('<th scope="row">blue')

    with_server(story)


def test_the_pictures_of_one_request_are_fetched_at_the_same_time() -> None:
    async def story(web: Web, client: httpx2.AsyncClient) -> None:
        all_here = asyncio.Event()
        num_here = 0

        async def meet(head: bytes) -> bytes:
            nonlocal num_here
            num_here += 1
            if num_here == 4:
                all_here.set()
            await all_here.wait()
            return answer(picture("red"))

        web.pages["/meet.png"] = meet
        said = await client.post("/v1/embeddings", json={"input": [{"image": address("meet")}] * 4})
        assert said.status_code == 200

    with_server(story)


@pytest.mark.parametrize(
    ("page", "status", "code"),
    [
        (answer(status="404 Not Found"), 400, "url_not_fetched"),
        (answer(b"<html>no picture</html>" * 10), 400, "url_not_fetched"),
        (answer(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 400, "url_not_fetched"),
        (answer(b"SIMPLE  =                    T" + bytes(100)), 400, "url_not_fetched"),
        (answer(b""), 400, "url_not_fetched"),
        (b"", 400, "url_not_fetched"),
        (answer(picture("red", "JPEG")[:200]), 400, "invalid_image"),
        (answer(b"\x89PNG\r\n\x1a\n" + bytes(5000)), 413, "image_too_large"),
    ],
    ids=["404", "page", "SVG", "FITS", "empty", "no answer", "cut off", "too large"],
)
def test_what_is_no_picture_is_refused_by_its_place(page: bytes, status: int, code: str) -> None:
    async def story(web: Web, client: httpx2.AsyncClient) -> None:
        web.pages["/odd.png"] = page
        said = await client.post("/v1/embeddings", json={"input": ["a", {"image": address("odd")}]})
        message = refusal(said, status, code, "input[1].image")
        assert code != "url_not_fetched" or NOT_FETCHED in message

    with_server(story)


def test_what_the_pictures_of_one_request_weigh_together_is_limited() -> None:
    async def story(web: Web, client: httpx2.AsyncClient) -> None:
        web.pages["/noise.png"] = answer(picture("red") + bytes(1500))
        said = await client.post("/v1/embeddings", json={"input": [{"image": address("noise")}] * 3})
        refusal(said, 413, "request_too_large", said.json()["error"]["param"])

    with_server(story)


def test_no_request_of_the_corpus_makes_a_byte_arrive_and_all_refusals_read_alike() -> None:
    async def story(web: Web, client: httpx2.AsyncClient) -> None:
        web.names |= NAMES
        texts = set()
        for url in private_urls(web.port):
            said = await client.post("/v1/embeddings", json={"input": [{"image": url}]})
            error = said.json()["error"]
            assert said.status_code in (400, 415), (url, error)
            assert error["param"].startswith("input[0].image")
            if "cannot be read" not in error["message"]:
                texts.add(error["message"])
        # What stands behind a # is no host, so one of them is a fair request to pictures.example.
        assert {address for address, _ in web.dialled} == {webs.PUBLIC}
        assert web.num_connections == len(web.dialled) == 1
        assert {text for text in texts if "cannot be fetched" in text} == {
            f"input[0].image {NOT_FETCHED} Send the picture itself, as base64."
        }

    with_server(story)


def test_a_plain_address_among_inputs_must_say_what_it_is() -> None:
    async def story(web: Web, client: httpx2.AsyncClient) -> None:
        said = await client.post("/v1/embeddings", json={"input": [address("red")]})
        assert '"modality": "image"' in refusal(said, 400, "invalid_value", "input[0]")
        for modality in ("image", "text"):
            body = {"input": [address("red")], "modality": modality}
            assert (await client.post("/v1/embeddings", json=body)).status_code == 200
        assert len(web.heads) == 1

    with_server(story)


def test_an_allow_list_is_a_setting() -> None:
    async def story(web: Web, client: httpx2.AsyncClient) -> None:
        good = await client.post("/v1/embeddings", json={"input": [{"image": address("red")}]})
        assert good.status_code == 200
        other = {"image": "http://other.example/red.png"}
        said = await client.post("/v1/embeddings", json={"input": [other]})
        refusal(said, 400, "url_not_fetched", "input[0].image")

    with_server(story, ServeSettings(url_mode="allowlist", url_hosts="Pictures.example, *.cdn.example"))
    with pytest.raises(ConfigError, match="no host is listed"):
        rules_of(ServeSettings(url_mode="allowlist"))


def test_a_request_whose_pictures_do_not_come_is_answered_in_time() -> None:
    async def story(web: Web, client: httpx2.AsyncClient) -> None:
        async def never(head: bytes) -> bytes:
            await asyncio.Event().wait()
            return b""

        web.pages["/slow.png"] = never
        items = [{"image": address("red")}, {"image": address("slow")}]
        said = await client.post("/v1/embeddings", json={"input": items})
        refusal(said, 400, "url_not_fetched", "input[1].image")

    with_server(story, ServeSettings(url_mode="public", url_seconds=0.1))


def test_the_log_holds_no_query_of_a_fetched_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def story(web: Web, client: httpx2.AsyncClient) -> None:
        for name in ("red", "nothing"):
            url = f"{address(name)}?signature=topsecret"
            await client.post("/v1/embeddings", json={"input": [{"image": url}]})

    with_server(story)
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("clipworks")]
    assert "topsecret" not in "\n".join(ours) and ours


@pytest.mark.parametrize(
    "values",
    [
        {"url_mode": "on"},
        {"url_ports": ""},
        {"url_ports": "http"},
        {"url_seconds": 0.0},
        {"url_max_fetches": 0},
        {"log_format": "xml"},
        {"metrics_port": 70_000},
    ],
)
def test_settings_out_of_range_are_refused_by_name(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        ServeSettings(**values)


def test_an_application_that_is_started_again_answers_and_fetches_again() -> None:
    rules = rules_of(PUBLIC)
    web = Web(names={"pictures.example": [webs.PUBLIC]})
    engines: Any = {"colours": ColourEngine()}
    app = create_app(PUBLIC, engines, web=web.fetcher(rules))

    async def play() -> None:
        async with running_web() as server:
            server.pages["/red.png"] = answer(picture("red"))
            web.port = server.port
            transport = httpx2.ASGITransport(app=app)
            async with app.router.lifespan_context(app):
                async with httpx2.AsyncClient(transport=transport, base_url=ADDRESS) as client:
                    items = [{"image": address("red")}] * 9 + ["a text"]
                    said = await client.post("/v1/embeddings", json={"input": items})
                    assert said.status_code == 200, said.text
                    assert (await client.get("/readyz")).status_code == 200

    asyncio.run(play())
    asyncio.run(play())
