"""No byte arrives at a private address, whatever the address, the resolver or a redirect says."""

import asyncio
import socket
from collections.abc import AsyncGenerator

import pytest
import web as webs
from ssrf import NAMES, private_urls, redirect_targets
from web import answer, redirect, running_web

from clipworks.addresses import WebAddress
from clipworks.errors import NetError
from clipworks.net import UNFETCHED, Fetcher, FetchRules

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
URL = "http://pictures.example/cat.png"


def test_no_address_of_the_corpus_makes_one_byte_arrive_at_a_private_address() -> None:
    """The trap listens on 127.0.0.1; what is dialled is dialled for real."""

    async def play() -> None:
        async with running_web() as trap:
            urls = private_urls(trap.port)
            assert len(set(urls)) >= 60
            dialled: list[str] = []

            async def dial(address: str, port: int) -> socket.socket:
                dialled.append(address)
                raise OSError("this test dials nothing")

            async def resolve(host: str, port: int) -> list[str]:
                if host not in NAMES:
                    raise socket.gaierror(-2, "unknown")
                return NAMES[host]

            rules = FetchRules(mode="public", ports=(80, 443, trap.port), total_seconds=5)
            for real in (False, True):
                fetcher = Fetcher(rules, resolve=resolve, dial=None if real else dial)
                for url in urls:
                    with pytest.raises(NetError) as caught:
                        await fetcher.fetch(url)
                    reason = caught.value.reason
                    assert reason in ("blocked", "malformed", "unreachable"), (url, reason)
                    assert reason != "blocked" or caught.value.message == UNFETCHED
                fetcher.close()
            assert dialled == []
            assert trap.num_connections == 0 and trap.heads == []

    asyncio.run(play())


async def _read_nothing(events: AsyncGenerator[object, None]) -> bytes:
    return b""


def test_the_systems_resolver_is_believed_only_as_far_as_its_answers_go() -> None:
    """Numbers in odd forms are refused by the parser; were they not, the check of the answers stands."""

    async def play() -> None:
        async with running_web() as trap:
            fetcher = Fetcher(FetchRules(mode="public", ports=(trap.port,)))
            for host in ("2130706433", "0x7f.1", "127.1", "0177.0.0.1", "0", "localhost", "①②⑦.⓪.⓪.①"):
                address = WebAddress(scheme="http", host=host, port=trap.port, target="/")
                with pytest.raises((NetError, OSError)) as caught:
                    await fetcher._follow(address, _read_nothing, 1000, 0)
                assert getattr(caught.value, "reason", "unreachable") in ("blocked", "unreachable"), host
            fetcher.close()
            assert trap.num_connections == 0

    asyncio.run(play())


@pytest.mark.parametrize("number", range(len(redirect_targets(1))))
def test_a_redirect_to_a_private_address_is_not_followed(number: int) -> None:
    async def play() -> None:
        async with running_web() as trap, running_web() as web:
            web.names |= NAMES
            web.pages["/cat.png"] = redirect(redirect_targets(trap.port)[number])
            rules = FetchRules(mode="public", ports=(80, 443, trap.port))
            with pytest.raises(NetError) as caught:
                await web.fetcher(rules).fetch(URL)
            assert caught.value.reason in ("blocked", "redirect") and caught.value.message == UNFETCHED
            assert web.dialled == [(webs.PUBLIC, 80)] and trap.num_connections == 0

    asyncio.run(play())


def test_a_name_that_changes_its_address_between_check_and_dial_gains_nothing() -> None:
    async def play() -> None:
        async with running_web() as trap, running_web() as web:
            answers = [[webs.PUBLIC], ["127.0.0.1"], ["127.0.0.1"]]
            web.pages["/cat.png"] = answer(PNG)

            async def rebinding(host: str, port: int) -> list[str]:
                web.asked.append(host)
                return answers[len(web.asked) - 1]

            rules = FetchRules(mode="public", ports=(80, trap.port))
            fetcher = Fetcher(rules, resolve=rebinding, dial=web.dial)
            assert (await fetcher.fetch("http://rebind.example/cat.png")).data == PNG
            assert web.asked == ["rebind.example"] and web.dialled == [(webs.PUBLIC, 80)]
            with pytest.raises(NetError) as caught:
                await fetcher.fetch(f"http://rebind.example:{trap.port}/cat.png")
            assert caught.value.reason == "blocked" and len(web.dialled) == 1
            assert trap.num_connections == 0

    asyncio.run(play())


def test_a_redirect_is_resolved_and_checked_anew() -> None:
    async def play() -> None:
        async with running_web() as web:
            answers = [[webs.PUBLIC], ["10.0.0.1"]]
            web.pages["/cat.png"] = redirect("/again.png")

            async def rebinding(host: str, port: int) -> list[str]:
                web.asked.append(host)
                return answers[len(web.asked) - 1]

            fetcher = Fetcher(FetchRules(mode="public"), resolve=rebinding, dial=web.dial)
            with pytest.raises(NetError) as caught:
                await fetcher.fetch(URL)
            assert caught.value.reason == "blocked" and len(web.asked) == 2 and len(web.dialled) == 1

    asyncio.run(play())
