"""A model with several providers, which are real servers: who answers, and who answers instead."""

import base64
import socket
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from clipworks.serve.roster import ProviderSpec
from tests.serve.colours import ColourEngine, data_uri, picture, refusal, vectors_of
from tests.serve.upstreams import (
    Upstream,
    drips,
    floods,
    gateway,
    hangs,
    live,
    provider,
    says,
    served,
    upstreams,
    wait_until,
)

ITEMS = ["red", "a blue thing"]


class Blind(ColourEngine):
    """Says that it is the same model, and is not."""

    def embed_texts(self, texts: Sequence[str], *, batch_size: int = 64) -> Any:
        return np.roll(super().embed_texts(texts), 1, axis=1)


def rows(vectors: Sequence[Any], indices: Sequence[int] | None = None) -> dict[str, Any]:
    places = indices if indices is not None else range(len(vectors))
    return {"data": [{"index": i, "embedding": one} for i, one in zip(places, vectors, strict=False)]}


def test_texts_and_pictures_come_from_an_upstream_as_if_they_had_been_made_here() -> None:
    east = Upstream()
    with upstreams(east), gateway(provider(east, "east")) as client:
        wait_until(client, live("east"))
        body = {"input": ["red", data_uri(picture("blue")), "green"]}
        answer = client.post("/v1/embeddings", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-provider"] == "east"
        got = np.array([row["embedding"] for row in answer.json()["data"]], dtype=np.float32)
        np.testing.assert_array_equal(got, vectors_of(ColourEngine(), "red", picture("blue"), "green"))
        assert answer.headers["x-model-fingerprint"] == ColourEngine().fingerprint


def test_the_next_provider_answers_where_the_first_fails() -> None:
    east, west = Upstream(), Upstream()
    with upstreams(east, west), gateway(provider(east, "east"), provider(west, "west")) as client:
        wait_until(client, live("east", "west"))
        east.fault = says(500)
        answer = client.post("/v1/embeddings", json={"input": ITEMS})
        assert (answer.status_code, answer.headers["x-provider"]) == (200, "west")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (says(500), "failed"),
        (says(503, headers={"retry-after": "1"}), "busy"),
        (says(429, headers={"retry-after-ms": "900"}), "busy"),
        (says(401), "refused"),
        (says(402, {"error": {"message": "sk-live-12345 is out of credit", "code": "no_credit"}}), "refused"),
        (says(404), "refused"),
        (says(302, headers={"location": "http://127.0.0.1:1/"}), "refused"),
        (says(400, {"error": {"message": "", "code": "too_many_inputs"}}), "refused"),
        (says(200, b"<html>"), "damaged"),
        (says(200, b"\xff\xfe"), "damaged"),
        (says(200, b"[" * 100_000), "damaged"),
        (says(200, {"data": []}), "damaged"),
        (says(200, rows([[1.0] + [0.0] * 7] * 3)), "damaged"),
        (says(200, rows([[1.0] + [0.0] * 7] * 2, indices=(0, 0))), "damaged"),
        (says(200, rows([[1.0, 0.0]] * 2)), "mismatch"),
        (says(200, rows([[]] * 2)), "mismatch"),
        (says(200, rows([[2.0] + [0.0] * 7] * 2)), "damaged"),
        (says(200, rows([[0.0] * 8] * 2)), "damaged"),
        (says(200, rows([[float("nan")] * 8] * 2)), "damaged"),
        (says(200, rows([["a"] * 8] * 2)), "damaged"),
        (says(200, rows(["!!!", "AAAA"])), "damaged"),
        (says(200, rows(["AAAA", "AAAA"])), "damaged"),
        (says(200, rows([[1.0] + [0.0] * 7] * 2), {"content-encoding": "gzip"}), "damaged"),
        (says(200, rows([[1.0] + [0.0] * 7] * 2), {"x-model-fingerprint": "0" * 64}), "mismatch"),
        (floods(), "damaged"),
    ],
)
def test_whatever_a_provider_does_another_one_answers(fault: Any, reason: str) -> None:
    east, west = Upstream(), Upstream()
    with upstreams(east, west), gateway(provider(east, "east"), provider(west, "west")) as client:
        wait_until(client, live("east", "west"))
        east.fault = fault
        for _ in range(2):
            answer = client.post("/v1/embeddings", json={"input": ITEMS})
            assert (answer.status_code, answer.headers["x-provider"]) == (200, "west")
            got = np.array([row["embedding"] for row in answer.json()["data"]], dtype=np.float32)
            np.testing.assert_array_equal(got, vectors_of(ColourEngine(), *ITEMS))
        assert len(east.headers) - 2 <= 2, "a provider that failed is left alone"
        figures = client.get("/metrics").text
        name = f'clipworks_provider_calls_total{{model="gate",outcome="{reason}",provider="east"}} 1.0'
        assert name in figures, [line for line in figures.splitlines() if "provider_calls_total{" in line]
        assert 'clipworks_provider_live{model="gate",provider="east"} 0.0' in figures


