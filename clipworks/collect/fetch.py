"""`collect fetch`: rows of addresses -> shards of pictures, with a row of its fate for every address.

One process asks the web for all shards, so that the manners towards a host and what is known of it are
kept once; others make the pictures. A shard ends by its deadline, whatever hosts do.
"""

import asyncio
import resource
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import md5, sha256
from pathlib import Path
from ssl import SSLContext
from threading import Thread
from typing import Any

import pyarrow as pa

from clipworks.addresses import parse_address
from clipworks.blocklists import Blocklist, read_blocklist
from clipworks.collect.archived import ArchivedPictures
from clipworks.collect.layout import Outcome, ShardFiles
from clipworks.collect.lists import LinkList, find_list, read_list
from clipworks.collect.plan import Plan, make_plan
from clipworks.collect.records import check_archive
from clipworks.collect.settings import FetchConfig
from clipworks.collect.thrift import give_memory_back, saving_memory
from clipworks.collect.visits import REFUSALS, Found, Visits
from clipworks.collect.workshop import Workshop
from clipworks.crawler import Crawler, Route
from clipworks.dialling import Resolve
from clipworks.errors import DataError, NetError
from clipworks.files import read_manifest, sha256_file
from clipworks.names import Names
from clipworks.processes import Threads
from clipworks.stage import Made, ShowProgress, Source, held, run_stage
from clipworks.tables import read_table

STAGE = "collect fetch"

AT_ONCE = 32
"""Hosts that are begun before those that were begun have a turn."""
WRITERS = 2
"""Threads that read and write shards; each holds one in memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FetchJob:
    """What is fetched from where, and what is left out."""

    links: LinkList
    archives: tuple[Path, ...] = ()
    """WARC files whose own pictures are used without asking the web."""
    opt_outs: tuple[Path, ...] = ()
    """Lists of hosts and addresses whose owners do not want it."""
    blocklists: tuple[Path, ...] = ()
    """Lists of addresses and of pictures' hashes that must not be there."""
    first_shard: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Wires:
    """Where questions really go: the web, unless a test or a benchmark leads them elsewhere."""

    resolve: Resolve | None = None
    route: Route | None = None
    tls: SSLContext | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tools:
    config: FetchConfig
    crawler: Crawler
    visits: Visits
    workshop: Workshop
    places: asyncio.Semaphore
    archived: ArchivedPictures | None
    blocked: Blocklist


def retry_job(folder: Path, config: FetchConfig) -> FetchJob:
    """The rows of a finished folder that failed, as a job of its own with shard numbers that follow.

    Raises:
        DataError: the folder is unfinished or not of this stage.
    """
    parts = read_manifest(folder).get("parts", ())
    links = find_list(folder, retry=config.retry)
    return FetchJob(links=links, first_shard=1 + max((int(part["name"]) for part in parts), default=-1))


def check_job(job: FetchJob, config: FetchConfig) -> None:
    """See that a job can be done, before anything is written.

    Raises:
        DataError: an archive is none, a list is damaged, or it lacks the column to verify by.
    """
    for path in job.archives:
        check_archive(path)
    batch = next(read_list(job.links), None)
    if config.verify != "none" and batch is not None and f"input_{config.verify}" not in batch.schema.names:
        raise DataError(f"The input has no column {config.verify!r} to verify by.", "Leave --set verify out.")


def plan_fetch(job: FetchJob, folder: Path, config: FetchConfig) -> Plan:
    """Put the rows in order, in a hidden folder inside the one that is to be written.

    Raises:
        DataError: a file of the list is damaged, another process writes the folder, or the disk is full.
    """
    try:
        with saving_memory(), held(folder, ".plan.lock"):
            return make_plan(job.links, folder / ".plan", rows_per_shard=config.rows_per_shard)
    finally:
        give_memory_back()


