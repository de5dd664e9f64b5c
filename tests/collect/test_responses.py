"""Bodies come out as browsers see them."""

import zlib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web_archive import record, response

from clipworks.collect import responses
from clipworks.collect.records import Record, read_records
from clipworks.collect.responses import decode_body, read_response

BODY = b"<p>caf\xc3\xa9</p>" * 40
CHUNKED = b"10;ext=1\r\n" + BODY[:16] + b"\r\n%x\r\n" % (len(BODY) - 16) + BODY[16:] + b"\r\n0\r\n\r\n"


def one_record(path: Path, data: bytes) -> Record:
    path.write_bytes(data)
    (one,) = read_records(path, Counter())
    return one


def decoded(path: Path, body: bytes, *headers: str) -> bytes | None:
    answer = read_response(one_record(path, response("https://a.example/", body, *headers)))
    assert answer is not None
    return decode_body(answer)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (BODY, ()),
        (BODY, ("Content-Encoding: identity",)),
        (zlib.compress(BODY, 6, 31), ("content-encoding: GZIP",)),
        (zlib.compress(BODY), ("Content-Encoding: deflate",)),
        (zlib.compress(BODY)[2:-4], ("Content-Encoding: deflate",)),
        (CHUNKED, ("Transfer-Encoding: chunked",)),
        (zlib.compress(CHUNKED, 6, 31), ("Transfer-Encoding: chunked, gzip",)),
        (BODY, ("Content-Encoding: gzip",)),
        (BODY, ("Transfer-Encoding: chunked",)),
        (BODY, ("Content-Encoding: br",)),
    ],
)
def test_encodings_are_undone_if_the_crawler_has_not(
    tmp_path: Path, body: bytes, headers: tuple[str, ...]
) -> None:
    assert decoded(tmp_path / "a", body, *headers) == BODY


def test_what_a_cut_body_holds_is_kept(tmp_path: Path) -> None:
    assert decoded(tmp_path / "a", CHUNKED[:100], "Transfer-Encoding: chunked") == BODY[: 100 - 10 - 2 - 5]
    packed = decoded(tmp_path / "b", zlib.compress(BODY, 6, 31)[:-12], "Content-Encoding: gzip")
    assert packed is None or BODY.startswith(packed)


def test_a_body_that_cannot_be_undone_is_none(tmp_path: Path) -> None:
    assert decoded(tmp_path / "a", b"\x1f\x8b\xff rubbish", "Content-Encoding: gzip") is None
    assert decoded(tmp_path / "b", b"\x81\x02\x03", "Content-Encoding: br") is None


def test_a_compressed_body_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "MAX_BODY_BYTES", 1000)
    bomb = zlib.compress(bytes(10**7), 9, 31)
    assert decoded(tmp_path / "a", bomb, "Content-Encoding: gzip") == bytes(1000)


@given(st.lists(st.binary(min_size=1, max_size=50)))
def test_chunks_join_to_what_was_sent(parts: list[bytes]) -> None:
    body = b"".join(b"%X\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    assert responses._join_chunks(body) == b"".join(parts)


def test_status_and_media_type_are_read(tmp_path: Path) -> None:
    data = response("https://a.example/", b"", status=404, media_type="Text/HTML; charset=x")
    answer = read_response(one_record(tmp_path / "a", data))
    assert answer is not None
    assert (answer.status, answer.media_type, answer.content_type) == (
        404,
        "text/html",
        b"Text/HTML; charset=x",
    )


def test_a_resource_record_is_a_body_alone(tmp_path: Path) -> None:
    data = record("resource", "https://a.example/", BODY, content_type="text/html")
    answer = read_response(one_record(tmp_path / "a", data))
    assert answer is not None
    assert (answer.status, answer.media_type, decode_body(answer)) == (200, "text/html", BODY)


def test_what_is_no_response_is_none(tmp_path: Path) -> None:
    assert (
        read_response(one_record(tmp_path / "a", record("response", "https://a.example/", b"rubbish")))
        is None
    )
    headless = record("response", "https://a.example/", b"HTTP/1.0 200 OK\r\nContent-Type: text/html")
    answer = read_response(one_record(tmp_path / "b", headless))
    assert answer is not None and answer.body == b""