@pytest.mark.parametrize("fault", [hangs(), drips()], ids=["hangs", "drips"])
def test_a_provider_that_takes_too_long_leaves_time_for_another(fault: Any) -> None:
    east, west = Upstream(), Upstream()
    with upstreams(east, west), gateway(provider(east, "east"), provider(west, "west")) as client:
        wait_until(client, live("east", "west"))
        east.fault = fault
        asked = {"x-request-timeout-ms": "1200"}
        answer = client.post("/v1/embeddings", json={"input": ITEMS}, headers=asked)
        assert (answer.status_code, answer.headers["x-provider"]) == (200, "west")
        given = int(east.headers[-1]["x-request-timeout-ms"])
        assert 400 < given <= 600 < int(west.headers[-1]["x-request-timeout-ms"]) + 100


@pytest.mark.parametrize("fault", [hangs(), says(504)], ids=["hangs", "gives up in time"])
def test_without_another_provider_the_request_ends_with_its_time(fault: Any) -> None:
    east = Upstream()
    with upstreams(east), gateway(provider(east, "east")) as client:
        wait_until(client, live("east"))
        east.fault = fault
        asked = {"x-request-timeout-ms": "200"}
        answer = client.post("/v1/embeddings", json={"input": ITEMS}, headers=asked)
        assert answer.status_code in (503, 504), answer.text
        row = client.get("/v1/models/gate").json()["providers"][0]
        assert row["status"] == "live", "a client in a hurry does not close a provider for others"


def test_a_failed_provider_is_looked_at_again_and_gets_requests_when_it_answers_right() -> None:
    east, west = Upstream(), Upstream()
    with upstreams(east, west), gateway(provider(east, "east"), provider(west, "west")) as client:
        wait_until(client, live("east", "west"))
        east.fault = says(500)
        client.post("/v1/embeddings", json={"input": ITEMS})
        assert client.post("/v1/embeddings", json={"input": ITEMS}).headers["x-provider"] == "west"
        east.fault = None
        wait_until(client, live("east"))
        assert client.post("/v1/embeddings", json={"input": ITEMS}).headers["x-provider"] == "east"


def test_when_nobody_answers_the_client_is_told_when_to_come_back() -> None:
    east = Upstream()
    with upstreams(east), gateway(provider(east, "east")) as client:
        wait_until(client, live("east"))
        east.fault = says(503, headers={"retry-after": "20"})
        first = client.post("/v1/embeddings", json={"input": ITEMS})
        assert (first.status_code, first.json()["error"]["code"]) == (429, "server_is_overloaded")
        assert 15 <= int(first.headers["retry-after"]) <= 20
        second = client.post("/v1/embeddings", json={"input": ITEMS})
        assert (second.status_code, second.json()["error"]["code"]) == (503, "providers_failed")
        assert "east: busy" in second.json()["error"]["message"] and int(second.headers["retry-after"]) > 10
        assert client.get("/readyz").status_code == 503
        assert client.get("/v1/models/gate").json()["status"] == "failed"


