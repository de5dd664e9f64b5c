import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import web as webs
from web import Web, answer, redirect, running_web

from clipworks.errors import ConfigError, NetError
from clipworks.net import UNFETCHED, USER_AGENT, Fetched, Fetcher, FetchRules

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
URL = "http://pictures.example/cat.png"


def in_web(story: Callable[[Web], Awaitable[Any]]) -> Any:
    async def play() -> Any:
        async with running_web() as web:
            web.pages["/cat.png"] = answer(PNG)
            return await story(web)

    return asyncio.run(play())


async def fetch(web: Web, url: str = URL, rules: FetchRules | None = None, **options: Any) -> Fetched:
    fetcher = web.fetcher(rules)
    try:
        return await fetcher.fetch(url, **options)
    finally:
        fetcher.close()


def refused(reason: str, web_story: Callable[[Web], Awaitable[Any]]) -> NetError:
    with pytest.raises(NetError) as caught:
        in_web(web_story)
    assert caught.value.reason == reason
    return caught.value


def test_a_picture_is_fetched_with_a_plain_request_to_the_checked_address() -> None:
    async def story(web: Web) -> None:
        found = await fetch(web, "http://pictures.example/cat.png?size=2#top")
        assert found.data == PNG and found.url == "http://pictures.example/cat.png?size=2"
        assert web.dialled == [(webs.PUBLIC, 80)] and web.asked == ["pictures.example"]
        lines = web.heads[0].decode().split("\r\n")
        assert lines[0] == "GET /cat.png?size=2 HTTP/1.1"
        assert sorted(line.lower() for line in lines[1:] if line) == sorted(
            [
                "host: pictures.example",
                f"user-agent: {USER_AGENT.lower()}",
                "accept: */*",
                "accept-encoding: identity",
                "connection: close",
            ]
        )

    in_web(story)


def test_nothing_is_fetched_unless_it_is_switched_on() -> None:
    async def story(web: Web) -> None:
        fetcher = Fetcher(FetchRules(), resolve=web.resolve, dial=web.dial)
        with pytest.raises(NetError, match="switched off"):
            await fetcher.fetch(URL)
        assert not web.asked and not web.dialled

    in_web(story)


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")

    async def story(web: Web) -> None:
        assert (await fetch(web)).data == PNG

    in_web(story)


def test_three_redirects_are_followed_and_a_fourth_is_not() -> None:
    async def story(web: Web) -> None:
        for i in range(4):
            web.pages[f"/{i}"] = redirect(f"/{i + 1}" if i % 2 else f"http://other.example/{i + 1}")
        web.pages["/4"] = answer(PNG)
        assert (await fetch(web, "http://pictures.example/1")).url == "http://other.example/4"
        with pytest.raises(NetError) as caught:
            await fetch(web, "http://pictures.example/0")
        assert caught.value.reason == "redirect"
        web.heads.clear()
        web.pages["/loop"] = redirect("/loop")
        with pytest.raises(NetError) as caught:
            await fetch(web, "http://pictures.example/loop")
        assert caught.value.reason == "redirect" and len(web.heads) == 4

    in_web(story)


def test_a_redirect_without_a_place_is_refused() -> None:
    async def story(web: Web) -> None:
        web.pages["/cat.png"] = answer(status="301 Moved")
        await fetch(web)

    refused("redirect", story)


@pytest.mark.parametrize("status", ["204 No Content", "206 Partial Content", "304 No", "404 No", "500 No"])
def test_only_status_200_counts(status: str) -> None:
    async def story(web: Web) -> None:
        web.pages["/cat.png"] = answer(b"" if status[0] in "23" else PNG, status=status)
        await fetch(web)

    assert refused("status", story).status == int(status[:3])


