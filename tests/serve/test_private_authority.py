"""Providers with certificates of an authority of one's own: `ca_file` makes them trusted."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from clipworks.serve.app import create_app
from clipworks.serve.roster import ProviderSpec
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ColourEngine, refusal
from tests.serve.upstreams import gateway, live, wait_until

pytestmark = pytest.mark.slow

NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ca.pem`, a certificate of it (`s.pem`, `s.key`), and one that only says itself that it is good."""
    folder = tmp_path_factory.mktemp("papers")
    (folder / "ext").write_text(NAMES)
    new = ("openssl", "req", "-newkey", "rsa:2048", "-nodes")
    signed = (
        "openssl",
        "x509",
        "-req",
        "-in",
        "s.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
    )
    for command in (
        (*new, "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Our authority"),
        (*new, "-keyout", "s.key", "-out", "s.csr", "-subj", "/CN=localhost"),
        (*signed, "-out", "s.pem", "-days", "2", "-extfile", "ext"),
        (
            *new,
            "-x509",
            "-keyout",
            "self.key",
            "-out",
            "self.pem",
            "-subj",
            "/CN=localhost",
            "-addext",
            NAMES,
        ),
    ):
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return folder


@contextmanager
def upstream(papers: Path, name: str) -> Iterator[int]:
    """A clipworks behind https; its port."""
    app = create_app(ServeSettings(insecure=True), {"colours": ColourEngine()})  # type: ignore[dict-item]
    listener = socket.create_server(("127.0.0.1", 0))
    files = {"ssl_certfile": str(papers / f"{name}.pem"), "ssl_keyfile": str(papers / f"{name}.key")}
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on", **files))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join()
    listener.close()


def spec_of(port: int, host: str, ca_file: str) -> ProviderSpec:
    address = f"https://{host}:{port}/v1"
    return ProviderSpec(name="east", url=address, model="colours", private=True, ca_file=ca_file)


@pytest.mark.parametrize(
    ("name", "authority", "host"),
    [("s", "ca.pem", "localhost"), ("s", "ca.pem", "127.0.0.1"), ("self", "self.pem", "localhost")],
)
def test_a_private_authority_or_the_certificate_itself_is_trusted_where_it_is_named(
    papers: Path, name: str, authority: str, host: str
) -> None:
    with upstream(papers, name) as port, gateway(spec_of(port, host, str(papers / authority))) as client:
        wait_until(client, live("east"))
        assert client.post("/v1/embeddings", json={"input": "red"}).status_code == 200


def test_without_it_the_log_says_that_the_certificate_is_not_trusted_and_the_client_whom_to_blame(
    papers: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        upstream(papers, "s") as port,
        gateway(spec_of(port, "localhost", ""), request_seconds=0.5) as client,
    ):
        wait_until(client, lambda states: states["east"] == "paused")
        answer = client.post("/v1/embeddings", json={"input": "red"})
        assert "east: unreachable" in refusal(answer, 503, "providers_failed", None)
    assert "The server's certificate is not trusted: unable to get local issuer certificate" in caplog.text