def test_what_the_client_did_wrong_is_said_to_the_client_and_tried_nowhere_else() -> None:
    east, west = Upstream(), Upstream()
    with upstreams(east, west), gateway(provider(east, "east"), provider(west, "west")) as client:
        wait_until(client, live("east", "west"))
        before = len(west.headers)
        items = ["red", data_uri(picture()), data_uri(b"\x89PNG torn")]
        answer = client.post("/v1/embeddings", json={"input": items})
        message = refusal(answer, 400, "invalid_image", "input[2]")
        assert message.startswith("input[2] ") and "input[1]" not in message
        classified = client.post("/v1/classify", json={"input": ["AAAA"], "labels": ["red"]})
        refusal(classified, 400, "invalid_image", "input[0]")
        damaged = client.post("/v1/embeddings", json={"input": [{"image": "%%%"}]})
        refusal(damaged, 400, "invalid_image", "input[0].image")
        assert len(west.headers) == before
        assert client.get("/v1/models/gate").json()["providers"][0]["status"] == "live"


def test_an_item_that_cannot_be_used_may_be_left_out() -> None:
    east = Upstream()
    with upstreams(east), gateway(provider(east, "east")) as client:
        wait_until(client, live("east"))
        items = [data_uri(b"\x89PNG torn"), "red"]
        data = client.post("/v1/embeddings", json={"input": items, "on_error": "null"}).json()["data"]
        assert data[0]["embedding"] is None and len(data[1]["embedding"]) == 8


def test_another_servers_refusal_is_told_without_its_words() -> None:
    east = Upstream()
    with upstreams(east), gateway(provider(east, "east")) as client:
        wait_until(client, live("east"))
        east.fault = says(422, {"detail": "http://10.0.0.7 says no to sk-12345"})
        answer = client.post("/v1/embeddings", json={"input": "red"})
        message = refusal(answer, 400, "invalid_value", None)
        assert "10.0.0.7" not in message and "provider of this model" in message


def test_every_route_works_with_an_upstream_and_costs_nothing_here() -> None:
    east = Upstream()
    red = data_uri(picture("red"))
    with upstreams(east), gateway(provider(east, "east")) as client:
        wait_until(client, live("east"))
        labels = {"input": [red], "labels": ["red", "blue"], "templates": ["{}", "a {} thing"]}
        best = client.post("/v1/classify", json=labels).json()["data"][0]["labels"][0]
        assert best["label"] == "red"
        scores = client.post("/v1/similarity", json={"images": [red], "texts": ["blue", "red"]}).json()
        assert scores["data"][0]["scores"][1] == pytest.approx(1.0, abs=1e-5)
        ranked = client.post("/v1/rerank", json={"query": "green", "documents": ["red", "green"]}).json()
        assert ranked["results"][0]["index"] == 1
        embedded = client.post(
            "/v2/embed",
            json={
                "model": "gate",
                "texts": ["red"],
                "input_type": "classification",
                "embedding_types": ["float"],
            },
        )
        assert embedded.status_code == 200, embedded.text


def test_pictures_go_to_an_upstream_as_the_same_bytes_and_texts_as_they_are() -> None:
    east = Upstream()
    file = picture("green", "JPEG", side=64)
    with upstreams(east), gateway(provider(east, "east", key="sk-1")) as client:
        wait_until(client, live("east"))
        east.bodies.clear()
        east.headers.clear()
        client.post(
            "/v1/embeddings",
            json={"input": [data_uri(file, "image/jpeg"), "https://a.example"], "modality": None},
            headers={"x-request-id": "mine"},
        )
        client.post("/v1/embeddings?modality=image", content=file, headers={"content-type": "image/jpeg"})
        sent = [body["input"][0] for body in east.bodies if body["modality"] == "image"]
        assert sent and {one.partition(",")[0] for one in sent} == {"data:image/jpeg;base64"}
        assert all(base64.b64decode(one.partition(",")[2]) == file for one in sent)
        assert all(head["authorization"] == "Bearer sk-1" for head in east.headers)
        assert {body["model"] for body in east.bodies} == {"colours"}


