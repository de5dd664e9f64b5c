"""A disk that is full while shards are made: a sentence, and the run goes on when it is repeated."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from picture_web import running_pictures

from clipworks.collect import layout
from clipworks.collect.fetch import FetchJob, fetch_images
from clipworks.collect.lists import find_list
from clipworks.collect.settings import FetchConfig, with_fetch_settings
from clipworks.errors import DataError
from clipworks.files import is_complete
from clipworks.tables import write_table

CONFIG = with_fetch_settings(FetchConfig(), ["delay_seconds=0", "rows_per_shard=5", "shards_at_once=2"])


class FullAfter:
    """Stands for a function that writes: from one call on the disk is full, until it is mended."""

    def __init__(self, write: Any, calls: int) -> None:
        self._write = write
        self.left = calls

    def __call__(self, *given: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._write(*given)


def made(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("0*") if "stats" not in path.name}


@pytest.fixture(params=["pictures", "tar", "parquet", "plan"])
def full(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FullAfter]:
    if request.param == "pictures":
        full = FullAfter(layout.ShardFiles.put, 7)
        monkeypatch.setattr(layout.ShardFiles, "put", lambda self, data: full(self, data))
    elif request.param == "tar":
        full = FullAfter(layout._add, 10)
        monkeypatch.setattr(layout, "_add", full)
    else:
        full = FullAfter(write_table, 1)
        where = "layout" if request.param == "parquet" else "plan"
        monkeypatch.setattr(f"clipworks.collect.{where}.write_table", full)
    yield full


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_repeating_it_ends_in_the_same_bytes(
    full: FullAfter, tmp_path: Path
) -> None:
    source = tmp_path / "list.csv"
    lines = [f"http://h{i % 7}.example/{'ok' if i % 5 else 'missing'}/{i}.jpg,Text {i}" for i in range(20)]
    source.write_text("\n".join(["url,caption", *lines, ""]))
    job = FetchJob(links=find_list(source))
    out = tmp_path / "out"
    with running_pictures() as web:
        with pytest.raises(DataError, match="No space left on device") as caught:
            fetch_images(job, out, CONFIG, wires=web.wires)
        assert "repeat the command" in caught.value.remedy.lower()
        assert not is_complete(out) and not list(out.glob("*.part"))
        full.left = 1_000_000
        manifest = fetch_images(job, out, CONFIG, wires=web.wires)
        fetch_images(job, tmp_path / "whole", CONFIG, wires=web.wires)
    assert manifest["rows"] == 20 and made(out) == made(tmp_path / "whole")
