"""The models of a server and their workers: who is loaded when, who makes room, who replaces the dead.

One task per model watches it from idle over loading to live and back. A worker that dies is replaced
at once; one that cannot be started is tried again after a pause that doubles. Where workers have a
memory budget, loads take turns, and the model not used for longest finishes its requests and goes.
"""

import asyncio
import datetime
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from clipworks.errors import ConfigError
from clipworks.files import cache_folder
from clipworks.model.bicubic import compiled_resample
from clipworks.net import Fetcher
from clipworks.serve.batcher import Lane
from clipworks.serve.fetching import PictureFetcher
from clipworks.serve.metrics import Metrics
from clipworks.serve.problems import UnavailableError
from clipworks.serve.room import Room
from clipworks.serve.roster import ModelSpec, Status, check_names
from clipworks.serve.router import ProviderRouter
from clipworks.serve.served import Preparing, ServedModel, Shared
from clipworks.serve.settings import ServeSettings
from clipworks.serve.worker import EngineFacts, Loader, ProcessWorker, ThreadWorker, Worker, facts_of

if TYPE_CHECKING:
    from clipworks.model.engine import Engine

MakeWorker = Callable[[ModelSpec], Worker]

MAX_PAUSE_SECONDS = 30.0
_FIRST_PAUSE_SECONDS = 0.5
CLOSE_SECONDS = 2.0
"""How long a call or a loading that nobody waits for any more may take to end by itself."""

_SETTLED_SECONDS = 10.0
"""A worker that lived this long was well; the next one is started without a pause."""

logger = logging.getLogger(__name__)


def fleet_of_engines(
    settings: ServeSettings, engines: "Mapping[str, Engine]", web: Fetcher | None = None
) -> "Fleet":
    """Engines that are here already, each computing in the server's own process.

    Raises:
        ConfigError: there are none.
    """
    specs = [ModelSpec(id=name) for name in engines]
    fleet = Fleet(settings, specs, lambda spec: ThreadWorker(lambda: engines[spec.id]), web)
    for name, engine in engines.items():
        fleet.models[name].facts = facts_of(engine)
    return fleet


def fleet_of_loaders(
    settings: ServeSettings, specs: Sequence[ModelSpec], loader_of: Callable[[ModelSpec], Loader]
) -> "Fleet":
    """Models that are still to be loaded, in processes or threads as the settings say.

    Args:
        loader_of: what builds a model's engine, wherever it will be.

    Raises:
        ConfigError: no model, or two of one name.
    """

    def make(spec: ModelSpec) -> Worker:
        if settings.workers == "thread":
            return ThreadWorker(loader_of(spec), batches=(settings.image_batch, settings.text_batch))
        return ProcessWorker(
            spec.id,
            loader_of(spec),
            image_batch=settings.image_batch,
            text_batch=settings.text_batch,
            call_seconds=settings.worker_seconds,
            load_seconds=settings.load_seconds,
        )

    return Fleet(settings, specs, make)