def test_large_requests_go_in_parts_and_come_back_in_order() -> None:
    east = Upstream()
    colours = [(i * 3 % 256, i * 7 % 256, i * 11 % 256) for i in range(50)]
    with upstreams(east), gateway(provider(east, "east")) as client:
        wait_until(client, live("east"))
        east.bodies.clear()
        items = [data_uri(picture(colour)) for colour in colours]
        answer = client.post("/v1/embeddings", json={"input": items})
        got = np.array([row["embedding"] for row in answer.json()["data"]], dtype=np.float32)
        wanted = vectors_of(ColourEngine(), *(picture(colour) for colour in colours))
        np.testing.assert_allclose(got, wanted, atol=1e-6)
        assert [len(body["input"]) for body in east.bodies] == [32, 18]
        torn = client.post("/v1/embeddings", json={"input": [*items[:40], data_uri(b"\x89PNG torn")]})
        refusal(torn, 400, "invalid_image", "input[40]")


def test_the_cheapest_provider_that_works_answers_where_price_decides() -> None:
    east, west = Upstream(), Upstream()
    local = ProviderSpec(name="local", usd_per_1k_images="0.1")
    with (
        upstreams(east, west),
        gateway(
            provider(east, "east", usd_per_1k_images="0.2"),
            local,
            provider(west, "west", usd_per_1k_images="0.09"),
            routing="price",
        ) as client,
    ):
        wait_until(client, live("east", "west", "local"))
        assert client.post("/v1/embeddings", json={"input": "red"}).headers["x-provider"] == "west"
        west.fault = says(500)
        assert client.post("/v1/embeddings", json={"input": "red"}).headers["x-provider"] == "local"
        shown = client.get("/v1/models/gate").json()
        assert shown["routing"] == "price"
        assert [row["usd_per_1k_images"] for row in shown["providers"]] == ["0.2", "0.1", "0.09"]


def test_the_fastest_provider_answers_where_latency_decides() -> None:
    east, west = Upstream(), Upstream()
    with (
        upstreams(east, west),
        gateway(provider(east, "east"), provider(west, "west"), routing="latency") as client,
    ):
        wait_until(client, live("east", "west"))
        east.delay = 0.1
        used = [client.post("/v1/embeddings", json={"input": "red"}).headers["x-provider"] for _ in range(8)]
        assert used[:2] == ["east", "west"] and set(used[2:]) == {"west"}
        row = client.get("/v1/models/gate").json()["providers"]
        assert row[0]["latency_ms"]["text"] > 100 > row[1]["latency_ms"]["text"]


def test_the_engine_here_takes_over_and_is_overtaken_again(engine: ColourEngine) -> None:
    east = Upstream()
    with upstreams(east), gateway(provider(east, "east"), ProviderSpec(name="local")) as client:
        wait_until(client, live("east", "local"))
        east.fault = says(500)
        answer = client.post("/v1/embeddings", json={"input": ["red", data_uri(picture())]})
        assert (answer.status_code, answer.headers["x-provider"]) == (200, "local")
        east.fault = None
        wait_until(client, live("east"))
        assert client.post("/v1/embeddings", json={"input": "red"}).headers["x-provider"] == "east"


@pytest.mark.parametrize("other", ["team/other", "green blindness"])
def test_another_model_is_refused_by_its_fingerprint_or_by_its_vectors(other: str) -> None:
    hides = () if other == "team/other" else ("fingerprint",)
    east = Upstream(ColourEngine(other) if not hides else Blind(), hides=hides)
    with upstreams(east), gateway(provider(east, "east"), ProviderSpec(name="local")) as client:
        wait_until(client, lambda states: states == {"east": "refused", "local": "live"})
        assert client.post("/v1/embeddings", json={"input": "red"}).headers["x-provider"] == "local"


