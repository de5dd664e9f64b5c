import asyncio
import gc
import socket
from collections.abc import Sequence

import pytest
from ssrf import NAMES

from clipworks.dialling import MAX_DIALLED, SystemNames, dial_address, dial_first, find_addresses, open_stream
from clipworks.errors import NetError


async def resolve(host: str, port: int) -> Sequence[str]:
    if host not in NAMES:
        raise socket.gaierror(-2, "unknown")
    return NAMES[host]


@pytest.mark.parametrize("host", [*NAMES, "127.0.0.1", "::1", "169.254.169.254", "::ffff:a00:1"])
def test_a_name_with_a_private_address_is_refused_unless_the_operator_named_it(host: str) -> None:
    with pytest.raises(NetError) as caught:
        asyncio.run(find_addresses(host, 80, resolve))
    assert caught.value.reason == ("dns" if host == "empty.example" else "blocked")
    if host != "empty.example":
        found = asyncio.run(find_addresses(host, 80, resolve, is_private=True))
        assert found == tuple(dict.fromkeys(NAMES.get(host, [host])))


def test_addresses_are_dialled_in_turn_up_to_a_limit() -> None:
    dialled = list[str]()

    async def dial(address: str, port: int) -> socket.socket:
        dialled.append(address)
        raise ConnectionRefusedError(address)

    answers = [f"8.8.8.{i}" for i in range(9)]
    with pytest.raises(ConnectionRefusedError, match=r"8\.8\.8\.3"):
        asyncio.run(dial_first(answers, 80, dial))
    assert dialled == answers[:MAX_DIALLED]
    with pytest.raises(OSError, match="no address"):
        asyncio.run(dial_first([], 80, dial))


@pytest.mark.slow
def test_a_failure_to_connect_leaves_nothing_for_the_garbage_collector() -> None:
    async def dial(address: str, port: int) -> socket.socket:
        raise ConnectionRefusedError(address)

    async def play() -> None:
        for _ in range(20):
            try:
                await dial_first(["8.8.8.8"], 80, dial)
            except OSError:
                pass

    asyncio.run(play())
    gc.collect()
    gc.disable()
    try:
        asyncio.run(play())
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert not [one for one in gc.garbage if isinstance(one, ConnectionRefusedError)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_a_connection_is_to_the_address_itself_and_closed_where_the_rest_fails() -> None:
    async def play() -> None:
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with await dial_address("127.0.0.1", port) as connection:
            assert connection.getpeername() == ("127.0.0.1", port)
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        reader, writer = await open_stream(
            ["127.0.0.1"], port, dial_address, tls=None, server_name="a.example"
        )
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(OSError, match="number|ame"):
            await dial_address("localhost.invalid", port)
        server.close()

    asyncio.run(play())


def test_the_systems_resolver_can_be_closed_and_asked_again() -> None:
    names = SystemNames(1)
    for _ in range(2):
        assert "127.0.0.1" in asyncio.run(names.resolve("127.0.0.1", 80))
        names.close()