def fetch_images(
    job: FetchJob,
    folder: Path,
    config: FetchConfig,
    *,
    workers: int = 1,
    show: ShowProgress | None = None,
    wires: Wires | None = None,
) -> dict[str, Any]:
    """Fetch all pictures of a list into a folder of shards; resumes what was interrupted.

    Args:
        job: what is fetched.
        folder: NNNNN.tar, NNNNN.parquet and NNNNN_stats.json for each shard, and the stage's files.
        config: how.
        workers: processes that make pictures.
        show: told when a shard is done.
        wires: None for the web.

    Returns:
        The manifest; its counts are rows by what became of them.

    Raises:
        DataError: a list or an archive is damaged, or the disk is full.
        ConfigError: the folder was begun with something else.
    """
    check_job(job, config)
    plan = plan_fetch(job, folder, config)
    digests = [sha256_file(path) for path in (*job.opt_outs, *job.blocklists)]
    archives = [path.name for path in job.archives]
    settings = {**config.result(), "lists": digests, "archives": archives, "input": job.links.digest}
    with saving_memory(), _running(job, folder, config, workers, wires or Wires()) as (loop, tools):

        def work(source: Source, where: Path) -> Made:
            return asyncio.run_coroutine_threadsafe(_fetch_shard(tools, source, where), loop).result()

        manifest = run_stage(
            work,
            plan.sources(job.first_shard),
            folder,
            stage=STAGE,
            config=settings,
            pool=Threads(config.shards_at_once),
            show=show,
        )
    plan.drop_rows()
    return manifest


@contextmanager
def _running(
    job: FetchJob, folder: Path, config: FetchConfig, workers: int, wires: Wires
) -> Iterator[tuple[asyncio.AbstractEventLoop, _Tools]]:
    """An event loop in a thread, and the tools that live in it."""
    opt_outs, blocked = read_blocklist(job.opt_outs), read_blocklist(job.blocklists)
    archived = ArchivedPictures(job.archives, folder / ".archived.sqlite") if job.archives else None
    workshop = Workshop(config.images, workers)
    num_places = min(config.parallel_requests, (_allow_files(2 * config.parallel_requests + 512) - 256) // 2)

    async def begin() -> _Tools:
        names = Names(wires.resolve)
        crawler = Crawler(config.crawl, names, route=wires.route, tls=wires.tls)
        visits = Visits(
            crawler, config.visits, config.hosts, config.consent, opt_outs=opt_outs, blocked=blocked
        )
        return _Tools(
            config=config,
            crawler=crawler,
            visits=visits,
            workshop=workshop,
            places=asyncio.Semaphore(max(1, num_places)),
            archived=archived,
            blocked=blocked,
        )

    async def end(tools: _Tools) -> None:
        tools.workshop.drop_waiting()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:  # a thread may just begin a shard
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        await tools.crawler.close()
        await asyncio.get_running_loop().shutdown_default_executor()

    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(WRITERS, thread_name_prefix="writing"))
    thread = Thread(target=loop.run_forever, name="fetching", daemon=True)
    thread.start()
    try:
        tools = asyncio.run_coroutine_threadsafe(begin(), loop).result()
        try:
            yield loop, tools
        finally:
            asyncio.run_coroutine_threadsafe(end(tools), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        workshop.close()
        if archived is not None:
            archived.close()


async def _fetch_shard(tools: _Tools, source: Source, folder: Path) -> Made:
    rows = await asyncio.to_thread(read_table, folder / source.path)
    urls: list[str] = rows.column("url").to_pylist()
    files = ShardFiles(folder, source.name, tools.config.images.encode_format)
    try:
        fates = await _fetch_all(tools, urls, files)
        outcomes = [fates[url] for url in urls]
        if tools.config.verify != "none":
            outcomes = _verified(rows, outcomes, tools.config.verify)
        names = await asyncio.to_thread(files.write, rows, outcomes)
    finally:
        files.close()
        await asyncio.to_thread(give_memory_back)
    counts = Counter(_word(outcome) for outcome in outcomes)
    return Made(rows=len(outcomes), counts=counts, files=names)


async def _fetch_all(tools: _Tools, urls: Sequence[str], files: ShardFiles) -> dict[str, Outcome]:
    """What became of each address; each is asked for once."""
    fates = dict.fromkeys(urls, _LATE)
    queues = defaultdict[str, deque[str]](deque)
    for url in fates:
        queues[_host(url)].append(url)

    async def work_off(queue: deque[str]) -> None:
        while queue:
            url = queue.popleft()
            fates[url] = await _fetch_one(tools, url, files, is_last=not queue)

    try:
        async with asyncio.timeout(tools.config.shard_seconds), asyncio.TaskGroup() as group:
            # The hosts with the most to do begin, so that they do not end alone.
            for number, queue in enumerate(sorted(queues.values(), key=len, reverse=True)):
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)  # those that fail at once shall be gone before more begin
                for _ in range(min(len(queue), tools.config.hosts.connections)):
                    await tools.places.acquire()
                    task = group.create_task(work_off(queue))
                    task.add_done_callback(lambda _: tools.places.release())
    except TimeoutError:
        pass
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return fates


