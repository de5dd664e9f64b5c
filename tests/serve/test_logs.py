import io
import json
import logging
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from clipworks.serve.logs import JsonLines, start_logging


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What the server's loggers write as JSON lines."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    ours = logging.getLogger("clipworks")
    level = ours.level
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    yield stream
    ours.removeHandler(handler)
    ours.setLevel(level)


def test_each_request_is_one_line_of_json_with_its_figures(client: TestClient, lines: io.StringIO) -> None:
    body = {"model": "colours", "input": ["private words"]}
    answer = client.post("/v1/embeddings?q=1", json=body)
    client.get("/no%0A%22such%22/place")
    asked, missed = (json.loads(line) for line in lines.getvalue().splitlines())
    assert asked["request_id"] == answer.headers["x-request-id"]
    assert (asked["method"], asked["path"], asked["status"]) == ("POST", "/v1/embeddings", 200)
    assert (asked["model"], asked["texts"], asked["images"]) == ("colours", 1, 0)
    assert asked["bytes_in"] > 20 and asked["inference_milliseconds"] >= 0
    assert asked["level"] == "info" and asked["time"].endswith("Z")
    assert (missed["status"], missed["code"]) == (404, "not_found")
    assert "private" not in lines.getvalue() and "q=1" not in lines.getvalue()


def test_a_failure_is_one_line_too(lines: io.StringIO) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("clipworks.serve.edge").exception("request %s failed", "r1")
    (row,) = (json.loads(line) for line in lines.getvalue().splitlines())
    assert row["message"] == "request r1 failed" and "Traceback" in row["error"]


@pytest.mark.parametrize(("log_format", "begin"), [("text", "20"), ("json", "{")])
def test_the_log_goes_to_the_stream_in_the_form_that_was_chosen(log_format: str, begin: str) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        stream = io.StringIO()
        start_logging(log_format, stream)
        logging.getLogger("clipworks.test").info("hello")
        assert stream.getvalue().startswith(begin) and "hello" in stream.getvalue()
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
