"""`collect pairs`: which archives, where they are, and the stage that turns each into a part.

Archives are files, folders of them, lists of paths as Common Crawl publishes them (`warc.paths.gz`), and
addresses: https://, or s3:// of public buckets, which are asked over HTTPS. What is far is brought here
once, in a temporary file, through `net.py`.
"""

import asyncio
import gzip
import os
import re
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from clipworks.collect.pairs import make_pairs
from clipworks.errors import ConfigError, DataError, NetError, reason_of
from clipworks.net import Fetcher, FetchRules
from clipworks.stage import Made, ShowProgress, Source, is_made, run_stage

STAGE_NAME = "collect pairs"

SUFFIXES = (".warc", ".warc.gz", ".wat", ".wat.gz")
"""What archives are called in a folder."""

LIST_SUFFIXES = (".paths", ".paths.gz")
"""What a list of paths is called: one path or address a line, paths below COMMON_CRAWL."""

COMMON_CRAWL = "https://data.commoncrawl.org/"
"""Where Common Crawl's bucket can be read without an account."""

MAX_ARCHIVE_BYTES = 16 << 30
MAX_TRIES = 5
FIRST_PAUSE_SECONDS = 5.0
"""Before the second try; doubled before each further one. Common Crawl answers 503 to those who hurry."""

PARSED_BYTES_PER_SECOND = 10e6
"""Of gzipped archive on one core, for the estimate of --dry-run; benchmarks/curation.py measures it."""

Download = Callable[[str, Path], None]
"""Brings what an address gives into a file. Raises NetError."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What `collect_pairs` would do."""

    archives: int
    done: int
    """Parts that are there already."""
    missing_bytes: int
    """Of local archives that are still to be read; those at addresses are not counted."""
    remote: int
    """Archives at addresses that are still to be fetched."""
    core_seconds: float
    """Estimate for the local ones."""


def collect_pairs(
    places: Sequence[str],
    folder: Path,
    *,
    keep_textless: bool = False,
    workers: int = 1,
    show: ShowProgress | None = None,
    download: Download | None = None,
) -> dict[str, Any]:
    """Write the pairs of all archives into a stage folder: a table each, `NAME.pairs.parquet`.

    Args:
        places: paths of archives, folders and lists, and addresses.
        folder: resumed where it was begun with the same settings; archives that could not be read or
            fetched before are tried again.
        keep_textless: whether pictures without any text get a row, too.
        workers: processes.
        download: fetches what is far; through `net.py` if None.

    Returns:
        The manifest, see `run_stage`.

    Raises:
        ConfigError: nothing to read, or the folder was begun with something else.
        DataError: a place does not exist, or the folder cannot be written.
    """
    sources = find_archives(places)
    work = partial(_make_part, keep_textless=keep_textless, download=download or fetch_archive)
    config = {"version": 1, "keep_textless": keep_textless}
    return run_stage(work, sources, folder, stage=STAGE_NAME, config=config, workers=workers, show=show)


def plan_pairs(places: Sequence[str], folder: Path) -> Plan:
    """What is to be done, without doing it. Raises as `collect_pairs`."""
    sources = find_archives(places)
    missing = [source for source in sources if not is_made(folder, source)]
    size = sum(Path(source.path).stat().st_size for source in missing if not is_address(source.path))
    return Plan(
        archives=len(sources),
        done=len(sources) - len(missing),
        missing_bytes=size,
        remote=sum(is_address(source.path) for source in missing),
        core_seconds=size / PARSED_BYTES_PER_SECOND,
    )


def find_archives(places: Sequence[str]) -> list[Source]:
    """The archives at all places, each once, those of a folder in the order of their names.

    Raises:
        ConfigError: there are none.
        DataError: a place does not exist, or a list cannot be read.
    """
    paths = list(dict.fromkeys(path for place in places for path in _expand(place)))
    if not paths:
        raise ConfigError(
            f"There is no archive at {', '.join(places)}.", f"Name files that end in {', '.join(SUFFIXES)}."
        )
    names = Counter(_part_name(path) for path in paths)
    return [
        Source(name=_part_name(path, is_alone=names[_part_name(path)] == 1), path=path, digest=_digest(path))
        for path in paths
    ]


