"""The listening socket of the server."""

import asyncio
import socket

from clipworks.serve.server import listen


def test_answers_are_sent_at_once_on_the_connections_of_the_listener() -> None:
    """Without it, the second part of every answer waits 40 ms for the acknowledgement of the first."""

    async def story() -> int:
        with listen("127.0.0.1", 0) as listener:
            accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

            def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                connection = writer.get_extra_info("socket")
                accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                writer.close()

            server = await asyncio.start_server(note, sock=listener)
            async with server:
                _, writer = await asyncio.open_connection(*listener.getsockname())
                writer.close()
                return await accepted

    assert asyncio.run(story()) == 1
