"""What holds for every route: error objects, request ids, headers, limits of the body, health."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from clipworks.errors import CheckpointError, ConfigError
from clipworks.serve.app import create_app
from clipworks.serve.served import ServedModel
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ColourEngine, data_uri, picture, refusal, scope_of, talk

EMBEDDINGS = "/v1/embeddings"
JSON = {"content-type": "application/json"}
ROUTES = [
    ("GET", "/"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/colours"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/classify"),
    ("POST", "/v1/similarity"),
    ("POST", "/v1/search"),
    ("GET", "/models"),
    ("POST", "/embeddings"),
    ("POST", "/pooling"),
    ("POST", "/classify"),
    ("POST", "/score"),
    ("POST", "/v2/rerank"),
    ("POST", "/v1/embed"),
    ("POST", "/v1/multimodalembeddings"),
    ("POST", "/embed"),
    ("GET", "/info"),
    ("POST", "/models/colours"),
    ("POST", "/hf/colours/feature-extraction"),
    ("POST", "/knn-service"),
    ("GET", "/indices-list"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/health"),
    ("GET", "/gallery/red%20one.png"),
    ("GET", "/static/site.css"),
    ("GET", "/nothing"),
    ("DELETE", "/v1/models"),
]


@pytest.mark.parametrize(("method", "address"), ROUTES)
def test_every_answer_has_a_request_id_and_security_headers(
    client: TestClient, method: str, address: str
) -> None:
    answer = client.request(method, address)
    assert answer.headers["x-request-id"].startswith("req_")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


def test_a_sane_request_id_is_kept_and_a_strange_one_is_not(client: TestClient) -> None:
    assert client.get("/livez", headers={"x-request-id": "abc-1.2:3"}).headers["x-request-id"] == "abc-1.2:3"
    for strange in ("a b", "é", "x" * 101, "<script>"):
        headers = {"x-request-id": strange.encode()}
        assert client.get("/livez", headers=headers).headers["x-request-id"].startswith("req_")


def test_unknown_addresses_and_methods_are_error_objects(client: TestClient) -> None:
    refusal(client.get("/v1/nothing"), 404, "not_found", None)
    refusal(client.get("/static/no.css"), 404, "not_found", None)
    refusal(client.get("/static/../app.py"), 404, "not_found", None)
    refusal(client.get("/static/..%2Fapp.py"), 404, "not_found", None)
    refusal(client.put("/v1/embeddings"), 405, "method_not_allowed", None)
    refusal(client.get("/v1/embeddings"), 405, "method_not_allowed", None)
    refused = client.get("/v1/embeddings")
    assert "POST" in refused.headers["allow"] and "takes POST only" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'"a"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a": NaN}',
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_a_body_that_is_no_json_object_is_refused(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/embeddings", content=body, headers=JSON)
    assert len(refusal(answer, 400, "invalid_value", None)) < 200


def test_a_body_of_no_type_is_told_by_its_beginning(client: TestClient) -> None:
    """huggingface_hub sends pictures so, clip-retrieval's client JSON."""
    none = {"content-type": ""}
    text = client.post(EMBEDDINGS, content=b' {"model": "colours", "input": "red"}', headers=none)
    image = client.post(f"{EMBEDDINGS}?model=colours", content=picture("red"), headers=none)
    assert (text.json()["usage"]["images"], image.json()["usage"]["images"]) == (0, 1)
    refusal(client.post(EMBEDDINGS, content=b"", headers=none), 415, "unsupported_media_type", None)
    words = client.post(f"{EMBEDDINGS}?model=colours", content=b"words", headers=none)
    refusal(words, 400, "invalid_image", "input[0]")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "nonsense"])
def test_other_content_types_are_refused(client: TestClient, kind: str) -> None:
    answer = client.post("/v1/embeddings", content=b'{"input": "a"}', headers={"content-type": kind})
    assert "application/json" in refusal(answer, 415, "unsupported_media_type", None)


