"""Thousands of odd requests against a real server: no answer may be a 5xx, no private address be asked.

    PYTHONPATH=tests python -m benchmarks.fuzz [--requests 10000] [--seed 1] [--out FILE]

A third of the requests are made by schemathesis from the server's own OpenAPI document (positive and
negative data), a third carry mutated picture files of every format, a third addresses of the SSRF
corpus, redirects and names that change their address included. The server fetches addresses in
`public` mode; its resolver and dialler are the corpus's, and a trap listens on loopback. It has a
gallery, and accounts in SQLite: the key of all requests may do everything, and the books must agree after.
"""

import argparse
import base64
import io
import json
import os
import random
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as with_seed
from hypothesis import strategies as st
from pictures import encoded, picture
from PIL import Image
from ssrf import private_urls, redirect_targets

from benchmarks.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
MARGIN_BYTES = 64 << 20
"""How much the server may grow after the first tenth of the requests."""

ROUNDS = 50
"""How often all routes of the document are asked at most."""

READINGS = 20
"""How often its size is written down."""

Send = Callable[[httpx2.Request], bool]
"""Sends a request; whether it could be put on the wire."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found = fuzz(arguments.requests, arguments.seed)
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    sys.exit(0 if found["passed"] else 1)


def fuzz(num_requests: int, seed: int) -> dict[str, Any]:
    """Send the requests, and what came of them."""
    started = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.fuzz_server"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        said = json.loads(server.stdout.readline())
        outcome = _Outcome(server.pid, num_requests)
        key = {"authorization": f"Bearer {said['key']}"}
        with httpx2.Client(base_url=said["address"], timeout=60, headers=key) as client:
            third = num_requests // 3
            send = _sender(client, outcome)
            for request in pictures(client, random.Random(seed), third):
                send(request)
            for request in addresses(client, said["trap_port"], third):
                send(request)
            described(client, send, num_requests - outcome.count, seed)
            is_alive = client.get("/livez").status_code == 200
            is_ready = client.get("/readyz").status_code == 200
        server.stdin.write("stop\n")
        server.stdin.flush()
        traffic = json.loads(server.stdout.readline())
    growth_bytes = outcome.readings[-1] - outcome.readings[READINGS // 10 - 1]
    return {
        "machine": describe_machine(),
        "requests": outcome.count,
        "ssrf_addresses": len(private_urls(0)) + len(redirect_targets(0)),
        "statuses": dict(sorted(outcome.statuses.items())),
        "server_errors": outcome.errors[:10],
        "codes": dict(outcome.codes.most_common()),
        "rss_mb": [round(num_bytes / 1e6) for num_bytes in outcome.readings],
        "peak_rss_mb": round(outcome.peak_bytes / 1e6),
        **traffic,
        "seconds": round(time.monotonic() - started),
        "passed": is_alive
        and is_ready
        and not outcome.errors
        and traffic["trap_connections"] == 0
        and not traffic["private_dialled"]
        and not traffic["faults_of_the_books"]
        and growth_bytes < MARGIN_BYTES,
    }


class _Outcome:
    """What was answered, and how large the server was."""

    def __init__(self, pid: int, num_requests: int) -> None:
        self.count = 0
        self.statuses: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.errors: list[str] = []
        self.readings: list[int] = []
        """Bytes resident after each twentieth of the requests."""
        self.peak_bytes = 0
        self._status = Path(f"/proc/{pid}/statm")
        self._num_requests = num_requests

    def note(self, request: httpx2.Request, answer: httpx2.Response) -> None:
        self.count += 1
        status = answer.status_code
        self.statuses[str(status)] += 1
        if status >= 400:
            self.codes[_code_of(answer)] += 1
        if status >= 500:
            self.errors.append(f"{request.method} {request.url.path} {status} {answer.text[:300]}")
        num_bytes = int(self._status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        self.peak_bytes = max(self.peak_bytes, num_bytes)
        if self.count * READINGS >= (len(self.readings) + 1) * self._num_requests:
            self.readings.append(num_bytes)


def _code_of(answer: httpx2.Response) -> str:
    """The code or type of an error, in whichever family's shape."""
    try:
        body = answer.json()
        error = body.get("error", body)
        return str(error["code"] if isinstance(error, dict) else body["error_type"])
    except (ValueError, LookupError, AttributeError):
        return "no body" if answer.request.method == "HEAD" else "no error of any shape"


def _sender(client: httpx2.Client, outcome: _Outcome) -> Send:
    def send(request: httpx2.Request) -> bool:
        try:
            answer = client.send(request)
        except httpx2.LocalProtocolError:  # what cannot be put on the wire cannot hurt
            return False
        outcome.note(request, answer)
        return True

    return send


