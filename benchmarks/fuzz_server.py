"""The server that `benchmarks.fuzz` attacks: the real application on a socket, with a world of its own.

Names resolve as the SSRF corpus says. Public addresses lead to a small server that answers with
pictures, redirects to private places, loops and bodies without end; private addresses would be dialled
for real, where a trap listens on loopback. Keys are asked for; the one that it says opens every scope. On
a line of input it reports what arrived where and whether the books agree, and ends.
"""

import asyncio
import json
import logging
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from ssrf import NAMES, redirect_targets
from web import PUBLIC, Web, answer, redirect, running_web

from clipworks.addresses import is_public
from clipworks.net import Fetcher
from clipworks.serve import audit
from clipworks.serve.app import create_app
from clipworks.serve.database import open_database
from clipworks.serve.fetching import rules_of
from clipworks.serve.heap import limit_freed_memory
from clipworks.serve.keys import SCOPES, KeyTerms
from clipworks.serve.settings import ServeSettings
from tests.serve.colours import ColourEngine, picture, write_gallery
from tests.serve.paying import new_key


class World(Web):
    """The web of the tests, whose names may change their addresses and whose hosts differ."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """Answers of `rebind.example` are public and private in turn."""
        if host == "rebind.example":
            self.asked.append(host)
            return [PUBLIC] if len(self.asked) % 2 else ["127.0.0.1"]
        return await super().resolve(host, port)

    async def dial(self, address: str, port: int) -> socket.socket:
        """A private address that was let through is dialled for real."""
        if is_public(address):
            return await super().dial(address, port)
        self.dialled.append((address, port))
        connection = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (address, port))
        return connection


def by_host(trap_port: int) -> Any:
    targets = redirect_targets(trap_port)

    def say(head: bytes) -> bytes:
        host = head.partition(b"\r\nHost: ")[2].partition(b"\r\n")[0].decode()
        if host.startswith("redirect-"):
            return redirect(targets[int(host.split("-")[1].split(".")[0])])
        if host == "loop.example":
            return redirect("http://loop.example/")
        if host == "large.example":
            return answer(b"\x89PNG\r\n\x1a\n" + bytes(3 << 20))
        return answer(picture("red"))

    return say


async def main(folder: Path) -> None:
    logging.disable(logging.CRITICAL)
    limit_freed_memory()
    database = open_database(f"sqlite:///{folder}/accounts.db")
    _, secret = new_key(database, credit=10**12, terms=KeyTerms(name="fuzz", scopes=SCOPES))
    async with running_web() as trap, running_web() as base:
        world = World(port=base.port, names={"pictures.example": [PUBLIC], "large.example": [PUBLIC]})
        world.names |= NAMES | {"loop.example": [PUBLIC]}
        world.names |= {f"redirect-{i}.example": [PUBLIC] for i in range(len(redirect_targets(1)))}
        say = by_host(trap.port)
        base.pages |= {"/": say, "/cat.png": say}
        settings = ServeSettings(
            url_mode="public",
            url_ports=f"80,443,{trap.port}",
            url_seconds=5.0,
            max_image_bytes=2 << 20,
            max_body_bytes=4 << 20,
            body_seconds=5.0,
            require_keys=True,
            database=f"sqlite:///{folder}/accounts.db",
        )
        fetcher = Fetcher(rules_of(settings), resolve=world.resolve, dial=world.dial)
        engine: Any = ColourEngine()
        app = create_app(settings, {"colours": engine}, write_gallery(folder, engine), web=fetcher)
        config = uvicorn.Config(app, port=0, log_config=None, access_log=False, server_header=False)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        said = {"address": f"http://127.0.0.1:{port}", "trap_port": trap.port, "key": secret}
        print(json.dumps(said), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        server.should_exit = True
        await serving
        with database.read() as connection:
            faults = audit.check(connection)
        private = [dialled for dialled in world.dialled if not is_public(dialled[0])]
        found = {
            "fetches_dialled": len(world.dialled),
            "names_asked": len(world.asked),
            "private_dialled": private,
            "trap_connections": trap.num_connections,
            "faults_of_the_books": faults,
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    with TemporaryDirectory() as place:
        asyncio.run(main(Path(place)))
