"""Runs one fetch in a process of its own, for tests that kill it: LIST OUT PORT."""

import sys
from collections.abc import Sequence
from pathlib import Path

from clipworks.collect.fetch import FetchJob, Wires, fetch_images
from clipworks.collect.lists import find_list
from clipworks.collect.settings import FetchConfig, with_fetch_settings

SETTINGS = ("rows_per_shard=20", "delay_seconds=0", "image_size=32", "shards_at_once=2", "total_seconds=20")


def main() -> None:
    source, out, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

    async def resolve(host: str, _: int) -> Sequence[str]:
        if host.startswith("dead"):
            raise OSError("no such name")
        return ["93.184.216.34"]

    wires = Wires(resolve=resolve, route=lambda _address, _port: ("127.0.0.1", port))
    config = with_fetch_settings(FetchConfig(), SETTINGS)
    fetch_images(FetchJob(links=find_list(source)), out, config, workers=1, wires=wires)


if __name__ == "__main__":
    main()