async def _fetch_one(tools: _Tools, url: str, files: ShardFiles, *, is_last: bool) -> Outcome:
    held = 0
    try:
        found = await _find(tools, url, is_last=is_last)
        held = 0 if found.is_archived else len(found.data)
        return await _keep(tools, found, files)
    except NetError as error:
        return Outcome(
            status="failed_to_download",
            error_message=error.message,
            reason=error.reason,
            http_status=error.status,
        )
    finally:
        tools.crawler.let_go(held)


async def _find(tools: _Tools, url: str, *, is_last: bool) -> Found:
    """The file of an address, of an archive or of the web.

    Raises:
        NetError: there is none, whatever went wrong with it.
    """
    try:
        if tools.archived is not None:
            archived = await asyncio.to_thread(tools.archived.find, url)
            if archived is not None:
                tools.visits.check_archived(url, archived.headers)
                return Found(data=archived.data, url=url, is_archived=True)
        if tools.config.web:
            return await tools.visits.fetch(url, is_last=is_last)
    except (DataError, OSError, ValueError) as error:
        raise NetError(f"It cannot be read: {error}", reason="damaged") from error
    raise NetError("No archive holds it.", reason="not_archived")


async def _keep(tools: _Tools, found: Found, files: ShardFiles) -> Outcome:
    outcome = Outcome(
        status="success",
        reason="archived" if found.is_archived else "ok",
        http_status=200,
        final_url=found.url,
        bytes=len(found.data),
        sha256=sha256(found.data).hexdigest(),
        md5=md5(found.data, usedforsecurity=False).hexdigest(),
    )
    assert outcome.md5 is not None and outcome.sha256 is not None
    if tools.blocked.has_picture(outcome.md5, outcome.sha256):
        words = REFUSALS["blocklist"]
        return replace(outcome, status="failed_to_download", reason="blocklist", error_message=words)
    kept = await tools.workshop.keep(found.data)
    if isinstance(kept, str):
        reason = "undecodable" if kept.startswith("Image decoding") else kept.replace(" ", "_")
        return replace(outcome, status="failed_to_resize", reason=reason, error_message=kept)
    return replace(
        outcome,
        width=kept.width,
        height=kept.height,
        original_width=kept.original_width,
        original_height=kept.original_height,
        exif=kept.exif,
        place=files.put(kept.data),
    )


def _verified(rows: pa.Table, outcomes: Sequence[Outcome], kind: str) -> list[Outcome]:
    """Outcomes, where the input's hash is that of the file."""
    wanted = rows.column(f"input_{kind}").to_pylist()
    return [
        one
        if one.status != "success" or not hash_ or getattr(one, kind) == hash_.lower()
        else replace(
            one,
            status="failed_to_download",
            reason="hash_mismatch",
            error_message="hash mismatch",
            place=None,
        )
        for one, hash_ in zip(outcomes, wanted, strict=True)
    ]


def _host(url: str) -> str:
    try:
        return parse_address(url).host
    except NetError:
        return ""


def _word(outcome: Outcome) -> str:
    return f"http_{outcome.http_status}" if outcome.reason == "status" else outcome.reason


def _allow_files(number: int) -> int:
    """Let this process open that many files and connections, or as many as the system lets it; how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return number
    limit = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(soft, limit)


_LATE = Outcome(status="failed_to_download", error_message="The shard's deadline passed.", reason="deadline")