def test_a_server_that_does_not_say_its_fingerprint_is_taken_by_its_vectors() -> None:
    east = Upstream(hides=("fingerprint",))
    with upstreams(east), gateway(provider(east, "east"), ProviderSpec(name="local")) as client:
        wait_until(client, live("east", "local"))
        answer = client.post("/v1/embeddings", json={"input": "red"})
        assert answer.headers["x-provider"] == "east"


def test_a_model_may_have_nothing_but_a_server_that_says_nothing() -> None:
    east = Upstream(hides=("fingerprint",))
    red = data_uri(picture("red"))
    with upstreams(east), gateway(provider(east, "east")) as client:
        row = wait_until(client, live("east"))
        assert (row["dim"], row["logit_scale"], row["fingerprint"]) == (8, 100.0, "")
        answer = client.post("/v1/classify", json={"input": red, "labels": ["red", "blue"]})
        assert answer.json()["data"][0]["labels"][0]["label"] == "red"
        assert "x-model-fingerprint" not in answer.headers


@pytest.mark.parametrize(
    "said",
    [
        {"image_size": float("inf")},
        {"image_size": 0},
        {"context_length": 10**9},
        {"logit_scale": float("nan")},
        {"logit_scale": -1.0},
    ],
)
def test_figures_that_no_model_has_are_not_believed(said: dict[str, Any]) -> None:
    east = Upstream(None, **said)
    with upstreams(east), gateway(provider(east, "east")) as client:
        wait_until(client, live("east"))
        answer = client.post("/v1/embeddings", json={"input": "red"})
        assert answer.status_code == 200 and "x-model-fingerprint" not in answer.headers


def test_a_fault_in_looking_at_a_provider_pauses_that_provider_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Any) -> Any:
        raise ZeroDivisionError("a bug of ours")

    east = Upstream()
    with upstreams(east), monkeypatch.context() as patched:
        patched.setattr("clipworks.serve.upstream.Upstream.look", fail)
        with gateway(provider(east, "east"), ProviderSpec(name="local")) as client:
            wait_until(client, lambda states: states == {"east": "paused", "local": "live"})
            assert client.post("/v1/embeddings", json={"input": "red"}).headers["x-provider"] == "local"
            patched.undo()
            wait_until(client, live("east"))


def test_a_provider_that_is_not_there_at_the_start_is_used_when_it_comes() -> None:
    east = Upstream()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    east.address = f"http://127.0.0.1:{port}/v1"
    with gateway(provider(east, "east")) as client:
        wait_until(client, lambda states: states["east"] == "paused")
        early = client.post("/v1/embeddings", json={"input": "red"}, headers={"x-request-timeout-ms": "100"})
        assert (early.status_code, early.json()["error"]["code"]) == (503, "providers_failed")
        assert client.get("/readyz").status_code == 503
        with served(east, port):
            wait_until(client, live("east"))
            assert client.post("/v1/embeddings", json={"input": "red"}).status_code == 200
            assert client.get("/readyz").status_code == 200


def test_keys_and_addresses_of_providers_are_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    east, west = Upstream(), Upstream()
    caplog.set_level("DEBUG")
    with upstreams(east, west), gateway(provider(east, "east", key="sk-secret-7")) as client:
        given = provider(east, "east", key="sk-secret-7")
        wait_until(client, live("east"))
        port = east.address.split(":")[2].split("/")[0]
        east.fault = says(401, {"error": {"message": "sk-secret-7 is unknown", "code": "invalid_api_key"}})
        texts = [client.post("/v1/embeddings", json={"input": "red"}).text for _ in range(2)]
        texts += [client.get(path).text for path in ("/v1/models", "/metrics", "/readyz", "/openapi.json")]
        texts += [repr(given), caplog.text]
    for text in texts:
        assert "sk-secret-7" not in text
    for text in texts[:-2]:
        assert port not in text
    assert "provider east of gate" in caplog.text and "refused" in caplog.text
    own = [record.getMessage() for record in caplog.records if record.name.startswith("clipworks")]
    assert not [line for line in own if port in line]
