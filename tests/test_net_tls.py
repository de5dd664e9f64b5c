"""https: the name in the handshake is the one that was asked for, although an address was dialled."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from web import PUBLIC, Web, answer, redirect, running_web

from clipworks.errors import NetError
from clipworks.net import FetchRules

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
SECURE = FetchRules(mode="public")

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="there is no openssl to make a certificate"
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for pictures.example, its key in the same file."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=pictures.example", "-addext", "subjectAltName=DNS:pictures.example"]
    command = [*make.split(), *names, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    both.write_bytes(cert.read_bytes() + key.read_bytes())
    return both


def play(certificate: Path, story: Callable[[Web, ssl.SSLContext], Awaitable[Any]], names: list[str]) -> Any:
    """A story in a web that speaks TLS; `names` gets what clients say in their handshakes."""

    async def inner() -> Any:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate)
        server.sni_callback = lambda _, name, __: names.append(name)
        client = ssl.create_default_context(cafile=str(certificate))
        async with running_web(tls=server) as web:
            web.pages["/cat.png"] = answer(PNG)
            return await story(web, client)

    return asyncio.run(inner())


def test_the_checked_address_is_dialled_and_the_name_is_verified(certificate: Path) -> None:
    async def story(web: Web, tls: ssl.SSLContext) -> None:
        found = await web.fetcher(SECURE, tls=tls).fetch("https://pictures.example/cat.png")
        assert found.data == PNG and web.dialled == [(PUBLIC, 443)]
        assert b"\r\nHost: pictures.example\r\n" in web.heads[0]

    names: list[str] = []
    play(certificate, story, names)
    assert names == ["pictures.example"]


def test_a_certificate_of_another_name_or_of_an_unknown_authority_is_refused(certificate: Path) -> None:
    async def story(web: Web, tls: ssl.SSLContext) -> None:
        for url, known in (
            ("https://other.example/cat.png", tls),
            ("https://pictures.example/cat.png", None),
        ):
            with pytest.raises(NetError) as caught:
                await web.fetcher(SECURE, tls=known).fetch(url)
            assert caught.value.reason == "unreachable"
        assert web.heads == []

    play(certificate, story, [])


def test_a_redirect_from_https_to_http_is_refused_and_to_https_followed(certificate: Path) -> None:
    async def story(web: Web, tls: ssl.SSLContext) -> None:
        web.pages["/down"] = redirect("http://pictures.example/cat.png")
        web.pages["/on"] = redirect("https://pictures.example/cat.png")
        fetcher = web.fetcher(SECURE, tls=tls)
        assert (await fetcher.fetch("https://pictures.example/on")).data == PNG
        with pytest.raises(NetError) as caught:
            await fetcher.fetch("https://pictures.example/down")
        assert caught.value.reason == "redirect"
        assert {port for _, port in web.dialled} == {443}

    play(certificate, story, [])
