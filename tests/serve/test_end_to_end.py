"""The real server as a process, with a real model, asked by the real `openai` client."""

import base64
import io
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from PIL import Image
from tiny_clip import TinyClip

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Served:
    """A running server."""

    address: str
    model: str
    process: subprocess.Popen[str]
    client: openai.OpenAI

    def post(self, path: str, **given: Any) -> httpx2.Response:
        return httpx2.post(self.address + path, timeout=60, **given)


@pytest.fixture(scope="module")
def served(tiny_clip: TinyClip) -> Iterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "clipworks", "serve", "--model", tiny_clip.native, "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ}
    )
    address = f"http://127.0.0.1:{port}"
    said = _wait_until_it_says(process, address)
    assert process.stdout is not None
    reader = threading.Thread(target=process.stdout.read)
    reader.start()
    try:
        assert process.poll() is None, said
        with openai.OpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0) as client:
            yield Served(address, client.models.list().data[0].id, process, client)
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()


def _wait_until_it_says(process: subprocess.Popen[str], words: str) -> str:
    """Read the process's output up to the line that holds these words, or to its end."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if words in line:
            break
    return "".join(lines)


def noise(seed: int, extension: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, extension)
    return file.getvalue()


def data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def test_texts_and_pictures_in_one_call_equal_single_calls(served: Served) -> None:
    inputs: list[Any] = [
        "a dog",
        data_uri(noise(1)),
        "a much longer sentence about a red boat in the snow",
        {"image": base64.b64encode(noise(2)).decode()},
        {"type": "image_url", "image_url": {"url": data_uri(noise(3))}},
    ]
    answer = served.client.embeddings.create(model=served.model, input=inputs)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > 0
    for row, one in zip(answer.data, inputs, strict=True):
        single = served.client.embeddings.create(model=served.model, input=[one], encoding_format="float")
        np.testing.assert_allclose(row.embedding, single.data[0].embedding, atol=1e-5)
        assert np.linalg.norm(row.embedding) == pytest.approx(1, abs=1e-5)


def test_a_plain_text_is_enough(served: Served) -> None:
    assert served.client.embeddings.create(model=served.model, input="a dog").data[0].index == 0


def test_errors_have_the_classes_of_the_client(served: Served) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        served.client.embeddings.create(model="clip-vit-x", input="a")
    assert missing.value.code == "model_not_found" and missing.value.request_id
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        served.client.embeddings.create(model=served.model, input=[[64, 65]])
    with pytest.raises(openai.PermissionDeniedError) as fetch:
        served.client.embeddings.create(model=served.model, input=[{"image": "https://a/b"}])  # type: ignore[list-item]
    assert fetch.value.code == "url_fetch_disabled"


def test_a_file_is_classified_as_curl_sends_it(served: Served) -> None:
    answer = served.post(
        "/v1/classify",
        data={"model": served.model, "labels": "a cat,a dog,a boat"},
        files={"file": ("a.jpg", noise(4, "JPEG"), "image/jpeg")},
    )
    labels = answer.json()["data"][0]["labels"]
    assert {label["label"] for label in labels} == {"a cat", "a dog", "a boat"}
    assert sum(label["score"] for label in labels) == pytest.approx(1, abs=1e-5)


def large_png(side: int) -> bytes:
    """A whole PNG of side x side black pixels, one bit each, made without their memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + side // 8) * side), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("make", "status", "code"),
    [
        (lambda: b"this is text", 400, "invalid_image"),
        (lambda: noise(5, "JPEG")[:900], 400, "invalid_image"),
        (lambda: b"", 400, "invalid_image"),
        (lambda: large_png(20_000), 413, "image_too_large"),
        (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported_image_format"),
    ],
    ids=["a text file named .jpg", "truncated JPEG", "0 bytes", "20,000 x 20,000 PNG", "SVG"],
)
def test_wrong_pictures_are_refused_and_the_process_lives_on(
    served: Served, make: Callable[[], bytes], status: int, code: str
) -> None:
    broken = {"image": base64.b64encode(make()).decode()}
    body = {"model": served.model, "input": [data_uri(noise(6)), broken]}
    answer = served.post("/v1/embeddings", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, "input[1].image")
    assert httpx2.get(f"{served.address}/livez").status_code == 200


def _odd_pictures() -> dict[str, bytes]:
    files = {name: io.BytesIO() for name in ("16-bit PNG", "CMYK", "animated GIF", "1x1", "alpha")}
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)).save(files["16-bit PNG"], "PNG")
    Image.new("CMYK", (30, 30), (10, 200, 30, 40)).save(files["CMYK"], "JPEG")
    frames = [Image.new("P", (20, 20), colour) for colour in (1, 2, 3)]
    frames[0].save(files["animated GIF"], "GIF", save_all=True, append_images=frames[1:])
    Image.new("RGB", (1, 1)).save(files["1x1"], "PNG")
    Image.new("RGBA", (20, 20), (1, 2, 3, 4)).save(files["alpha"], "PNG")
    return {name: file.getvalue() for name, file in files.items()}


@pytest.mark.parametrize("name", list(_odd_pictures()))
def test_odd_pictures_are_taken(served: Served, name: str) -> None:
    answer = served.client.embeddings.create(model=served.model, input=[data_uri(_odd_pictures()[name])])
    assert np.isfinite(answer.data[0].embedding).all()


def test_a_body_larger_than_the_limit_is_refused_over_a_real_connection(served: Served) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(80):
            yield b"x" * (1 << 20)

    headers = {"content-type": "application/json"}
    answer = served.post("/v1/embeddings", content=pieces(), headers=headers)
    assert answer.status_code == 413 and answer.json()["error"]["code"] == "request_too_large"


def test_the_page_and_the_health_routes_answer(served: Served) -> None:
    assert httpx2.get(served.address, timeout=60).headers["content-type"].startswith("text/html")
    ready = httpx2.get(f"{served.address}/readyz", timeout=60)
    assert ready.status_code == 200 and ready.json()["models"] == {served.model: "ready"}


def test_the_server_stops_when_it_is_told_to(served: Served) -> None:
    """Last in this file: it ends the server of the others."""
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(30) in (0, -signal.SIGTERM)
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{served.address}/livez")
