"""One fetch by clipworks from the loopback web of `fetching_web.py`: a program of its own, for `fetching.py`.

Run as: python -m benchmarks.fetching_ours SOURCE OUT PORT WORKERS [NAME=VALUE ...]
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fetching_web import PORT, place_of


def main() -> None:
    from clipworks.collect.fetch import FetchJob, Wires, fetch_images
    from clipworks.collect.lists import find_list
    from clipworks.collect.settings import FetchConfig, with_fetch_settings

    source, out, server_port, workers, *settings = sys.argv[1:]

    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["8" + place_of(host)[3:]]  # a public address, which the check lets pass

    def route(address: str, port: int) -> tuple[str, int]:
        return "127" + address[1:], int(server_port) if port == PORT else 1

    job = FetchJob(links=find_list(Path(source)))
    config = with_fetch_settings(FetchConfig(), settings)
    fetch_images(job, Path(out), config, workers=int(workers), wires=Wires(resolve=resolve, route=route))


if __name__ == "__main__":
    main()