def pictures(client: httpx2.Client, rng: random.Random, count: int) -> Iterator[httpx2.Request]:
    """Picture files of every format with bytes changed, cut, doubled, and joined to others."""
    kinds = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
    modes = ("RGB", "L", "P", "RGBA", "CMYK", "1", "I;16", "F")
    files = []
    for kind in kinds:
        for mode in modes:
            try:
                files.append(encoded(picture(mode, rng.randint(1, 90), rng.randint(1, 90)), kind))
            except (OSError, ValueError, KeyError):
                continue
    frames = [Image.new("P", (20, 20), i) for i in range(5)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    files.append(stream.getvalue())
    for _ in range(count):
        file = mutated(rng, files)
        route = rng.choice(("embeddings", "classify", "similarity", "multipart", "raw"))
        uri = "data:image/png;base64," + base64.b64encode(file).decode()
        if route == "multipart":
            upload = {"file": (rng.choice(("a.png", "", "../x", "é")), file)}
            yield client.build_request("POST", "/v1/classify", files=upload, data={"labels": "a,b"})
        elif route == "raw":
            kind = rng.choice(("image/png", "image/svg+xml", "application/octet-stream"))
            headers = {"content-type": kind}
            yield client.build_request("POST", "/v1/classify?labels=a", content=file, headers=headers)
        else:
            field = "images" if route == "similarity" else "input"
            body: dict[str, Any] = {field: [{"image": uri}] * rng.choice((1, 1, 1, 3))}
            body |= {"labels": ["a"]} if route == "classify" else {}
            body |= {"texts": ["a"]} if route == "similarity" else {}
            yield client.build_request("POST", f"/v1/{route}", json=body)


def mutated(rng: random.Random, files: list[bytes]) -> bytes:
    """One of the files, damaged in one to four ways."""
    file = bytearray(rng.choice(files))
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(file) + 1)
        match rng.randrange(7):
            case 0:
                file[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                file[rng.randrange(min(len(file), 64) + 1) :][:4] = rng.randbytes(4)
                head = rng.randrange(min(len(file), 64) + 1)
                file[head : head + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", rng.randbytes(4)))
            case 2:
                del file[place:]
            case 3:
                file[place:place] = rng.randbytes(rng.randint(1, 50))
            case 4:
                file += rng.choice(files)
            case 5:
                del file[place : place + rng.randint(1, 30)]
            case 6:
                file[place:place] = file[: rng.randint(1, 200)]
    return bytes(file)


def addresses(client: httpx2.Client, trap_port: int, count: int) -> Iterator[httpx2.Request]:
    """The SSRF corpus in every shape that a picture may have, and servers that lead elsewhere."""
    urls = private_urls(trap_port)
    urls += [f"http://redirect-{i}.example/" for i in range(len(redirect_targets(trap_port)))]
    urls += ["http://rebind.example/cat.png", f"http://rebind.example:{trap_port}/", "http://loop.example/"]
    urls += ["http://pictures.example/cat.png", "https://pictures.example/cat.png", "http://large.example/"]
    shapes: tuple[Callable[[str], tuple[str, Any]], ...] = (
        lambda url: ("/v1/embeddings", {"input": [{"image": url}]}),
        lambda url: ("/v1/embeddings", {"input": {"type": "image_url", "image_url": {"url": url}}}),
        lambda url: ("/v1/embeddings", {"input": url, "modality": "image"}),
        lambda url: ("/v1/embeddings", {"input": [url, "a"]}),
        lambda url: ("/v1/classify", {"input": [url], "labels": ["a"]}),
        lambda url: ("/v1/similarity", {"images": [{"image_url": url}], "texts": ["a"]}),
    )
    for i in range(count):
        path, body = shapes[(i // len(urls)) % len(shapes)](urls[i % len(urls)])
        text = json.dumps(body).encode()
        yield client.build_request("POST", path, content=text, headers={"content-type": "application/json"})


def described(client: httpx2.Client, send: Send, count: int, seed: int) -> None:
    """Requests that schemathesis makes of the OpenAPI document, right and wrong ones."""
    import schemathesis
    from schemathesis.core.result import Ok
    from schemathesis.generation import GenerationMode

    warnings.simplefilter("ignore")
    schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    left = count
    per_operation = max(1, count // (2 * len(operations)))
    for _ in range(ROUNDS):
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                if left > 0:
                    num = min(per_operation, left)
                    left -= _drawn(client, send, operation.as_strategy(generation_mode=mode), num, seed)
        seed += 1


def _drawn(client: httpx2.Client, send: Send, cases: st.SearchStrategy[Any], count: int, seed: int) -> int:
    sent = 0

    @with_seed(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def one(case: Any) -> None:
        nonlocal sent
        if sent < count:
            sent += send(_request_of(client, case))

    try:
        one()
    except Exception as error:  # noqa: BLE001 - a route whose negative data cannot be generated
        if sent == 0:
            print(f"not generated: {type(error).__name__} {str(error)[:100]}", file=sys.stderr)
    return sent


def _request_of(client: httpx2.Client, case: Any) -> httpx2.Request:
    raw = case.as_transport_kwargs(base_url=str(client.base_url).rstrip("/"))
    known = {name: raw[name] for name in ("method", "url", "headers", "params", "json") if name in raw}
    content = raw.get("data", raw.get("content"))
    if isinstance(content, str | bytes):
        known["content"] = content
    headers = dict(known.pop("headers", None) or {})
    safe = {str(name).encode(): str(value).encode("utf-8", "replace") for name, value in headers.items()}
    safe = {name: value for name, value in safe.items() if name.lower() != b"authorization"}  # ours is right
    try:
        return client.build_request(**known, headers=safe)
    except (ValueError, UnicodeError, httpx2.InvalidURL, TypeError):
        return client.build_request("GET", "/")


if __name__ == "__main__":
    main()
