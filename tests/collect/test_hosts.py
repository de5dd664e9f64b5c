import asyncio
import time
import tracemalloc
from collections.abc import Awaitable, Callable

import pytest

from clipworks.collect.hosts import MAX_HOSTS, HostRules, Hosts
from clipworks.errors import ConfigError, NetError

DOWN = NetError("The host cannot be reached.", reason="unreachable")
DEAD = NetError("The host name has no address.", reason="dns")
SLOW = NetError("The host did not answer in time.", reason="timeout")


def play(story: Callable[[Hosts], Awaitable[None]], rules: HostRules | None = None) -> None:
    async def begin() -> None:
        await story(Hosts(rules or HostRules(delay_seconds=0)))

    asyncio.run(begin())


def test_a_host_has_no_more_requests_at_once_than_is_allowed_and_others_do_not_wait() -> None:
    async def story(hosts: Hosts) -> None:
        now = {"a": 0, "b": 0}
        most = {"a": 0, "b": 0}

        async def ask(host: str) -> None:
            async with hosts.turn(host):
                now[host] += 1
                most[host] = max(most[host], now[host])
                await asyncio.sleep(0)
                now[host] -= 1

        await asyncio.gather(*[ask(host) for host in "ab" * 10])
        assert most == {"a": 2, "b": 2}

    play(story)


def test_requests_to_one_host_keep_their_distance() -> None:
    async def story(hosts: Hosts) -> None:
        times = list[float]()

        async def ask() -> None:
            async with hosts.turn("a"):
                times.append(time.monotonic())

        hosts.slow_down("a", 0.03)
        await asyncio.gather(*[ask() for _ in range(4)])
        assert all(b - a >= 0.029 for a, b in zip(times, times[1:], strict=False))

    play(story, HostRules(delay_seconds=0.001))


def test_a_host_that_asks_for_a_long_pause_is_left_for_another_run() -> None:
    async def story(hosts: Hosts) -> None:
        hosts.pause("a", 100)
        with pytest.raises(NetError) as caught:
            async with hosts.turn("a"):
                pass
        assert caught.value.reason == "host_busy"

    play(story)


def test_two_failures_to_connect_or_five_timeouts_in_a_row_or_one_of_a_mute_host_mean_that_it_is_down() -> (
    None
):
    async def story(hosts: Hosts) -> None:
        async def is_asked(host: str) -> bool:
            try:
                async with hosts.turn(host):
                    return True
            except NetError as error:
                assert "was down a moment ago" in error.message
                return False

        hosts.answered("b")
        for host, error, times in (("a", DOWN, 2), ("b", SLOW, 5), ("mute", SLOW, 1)):
            for _ in range(times):
                assert await is_asked(host)
                hosts.failed(host, error)
            assert not await is_asked(host)
        hosts.failed("c", DOWN)
        hosts.answered("c")
        hosts.failed("c", DOWN)
        assert await is_asked("c")
        hosts.failed("d", NetError("The host name has no address.", reason="dns"))
        assert not await is_asked("d")

    play(story)


def test_a_host_that_was_down_is_asked_again_later() -> None:
    async def story(hosts: Hosts) -> None:
        hosts.failed("a", NetError("The host name has no address.", reason="dns"))
        async with hosts.turn("a"):
            pass

    play(story, HostRules(delay_seconds=0, down_seconds=0))


def test_dead_hosts_without_number_are_forgotten_and_one_that_wants_a_pause_is_not() -> None:
    async def story(hosts: Hosts) -> None:
        hosts.pause("busy", 60)
        tracemalloc.start()
        for number in range(4 * MAX_HOSTS):
            if number == 2 * MAX_HOSTS:
                early = tracemalloc.get_traced_memory()[0]
            hosts.failed(f"{number}", DEAD)
        late = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert late < 1.1 * early
        with pytest.raises(NetError, match="left alone"):
            async with hosts.turn("busy"):
                pass

    play(story)


@pytest.mark.parametrize("wrong", [{"connections": 0}, {"delay_seconds": -1.0}, {"down_seconds": -1.0}])
def test_limits_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        HostRules(**wrong)  # type: ignore[arg-type]
