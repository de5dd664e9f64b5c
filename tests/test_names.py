import asyncio
from collections.abc import Sequence

import pytest

from clipworks.errors import NetError
from clipworks.names import Names


class Resolver:
    """Answers by a table and counts the questions."""

    def __init__(self, **names: list[str]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        await asyncio.sleep(0)
        if host not in self.names:
            raise OSError("no such name")
        return self.names[host]


def test_a_name_is_asked_for_once_while_it_is_known() -> None:
    async def play() -> None:
        resolver = Resolver(a=["8.8.8.8", "8.8.8.8", "8.8.4.4"])
        names = Names(resolver.resolve)
        found = await asyncio.gather(*[names.addresses("a", 80) for _ in range(9)])
        assert found == [("8.8.8.8", "8.8.4.4")] * 9 and await names.addresses("a", 443) == found[0]
        assert resolver.asked == ["a"]
        await names.close()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([], "dns"),
        (["127.0.0.1"], "blocked"),
        (["8.8.8.8", "::1"], "blocked"),
        (["8.8.8.8"] + [f"8.8.4.{i}" for i in range(40)], "blocked"),
    ],
)
def test_what_is_wrong_with_a_name_is_remembered_too(answers: list[str], reason: str) -> None:
    async def play() -> None:
        resolver = Resolver(a=answers)
        names = Names(resolver.resolve)
        for _ in range(2):
            with pytest.raises(NetError) as caught:
                await names.addresses("a", 80)
            assert caught.value.reason == reason
        assert resolver.asked == ["a"]

    asyncio.run(play())


def test_answers_are_believed_for_a_time_only() -> None:
    async def play() -> None:
        resolver = Resolver(a=["8.8.8.8"])
        names = Names(resolver.resolve, seconds=0, failure_seconds=0)
        for host in ("a", "a", "b", "b"):
            try:
                await names.addresses(host, 80)
            except NetError:
                assert host == "b"
        assert resolver.asked == ["a", "a", "b", "b"]

    asyncio.run(play())


def test_who_gives_up_waiting_does_not_take_the_answer_from_others() -> None:
    async def play() -> None:
        begun, go = asyncio.Event(), asyncio.Event()

        async def resolve(host: str, port: int) -> Sequence[str]:
            begun.set()
            await go.wait()
            return ["8.8.8.8"]

        names = Names(resolve)
        first = asyncio.ensure_future(names.addresses("a", 80))
        second = asyncio.ensure_future(names.addresses("a", 80))
        await begun.wait()
        first.cancel()
        go.set()
        assert await second == ("8.8.8.8",)
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(play())


def test_c_ares_is_asked_where_nobody_else_is_named() -> None:
    async def play() -> None:
        names = Names(timeout_seconds=0.2)
        with pytest.raises(NetError) as caught:  # /etc/hosts or RFC 6761: loopback in any case
            await names.addresses("localhost", 80)
        assert caught.value.reason == "blocked"
        await names.close()

    asyncio.run(play())