def test_a_compressed_body_is_refused(client: TestClient) -> None:
    answer = client.post("/v1/embeddings", content=b"x", headers={**JSON, "content-encoding": "gzip"})
    refusal(answer, 415, "unsupported_media_type", None)


def test_a_body_over_the_limit_is_refused_whatever_it_says_of_its_length(client: TestClient) -> None:
    def pieces() -> Any:
        for _ in range(20):
            yield b"x" * 100_000

    refusal(
        client.post("/v1/embeddings", content=b"x" * 2_000_000, headers=JSON), 413, "request_too_large", None
    )
    refusal(client.post("/v1/embeddings", content=pieces(), headers=JSON), 413, "request_too_large", None)
    files = {"file": ("a.png", b"x" * 2_000_000)}
    refusal(client.post("/v1/classify", files=files), 413, "request_too_large", None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"x", "multipart/form-data"),
        (b"x", "multipart/form-data; boundary=b"),
        (b"--b\r\nno header\r\n\r\nx\r\n--b--", "multipart/form-data; boundary=b"),
        (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", "multipart/form-data; boundary=b"),
    ],
)
def test_a_damaged_form_is_a_400(client: TestClient, body: bytes, kind: str) -> None:
    answer = client.post("/v1/classify", content=body, headers={"content-type": kind})
    assert answer.status_code == 400 and answer.json()["error"]["message"]


def test_too_many_files_in_a_form_are_refused(client: TestClient) -> None:
    files = [("file", (f"{i}.png", b"x")) for i in range(9)]
    assert client.post("/v1/classify", files=files).status_code == 400


def test_a_failing_engine_is_a_500_without_its_words_and_the_server_lives_on(
    client: TestClient, engine: ColourEngine, caplog: pytest.LogCaptureFixture
) -> None:
    engine.failure = RuntimeError("secret inside")
    for address, fields in (
        ("/v1/embeddings", {"input": "a"}),
        ("/v1/embeddings", {"input": [data_uri(picture())]}),
        ("/v1/classify", {"input": data_uri(picture()), "labels": ["red"]}),
        ("/v1/search", {"text": "a"}),
    ):
        answer = client.post(address, json={"model": "colours", **fields})
        message = refusal(answer, 500, "internal_error", None)
        assert "secret" not in answer.text and answer.headers["x-request-id"] in message
        assert answer.json()["error"]["type"] == "server_error"
    assert "secret inside" in caplog.text
    assert client.get("/readyz").status_code == 503
    assert client.get("/readyz").json()["models"] == {"colours": "not ready", "team/other": "ready"}
    assert client.get("/livez").status_code == 200
    engine.failure = None
    assert client.post("/v1/embeddings", json={"model": "colours", "input": "a"}).status_code == 200
    assert client.get("/readyz").json()["status"] == "ready"
    assert client.get("/health").json().keys() == {"unix", "status"}


def test_the_log_names_requests_and_never_what_was_asked(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client.get("/?q=my-private-words")
    client.post("/v1/embeddings", json={"model": "colours", "input": "my-private-words"})
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("clipworks")]
    assert any(line.startswith("POST /v1/embeddings 200 ") for line in ours)
    assert "my-private-words" not in " ".join(ours)