def is_address(place: str) -> bool:
    """Whether a place is on the web rather than on this machine."""
    return place.startswith(("https://", "http://", "s3://"))


def https_address(place: str) -> str:
    """The https address of a place on the web: Common Crawl's bucket has one of its own, others Amazon's.

    Raises:
        ConfigError: an s3 address without a bucket.
    """
    if not place.startswith("s3://"):
        return place
    bucket, _, key = place.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise ConfigError(f"{place} names no object.", "Write s3://BUCKET/PATH.")
    return COMMON_CRAWL + key if bucket == "commoncrawl" else f"https://{bucket}.s3.amazonaws.com/{key}"


def fetch_archive(url: str, path: Path) -> None:
    """Fetch an archive into a file; tries again after failures that may pass, from where it broke off.

    Raises:
        NetError: it was not fetched.
    """
    rules = FetchRules(
        mode="public",
        max_bytes=MAX_ARCHIVE_BYTES,
        connect_seconds=30.0,
        read_seconds=60.0,
        total_seconds=6 * 3600.0,
    )
    for number in range(1, MAX_TRIES + 1):
        try:
            asyncio.run(_download(rules, url, path))
            return
        except NetError as error:
            gives_no_rest = error.status in (200, 206, 416) and path.stat().st_size > 0
            if number == MAX_TRIES or not (gives_no_rest or _may_pass(error)):
                raise
            if gives_no_rest:
                path.unlink()
        time.sleep(FIRST_PAUSE_SECONDS * 2 ** (number - 1))


async def _download(rules: FetchRules, url: str, path: Path) -> None:
    fetcher = Fetcher(rules)
    try:
        with path.open("ab") as file:
            await fetcher.download(url, file, start=file.tell())
    finally:
        fetcher.close()


def _may_pass(error: NetError) -> bool:
    if error.reason == "status":
        return error.status is not None and (error.status >= 500 or error.status == 429)
    return error.reason in ("timeout", "unreachable", "damaged")


def _make_part(source: Source, folder: Path, *, keep_textless: bool, download: Download) -> Made:
    """The part of one archive, in a process of its own perhaps."""
    if not is_address(source.path):
        return make_pairs(source, folder, path=Path(source.path), keep_textless=keep_textless)
    with tempfile.TemporaryDirectory(prefix="clipworks-archive-") as temporary:
        path = Path(temporary) / "archive"
        try:
            download(https_address(source.path), path)
        except NetError as error:
            status = f" (status {error.status})" if error.status else ""
            return Made(rows=0, failure=f"It was not fetched: {error.reason}{status}.")
        return make_pairs(source, folder, path=path, keep_textless=keep_textless)


def _expand(place: str) -> Iterator[str]:
    if is_address(place):
        https_address(place)
        yield place
    elif place.endswith(LIST_SUFFIXES):
        yield from _listed(Path(place))
    elif Path(place).is_dir():
        found = (path for path in Path(place).rglob("*") if path.name.endswith(SUFFIXES) and path.is_file())
        yield from map(str, sorted(found))
    elif Path(place).is_file():
        yield place
    else:
        raise DataError(f"{place} does not exist.")


def _listed(path: Path) -> Iterator[str]:
    """The places of a list; paths without a scheme are below Common Crawl's address."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as a list of paths: {reason_of(error)}.") from error
    for line in text.split():
        yield line if is_address(line) else COMMON_CRAWL + line.lstrip("/")


def _part_name(path: str, *, is_alone: bool = True) -> str:
    """The archive's name without its endings; where two have one name, a hash of the path follows."""
    name = path.rstrip("/").rpartition("/")[2]
    for suffix in (".gz", ".warc.wat", ".warc", ".wat"):
        name = name.removesuffix(suffix)
    if ".warc.wat" in path:
        name += ".wat"
    name = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") or "archive"
    return name if is_alone else f"{name}-{sha256(path.encode(errors='surrogateescape')).hexdigest()[:8]}"


def _digest(path: str) -> str:
    """Size and time of a file: archives are too large to be read once more. What is far does not change."""
    if is_address(path):
        return sha256(path.encode()).hexdigest()
    status = os.stat(path)
    return f"{status.st_size}-{status.st_mtime_ns}"