def test_a_body_is_counted_while_it_arrives_whatever_its_length_is_said_to_be() -> None:
    async def story(web: Web) -> None:
        rules = FetchRules(mode="public", max_bytes=1000)
        web.pages["/exact"] = answer(bytes(1000))
        assert len((await fetch(web, "http://pictures.example/exact", rules)).data) == 1000
        chunk = b"300\r\n" + bytes(0x300) + b"\r\n"
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        web.pages["/said"] = answer(bytes(1001))
        web.pages["/chunked"] = head + chunk * 2 + b"0\r\n\r\n"
        web.pages["/unsaid"] = b"HTTP/1.0 200 OK\r\n\r\n" + bytes(1001)
        for path in ("said", "chunked", "unsaid"):
            with pytest.raises(NetError, match="larger than 1,000 bytes") as caught:
                await fetch(web, f"http://pictures.example/{path}", rules)
            assert caught.value.reason == "too_large"
        with pytest.raises(NetError, match="larger than 999 bytes"):
            await fetch(web, "http://pictures.example/exact", rules, max_bytes=999)

    in_web(story)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        answer(PNG, length=5000),
    ],
    ids=["nothing", "no HTTP", "two lengths", "negative", "long head", "upgrade", "bad chunk", "cut off"],
)
def test_a_damaged_answer_is_refused(raw: bytes) -> None:
    async def story(web: Web) -> None:
        web.pages["/cat.png"] = raw
        await fetch(web)

    assert refused("damaged", story).message == UNFETCHED


def test_a_compressed_body_is_refused_since_its_size_is_not_what_it_seems() -> None:
    async def story(web: Web) -> None:
        web.pages["/cat.png"] = answer(PNG, headers=["Content-Encoding: gzip"])
        await fetch(web)

    refused("unwanted", story)


def test_what_does_not_begin_as_wanted_is_not_read_to_its_end() -> None:
    async def story(web: Web) -> None:
        heads = []

        def is_wanted(head: bytes) -> bool:
            heads.append(head)
            return head.startswith(b"\x89PNG")

        assert (await fetch(web, is_wanted=is_wanted)).data == PNG
        for body in (b"<html>" + bytes(1 << 20), b"short", b""):
            web.pages["/page"] = answer(body)
            with pytest.raises(NetError) as caught:
                await fetch(web, "http://pictures.example/page", is_wanted=is_wanted)
            assert caught.value.reason == "unwanted"
        assert all(len(head) <= 64 for head in heads)

    in_web(story)


@pytest.mark.parametrize("slow", ["silent", "dripping"])
def test_a_server_that_takes_its_time_is_given_up(slow: str) -> None:
    async def story(web: Web) -> None:
        async def wait(head: bytes) -> bytes:
            await asyncio.Event().wait()
            return b""

        web.pages["/cat.png"] = wait
        short, long = 0.05, 30.0
        rules = FetchRules(
            mode="public",
            read_seconds=short if slow == "silent" else long,
            total_seconds=long if slow == "silent" else short,
        )
        await fetch(web, rules=rules)

    assert refused("timeout", story).message == UNFETCHED


def test_a_resolver_that_hangs_is_given_up() -> None:
    async def story(web: Web) -> None:
        async def hang(host: str, port: int) -> list[str]:
            await asyncio.Event().wait()
            return []

        fetcher = Fetcher(FetchRules(mode="public", connect_seconds=0.05), resolve=hang, dial=web.dial)
        await fetcher.fetch(URL)

    refused("timeout", story)


def test_blocked_unreachable_and_late_read_the_same() -> None:
    async def story(web: Web) -> None:
        web.names["private.example"] = ["10.0.0.1"]
        texts = set()
        for host in ("private.example", "unknown.example", "127.0.0.1", "pictures.example:81"):
            with pytest.raises(NetError) as caught:
                await fetch(web, f"http://{host}/secret?token=x")
            texts.add(str(caught.value))
        assert texts == {UNFETCHED}

    in_web(story)