class Fleet:
    """Every model of a server, by id."""

    def __init__(
        self,
        settings: ServeSettings,
        specs: Sequence[ModelSpec],
        make_worker: MakeWorker,
        web: Fetcher | None = None,
    ) -> None:
        if not specs:
            raise ConfigError("The server was given no model.", "Name one with --model.")
        check_names(specs)
        self._settings = settings
        self._make_worker = make_worker
        self.preparing: Preparing = Lane[Callable[[], Any], Any](
            "preparing",
            lambda tasks: [tasks[0]()],
            max_batch=1,
            capacity=settings.max_requests * settings.max_images * max(1, len(specs)),
            threads=settings.decode_threads,
        )
        self.metrics = Metrics()
        self.fetcher = PictureFetcher(settings, self.metrics, web)
        self.room = Room(settings.max_decoded_bytes)
        """Bytes for pictures that are being decoded."""
        shared = Shared(preparing=self.preparing, fetcher=self.fetcher, metrics=self.metrics, room=self.room)
        self.models = {
            spec.id: ServedModel(spec, settings, shared, ProviderRouter(spec, self.metrics)) for spec in specs
        }
        self.ids = {name: spec.id for spec in specs for name in (spec.id, *spec.aliases)}
        """Every name that requests may use -> the id behind it."""
        self.abandoned: list[str] = []
        """What did not end when the models were closed, and goes on in its thread for nobody."""
        self._turns = asyncio.Lock()
        self._starters = ThreadPoolExecutor(len(specs), thread_name_prefix="loading")
        self._tasks: list[asyncio.Task[None]] = []
        self._watched: set[str] = set()
        """Models that somebody looks after: all that were served at some time since the start."""
        self._is_running = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The life of the models: lanes are open inside, and models come and go."""
        self._start()
        try:
            yield
        finally:
            await self._close()

    async def loaded(self) -> None:
        """Wait until every model that is loaded at start is there.

        Raises:
            ClipworksError: one of them cannot be loaded.
        """
        for model in self.models.values():
            while model.wanted.is_set() and model.state != "live":
                if model.error is not None:
                    raise model.error
                await model.changed()

    def served_names(self) -> list[str]:
        """The ids that requests may use now: neither models that are coming nor those shut down."""
        return [name for name, model in self.models.items() if self._is_served(model)]

    def answering(self) -> dict[str, bool]:
        """Each model that is served and was loaded once -> whether it can answer, or would load itself."""
        served = [self.models[name] for name in self.served_names()]
        begun = {one.name: one.status for one in served if one.facts is not None or one.status != "loading"}
        return {name: status in ("live", "idle", "unloading") for name, status in begun.items()}

    def offer(self, model: ServedModel, status: Status, shutdown_date: datetime.date | None) -> None:
        """Change whether a model is served, from the next request on; those in work are finished.

        A model that is offered is loaded as at the start; one that is not any more is unloaded.
        """
        model.spec = replace(model.spec, status=status, shutdown_date=shutdown_date)
        is_served = self._is_served(model)
        if not self._is_running:
            model.state = "idle" if is_served else "coming_soon"
        elif is_served and model.name not in self._watched:
            self._begin(model)
        elif is_served:
            model.unwanted.clear()
            if model.spec.preload and model.worker is None:
                model.wanted.set()
        else:
            model.wanted.clear()
            model.unwanted.set()
        model.notify()

    @staticmethod
    def _is_served(model: ServedModel) -> bool:
        return model.spec.status != "coming_soon" and not model.spec.is_over(datetime.date.today())

    def _start(self) -> None:
        self._turns, self._tasks, self._is_running = asyncio.Lock(), [], True
        self._watched.clear()
        self._starters = ThreadPoolExecutor(len(self.models), thread_name_prefix="loading")
        self.preparing.start()
        self._tasks.append(asyncio.create_task(_compile(), name="compiling"))
        for model in self.models.values():
            for lane in model.lanes:
                lane.start()
            if self._is_served(model):
                self._begin(model)

    def _begin(self, model: ServedModel) -> None:
        """Look after a model from now on."""
        self._watched.add(model.name)
        model.reopen()
        model.become("idle")
        if model.spec.preload:
            model.wanted.set()
        work: list[Coroutine[Any, Any, None]] = list(model.providers.start())
        if model.spec.is_local:
            work.append(self._watch(model))
        else:
            model.become("loading")
        for one in work:
            task = asyncio.create_task(one, name=f"watching {model.name}")
            task.add_done_callback(partial(_give_up, model))
            self._tasks.append(task)

    async def _close(self) -> None:
        self._is_running = False
        seconds = min(self._settings.shutdown_seconds, CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for model in self.models.values():
            model.become("closed")
        lanes = [self.preparing, *(lane for model in self.models.values() for lane in model.lanes)]
        closing = {asyncio.ensure_future(lane.close()): lane for lane in lanes}
        await asyncio.wait(closing, timeout=seconds)
        for model in self.models.values():
            if model.worker is not None:
                await asyncio.to_thread(model.worker.close)
            model.providers.close()
        # A call in a thread cannot be ended: it is left to itself, and who waits for it is told.
        _, hanging = await asyncio.wait(closing, timeout=seconds)
        for task in hanging:
            self.abandoned.append(f"a call of {closing[task].name}")
            logger.error("A call of %s does not end; it is given up.", closing[task].name)
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
        self._starters.shutdown(wait=False)

    async def _watch(self, model: ServedModel) -> None:
        pause = 0.0
        while True:
            await model.wanted.wait()
            started, gone = time.monotonic(), asyncio.Event()
            error = await self._load(model, gone)
            if error is None:
                has_died = await self._attend(model, gone)
                if not has_died or time.monotonic() - started > _SETTLED_SECONDS:
                    pause = 0.0
                    continue
                error = UnavailableError(f"The worker of {model.name} died early.", code="worker_lost")
                if not pause:
                    pause = _FIRST_PAUSE_SECONDS
                    continue
            pause = min(max(2 * pause, _FIRST_PAUSE_SECONDS), MAX_PAUSE_SECONDS)
            logger.error("%s is not served for %.1f s: %s", model.name, pause, error)
            model.become("failed", error, pause)
            if not model.spec.preload:
                model.wanted.clear()
            await asyncio.sleep(pause)
            if not model.spec.preload:
                model.become("idle")  # the next request has it loaded again

    async def _load(self, model: ServedModel, gone: asyncio.Event) -> Exception | None:
        """Load a model and make it live; what went wrong, if something did."""
        async with self._turns if self._settings.memory_budget_bytes else nullcontext():
            model.become("loading")
            await self._make_room(model, model.known_bytes)
            worker = self._make_worker(model.spec)
            loop = asyncio.get_running_loop()
            note = partial(_note_death, model, gone)
            is_known = model.facts is not None
            begin = partial(worker.start, lambda: _tell(loop, note), warms=not is_known)
            start = loop.run_in_executor(self._starters, begin)
            try:
                await asyncio.wait([start])
            except asyncio.CancelledError:
                worker.close()
                await asyncio.wait([start], timeout=min(self._settings.shutdown_seconds, CLOSE_SECONDS))
                if not start.done():
                    self.abandoned.append(f"the loading of {model.name}")
                    logger.error("The loading of %s does not end; it is given up.", model.name)
                    start.cancel()
                elif not start.cancelled():
                    start.exception()
                raise
            failure = start.exception()
            if failure is None:
                held = (
                    worker.resident_bytes()
                )  # a worker that was not warmed grows to what the first one held
                model.known_bytes = max(held, model.known_bytes) if is_known else held or model.known_bytes
                refusal = self._refusal(model, start.result())
                if refusal is None:
                    await self._make_room(model, model.known_bytes)
                    model.worker, model.facts = worker, start.result()
                    model.last_used_at = time.monotonic()
                    model.become("live")
                    return None
                failure = refusal
            await asyncio.to_thread(worker.close)
            return failure if isinstance(failure, Exception) else RuntimeError(repr(failure))

    def _refusal(self, model: ServedModel, facts: EngineFacts) -> ConfigError | None:
        """Why a model that was loaded cannot be served."""
        settings = self._settings
        if settings.memory_budget_bytes and model.known_bytes > settings.memory_budget_bytes:
            return ConfigError(
                f"{model.name} holds {model.known_bytes:,} bytes, more than the budget of all models, "
                f"{settings.memory_budget_bytes:,}.",
                "Raise CLIPWORKS_MEMORY_BUDGET_BYTES.",
            )
        request_bytes = settings.max_images * facts.image_size**2 * 3
        if request_bytes > settings.max_pixel_bytes:
            return ConfigError(
                f"max_pixel_bytes is {settings.max_pixel_bytes:,}; a full request to {model.name} needs "
                f"{request_bytes:,}.",
                "Raise CLIPWORKS_MAX_PIXEL_BYTES or lower CLIPWORKS_MAX_IMAGES.",
            )
        if model.facts is not None and model.facts.fingerprint != facts.fingerprint:
            if model.providers.is_answering:
                return ConfigError(
                    f"{model.name} has the checkpoint {facts.fingerprint[:12]} here, and its providers have "
                    f"{model.facts.fingerprint[:12]}.",
                    "All providers of a model must hold the same checkpoint.",
                )
            return ConfigError(f"The files of {model.name} have changed.", "Start the server anew.")
        return None

    async def _make_room(self, model: ServedModel, num_bytes: int) -> None:
        """Unload others, the ones not used for longest first, until this model fits."""
        budget = self._settings.memory_budget_bytes
        while budget:
            others = [one for one in self.models.values() if one.worker is not None and one is not model]
            held = sum(one.worker.resident_bytes() for one in others if one.worker is not None)
            if held + num_bytes <= budget or not others:
                return
            oldest = min(others, key=lambda one: (one.is_busy, one.last_used_at))
            oldest.unwanted.set()
            while oldest.worker is not None:
                await oldest.changed()

    async def _attend(self, model: ServedModel, gone: asyncio.Event) -> bool:
        """Stay with a live model until its memory is needed and it is done, or its worker dies: True."""
        dead = asyncio.ensure_future(gone.wait())
        leave = asyncio.ensure_future(model.unwanted.wait())
        try:
            await asyncio.wait((dead, leave), return_when=asyncio.FIRST_COMPLETED)
            if not dead.done():
                model.wanted.clear()
                model.become("unloading")
                while model.is_busy and not dead.done():
                    change = asyncio.ensure_future(model.changed())
                    await asyncio.wait((dead, change), return_when=asyncio.FIRST_COMPLETED)
                    change.cancel()
        finally:
            dead.cancel()
            leave.cancel()
        model.unwanted.clear()
        worker, model.worker = model.worker, None
        assert worker is not None
        has_died = gone.is_set()
        if has_died:
            logger.error("The worker of %s died; another one is started.", model.name)
            model.wanted.set()
        model.become("loading" if has_died else "idle")
        await asyncio.to_thread(worker.close)
        return has_died


async def _compile() -> None:
    """Have the compiled resize at hand before the first picture comes."""
    await asyncio.to_thread(compiled_resample, cache_folder)


def _give_up(model: ServedModel, task: asyncio.Task[None]) -> None:
    """Tell who waits for a model that nobody watches it any more: the watching has a fault."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        logger.error("Nothing looks after %s any more.", model.name, exc_info=error)
        model.become("failed", RuntimeError(repr(error)), 3600.0)


def _note_death(model: ServedModel, gone: asyncio.Event) -> None:
    """What waits is kept for the next worker from now on, not only when `_attend` has its turn."""
    for lane in model.lanes:
        lane.pause()
    gone.set()


def _tell(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call)