def test_a_request_that_does_not_arrive_is_given_up(engine: ColourEngine) -> None:
    async def silence() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": b"{", "more_body": True}
        await asyncio.Event().wait()

    app = create_app(ServeSettings(body_seconds=0.05), {"colours": engine})  # type: ignore[dict-item]
    start, body = asyncio.run(talk(app, "POST", EMBEDDINGS, silence()))
    assert start["status"] == 408
    assert json.loads(body["body"])["error"]["code"] == "request_timeout"


@pytest.mark.parametrize("is_whole", [True, False], ids=["after the body", "within the body"])
def test_work_for_a_client_that_has_gone_is_given_up(engine: ColourEngine, is_whole: bool) -> None:
    async def leaving() -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.request", "body": b'{"input": "a"}', "more_body": not is_whole}
        yield {"type": "http.disconnect"}

    async def never(*_: Any) -> Any:
        await asyncio.Event().wait()

    app = create_app(ServeSettings(), {"colours": engine})  # type: ignore[dict-item]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ServedModel, "embed_tokens", never)
        sent = asyncio.run(talk(app, "POST", EMBEDDINGS, leaving()))
    assert all(message.get("status", 499) == 499 for message in sent)


def test_one_request_more_than_the_server_takes_is_told_when_to_come_back(engine: ColourEngine) -> None:
    app = create_app(ServeSettings(max_requests=1), {"colours": engine})  # type: ignore[dict-item]

    async def two() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        first_has_begun, has_sent_all, may_end = (asyncio.Event() for _ in range(3))

        async def slow() -> AsyncIterator[dict[str, Any]]:
            first_has_begun.set()
            await may_end.wait()
            yield {"type": "http.request", "body": b'{"input": "a"}', "more_body": False}
            await asyncio.Event().wait()

        async def quick() -> AsyncIterator[dict[str, Any]]:
            yield {"type": "http.request", "body": b'{"input":', "more_body": True}
            assert not refused, "a client that still sends would not read the refusal"
            has_sent_all.set()
            yield {"type": "http.request", "body": b' "a"}', "more_body": False}

        refused: list[dict[str, Any]] = []
        first = asyncio.ensure_future(talk(app, "POST", EMBEDDINGS, slow()))
        await first_has_begun.wait()

        async def send(message: Any) -> None:
            refused.append(message)

        incoming = quick()
        await app(scope_of("POST", EMBEDDINGS), incoming.__anext__, send)
        assert has_sent_all.is_set()
        may_end.set()
        return await first, refused

    answered, refused = asyncio.run(two())
    assert answered[0]["status"] == 200 and refused[0]["status"] == 429
    headers = {name.decode(): value.decode() for name, value in refused[0]["headers"]}
    assert headers["retry-after"] == "1" and int(headers["retry-after-ms"]) >= 50
    assert json.loads(refused[1]["body"])["error"]["code"] == "server_is_overloaded"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "[::2]", "[", ""]
)
def test_a_request_under_a_strange_host_name_is_refused(client: TestClient, host: str) -> None:
    for path in ("/", "/v1/models", "/gallery/red%20one.png"):
        message = refusal(client.get(path, headers={"host": host}), 403, "host_not_allowed", None)
        assert "127.0.0.1" in message


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_every_name_of_this_machine_is_answered(client: TestClient, host: str) -> None:
    assert client.get("/v1/models", headers={"host": host}).status_code == 200


def test_an_insecure_server_is_answered_under_any_name(engine: ColourEngine) -> None:
    app = create_app(ServeSettings(insecure=True), {"colours": engine})  # type: ignore[dict-item]
    with TestClient(app, base_url="http://pictures.example") as client:
        assert client.get("/v1/models").status_code == 200


def test_a_path_cannot_write_log_lines_of_its_own(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    client.get("/%0aINFO forged%1b[31m")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "clipworks.serve.edge"]
    assert "\n" not in line and "\x1b" not in line and "forged" in line


def test_the_cause_of_an_error_of_ours_is_logged_under_its_id(
    client: TestClient,
    engine: ColourEngine,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> Any:
        raise CheckpointError("the weights are damaged")

    monkeypatch.setattr(engine, "embed_tokens", fail)
    answer = client.post(
        "/v1/classify", json={"model": "colours", "input": data_uri(picture()), "labels": ["a"]}
    )
    message = refusal(answer, 500, "internal_error", None)
    assert answer.headers["x-request-id"] in message and "damaged" not in message
    assert "the weights are damaged" in caplog.text


def test_more_text_than_the_tokenizer_takes_cannot_be_allowed(engine: ColourEngine) -> None:
    with pytest.raises(ConfigError, match="the tokenizer takes 100000"):
        create_app(ServeSettings(max_text_characters=100_001), {"colours": engine})  # type: ignore[dict-item]