def test_a_second_public_address_is_dialled_where_the_first_does_not_answer() -> None:
    async def story(web: Web) -> None:
        web.names["two.example"] = ["8.8.4.4", webs.PUBLIC]

        async def dial(address: str, port: int) -> socket.socket:
            if address == "8.8.4.4":
                raise OSError("refused")
            return await web.dial(address, port)

        fetcher = Fetcher(FetchRules(mode="public"), resolve=web.resolve, dial=dial)
        assert (await fetcher.fetch("http://two.example/cat.png")).data == PNG

    in_web(story)


def test_an_allow_list_lets_its_hosts_pass_and_their_addresses_are_checked_all_the_same() -> None:
    async def story(web: Web) -> None:
        web.names |= {"a.cdn.example": [webs.OTHER], "cdn.example": [webs.OTHER], "inside": ["10.0.0.1"]}
        rules = FetchRules(mode="allowlist", hosts=("pictures.example", "*.cdn.example", "inside"))
        for host in ("pictures.example", "PICTURES.example.", "a.cdn.example"):
            assert (await fetch(web, f"http://{host}/cat.png", rules)).data == PNG
        for host in ("cdn.example", "other.example", "xpictures.example", "evilcdn.example", "inside"):
            with pytest.raises(NetError) as caught:
                await fetch(web, f"http://{host}/cat.png", rules)
            assert caught.value.reason == "blocked"
        web.pages["/cat.png"] = redirect("http://other.example/cat.png")
        with pytest.raises(NetError):
            await fetch(web, rules=rules)

    in_web(story)


def test_one_caller_cannot_take_all_places() -> None:
    async def story(web: Web) -> None:
        may_end = asyncio.Event()
        arrived: list[str] = []

        async def slow(head: bytes) -> bytes:
            arrived.append(head.split(b" ")[1].decode())
            await may_end.wait()
            return answer(PNG)

        web.pages |= {"/greedy": slow, "/modest": slow}
        fetcher = web.fetcher(FetchRules(mode="public", max_fetches=3, max_fetches_per_caller=2))
        greedy = [
            asyncio.create_task(fetcher.fetch("http://pictures.example/greedy", caller="a")) for _ in range(5)
        ]
        while arrived.count("/greedy") < 2:
            await asyncio.sleep(0)
        modest = asyncio.create_task(fetcher.fetch("http://pictures.example/modest", caller="b"))
        while "/modest" not in arrived:
            await asyncio.sleep(0)
        assert sorted(arrived) == ["/greedy", "/greedy", "/modest"]
        may_end.set()
        await asyncio.gather(*greedy, modest)
        assert fetcher._callers == {}
        fetcher.close()

    in_web(story)


def test_the_log_names_the_host_and_never_the_path_or_query(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def story(web: Web) -> None:
        web.pages["/secret-path"] = answer(status="404 No")
        for url in ("http://pictures.example/secret-path?k=secret", "http://x.example/secret-path?k=secret"):
            with pytest.raises(NetError):
                await fetch(web, url)

    in_web(story)
    assert "fetch from pictures.example: status" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    "values",
    [
        {"mode": "on"},
        {"mode": "allowlist"},
        {"mode": "allowlist", "hosts": ("a.org:80",)},
        {"mode": "allowlist", "hosts": ("http://a.org",)},
        {"mode": "allowlist", "hosts": ("a.org/x",)},
        {"ports": ()},
        {"ports": (0,)},
        {"max_bytes": 0},
        {"total_seconds": 0.0},
        {"max_redirects": -1},
    ],
)
def test_rules_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        FetchRules(**values)


def test_after_it_was_closed_a_fetcher_serves_another_loop() -> None:
    """Both loops make it wait for a place, and ask the system's resolver, which needs threads."""
    fetcher = Fetcher(FetchRules(mode="public", max_fetches=1))

    async def story() -> None:
        tasks = [fetcher.fetch("http://localhost/cat.png") for _ in range(3)]
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, NetError) and outcome.reason in ("blocked", "unreachable")
        fetcher.close()

    asyncio.run(story())
    asyncio.run(story())
