"""No byte arrives at a private address through the second door either; and what it makes of answers."""

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from picture_web import PUBLIC, PictureWeb, running_pictures
from ssrf import NAMES, private_urls
from web import running_web

from clipworks.addresses import WebAddress, parse_address
from clipworks.crawler import Crawler, CrawlRules
from clipworks.errors import ConfigError, NetError
from clipworks.exchange import Answer
from clipworks.names import Names

URL = "http://pictures.example/ok/1.jpg"


def in_web(story: Callable[[PictureWeb, Crawler], Awaitable[Any]], rules: CrawlRules | None = None) -> Any:
    async def play(web: PictureWeb) -> Any:
        crawler = Crawler(rules or CrawlRules(), Names(web.resolve), route=web.route)
        try:
            return await story(web, crawler)
        finally:
            assert crawler.held_bytes >= 0
            await crawler.close()

    with running_pictures() as web:
        return asyncio.run(play(web))


def reason_of(url: str, rules: CrawlRules | None = None) -> str:
    async def story(web: PictureWeb, crawler: Crawler) -> str:
        with pytest.raises(NetError) as caught:
            await crawler.ask(parse_address(url))
        assert crawler.held_bytes == 0
        return caught.value.reason

    return str(in_web(story, rules))


def test_no_address_of_the_corpus_makes_one_byte_arrive_at_a_private_address() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        if host not in NAMES:
            raise socket.gaierror(-2, "unknown")
        return NAMES[host]

    async def play() -> None:
        async with running_web() as trap:
            crawler = Crawler(CrawlRules(ports=()), Names(resolve))
            for url in private_urls(trap.port):
                with pytest.raises(NetError) as caught:
                    await crawler.ask(parse_address(url))
                assert caught.value.reason in ("blocked", "malformed", "dns"), url
            for host in ("2130706433", "0x7f.1", "127.1", "0177.0.0.1", "0"):
                with pytest.raises(NetError):
                    await crawler.ask(WebAddress(scheme="http", host=host, port=trap.port, target="/"))
            await crawler.close()
            assert trap.num_connections == 0

    asyncio.run(play())


def test_a_name_that_changes_its_address_is_judged_before_it_is_dialled() -> None:
    answers = [[PUBLIC], ["127.0.0.1"]]

    async def resolve(host: str, port: int) -> Sequence[str]:
        return answers.pop(0)

    async def play(web: PictureWeb) -> None:
        dialled = list[str]()

        def route(address: str, port: int) -> tuple[str, int]:
            dialled.append(address)
            return web.route(address, port)

        crawler = Crawler(CrawlRules(), Names(resolve, seconds=0), route=route)
        answer = await crawler.ask(parse_address(URL))  # asked once: what was checked is what is dialled
        assert answer.status == 200 and dialled == [PUBLIC] and len(answers) == 1
        with pytest.raises(NetError) as caught:
            await crawler.ask(parse_address(URL))
        assert caught.value.reason == "blocked" and not answers
        assert dialled == [PUBLIC] and web.num_connections == len(web.requests) == 1
        await crawler.close()

    with running_pictures() as web:
        asyncio.run(play(web))


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")

    async def story(web: PictureWeb, crawler: Crawler) -> None:
        answer = await crawler.ask(parse_address(URL))
        assert answer.status == 200 and answer.data.startswith(b"\xff\xd8")
        assert crawler.held_bytes == len(answer.data)
        crawler.let_go(len(answer.data))
        assert list(web.agents) == [crawler.rules.user_agent] and "clipworks" in crawler.rules.user_agent

    in_web(story)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("cut", "damaged"),
        ("header", "damaged"),
        ("bomb", "unwanted"),
        ("large", "too_large"),
        ("endless", "too_large"),
    ],
)
def test_faults_of_hosts_have_names(path: str, reason: str) -> None:
    assert reason_of(f"http://pictures.example/{path}", CrawlRules(max_bytes=1 << 20)) == reason


def test_hosts_that_cannot_be_reached_have_names() -> None:
    assert reason_of("http://dead.example/") == "dns"
    assert reason_of("http://refused.example/") == "unreachable"
    assert reason_of("http://inside.example/") == "blocked"
    assert reason_of("http://pictures.example:22/") == "blocked"
    assert reason_of("http://pictures.example/hang", CrawlRules(read_seconds=0.2)) == "timeout"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate")
def test_a_certificate_that_nobody_signed_is_refused(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-subj", "/CN=pictures.example", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)

    async def play() -> None:
        async with running_web(tls=server) as web:
            crawler = Crawler(CrawlRules(), Names(web.resolve), route=lambda _a, _p: ("127.0.0.1", web.port))
            with pytest.raises(NetError) as caught:
                await crawler.ask(parse_address("https://pictures.example/cat.png"))
            assert caught.value.reason == "tls" and web.heads == []
            await crawler.close()

    asyncio.run(play())


def test_redirects_are_answers_and_not_followed() -> None:
    async def story(web: PictureWeb, crawler: Crawler) -> None:
        answer = await crawler.ask(parse_address("http://pictures.example/moved"))
        assert answer.status == 301 and answer.header("location") == "/ok/8.jpg" and len(web.requests) == 1

    in_web(story)


def test_a_body_is_read_only_if_its_head_and_its_beginning_are_wanted() -> None:
    async def story(web: PictureWeb, crawler: Crawler) -> None:
        heads = list[Answer]()

        def no(answer: Answer) -> bool:
            heads.append(answer)
            return False

        assert (await crawler.ask(parse_address(URL), is_wanted=no)).data == b"" and len(heads) == 1
        with pytest.raises(NetError) as caught:
            await crawler.ask(parse_address(URL), begins_well=lambda head: head.startswith(b"GIF"))
        assert caught.value.reason == "unwanted" and crawler.held_bytes == 0

    in_web(story)


def test_a_file_can_be_read_up_to_a_length() -> None:
    async def story(web: PictureWeb, crawler: Crawler) -> None:
        answer = await crawler.ask(parse_address("http://pictures.example/large"), cut_bytes=1000)
        assert answer.is_cut and len(answer.data) == 1000 == crawler.held_bytes

    in_web(story)


def test_large_bodies_are_given_up_where_there_is_no_room() -> None:
    rules = CrawlRules(max_bytes_in_flight=1 << 20)
    assert reason_of("http://pictures.example/large", rules) == "busy"


def test_connections_are_kept_where_that_is_asked() -> None:
    async def story(web: PictureWeb, crawler: Crawler) -> None:
        for keep in (True, True, False):
            await crawler.ask(parse_address(URL), keep=keep)
        assert len(web.requests) == 3 and web.num_connections == 1

    in_web(story)


@pytest.mark.parametrize(
    "wrong", [{"user_agent": "é"}, {"max_bytes": 0}, {"ports": (0,)}, {"read_seconds": 0}]
)
def test_rules_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        CrawlRules(**wrong)
