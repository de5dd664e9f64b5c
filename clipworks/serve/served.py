"""One model as requests see it: its state, its lanes, and the worker of the moment behind them.

A picture goes preparing lane -> image lane: a file that cannot be read fails alone, before it meets
others. Texts become tokens in the preparing lane too, once, and have a lane of their own, so that a
burst of pictures does not hold up a search. Lanes outlive workers: what waits when one dies is
answered by the next. Nothing here builds or loads an engine; `fleet.py` says when.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from clipworks.model.heads import HeadCache, Vectors, build_head, key_of
from clipworks.model.tokenizer import tokenize
from clipworks.serve.batcher import Lane
from clipworks.serve.inputs import Picture
from clipworks.serve.lanes import PixelLane, image_lane, patch_lane, text_lane
from clipworks.serve.losses import Losses, embed_usable
from clipworks.serve.metrics import Metrics
from clipworks.serve.preparing import prepare_picture
from clipworks.serve.problems import RequestError, UnavailableError
from clipworks.serve.room import Room
from clipworks.serve.roster import ModelSpec
from clipworks.serve.settings import ServeSettings
from clipworks.serve.stages import answered, answers_now, measured, timed_task
from clipworks.serve.traces import current_trace
from clipworks.serve.worker import EngineFacts, Worker

if TYPE_CHECKING:
    from clipworks.serve.fetching import PictureFetcher
    from clipworks.serve.router import ProviderRouter
    from clipworks.serve.upstream import Upstream

State = Literal["idle", "loading", "live", "unloading", "failed", "coming_soon", "closed"]

Tokens = npt.NDArray[np.int64]
"""int64 [N, T], rows of `tokenizer.tokenize`."""

Preparing = Lane[Callable[[], Any], Any]
"""The pool in which files become pixels and texts become tokens; all models share one."""

_TEXTS_PER_TASK = 256
_PROMPTS_PER_TURN = 1024

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shared:
    """What all models of a server use together."""

    preparing: Preparing
    fetcher: "PictureFetcher"
    """Fetches pictures that are given by address."""
    metrics: Metrics
    room: Room
    """Bytes for pictures that are being decoded."""


class ServedModel:
    """A model's lanes and state. All methods run in the event loop; the work is done in threads."""

    def __init__(
        self, spec: ModelSpec, settings: ServeSettings, shared: Shared, providers: "ProviderRouter"
    ) -> None:
        self.spec = spec
        self.name = spec.id
        self.state: State = "coming_soon" if spec.status == "coming_soon" else "idle"
        self.error: Exception | None = None
        """Why it failed, while its state is `failed`."""
        self.facts: EngineFacts | None = None
        """What is known of the engine, since it was first loaded."""
        self.worker: Worker | None = None
        self.known_bytes = spec.memory_bytes
        """What its worker held when it was last measured, or is expected to hold."""
        self.last_used_at = float("-inf")
        """`time.monotonic()` when a request last finished, seconds."""
        self.wanted = asyncio.Event()
        """Set while it is to be loaded, or to be loaded again."""
        self.unwanted = asyncio.Event()
        """Set when its memory is needed."""
        self._retry_at = 0.0
        self._changed = asyncio.Event()
        self._num_users = 0
        self._heads = HeadCache()
        self._building: dict[str, asyncio.Lock] = {}
        self._shared = shared
        metrics = shared.metrics
        self._watch = metrics.watch("prepare", spec.id, "image")
        self._prompts_per_turn = max(1, min(_PROMPTS_PER_TURN, settings.max_text_queue // 2))
        self.images = image_lane(
            spec.id, lambda pixels: self._at_work().embed_pixels(pixels), settings, metrics
        )
        self.texts = text_lane(spec.id, lambda rows: self._at_work().embed_tokens(rows), settings, metrics)
        self.patches = patch_lane(
            spec.id, lambda pixels: self._at_work().embed_patches(pixels), settings, metrics
        )
        self.lanes: tuple[Lane[Any, Any], ...] = (self.images, self.texts, self.patches)
        self.providers = providers
        providers.belong_to(self)

    @property
    def engine(self) -> EngineFacts:
        """What is known of the engine.

        Raises:
            UnavailableError: it has not been loaded yet.
        """
        if self.facts is None:
            raise self._loading()
        return self.facts

    @property
    def is_busy(self) -> bool:
        """Whether requests are in work."""
        return self._num_users > 0

    @property
    def status(self) -> State:
        """The state of the model, whoever answers for it."""
        if self.spec.status == "coming_soon" and self.state != "closed":
            return "coming_soon"
        if self.state in ("coming_soon", "closed") or not self.providers.upstreams:
            return self.state
        if self.providers.is_answering:
            return "live"
        return "failed" if self.state == "live" and not self.spec.is_local else self.state

    async def live(self) -> EngineFacts:
        """What is known of the model, once somebody can answer for it.

        Raises:
            UnavailableError: it cannot be loaded, or the caller was cancelled while it waited.
        """
        if self.providers.upstreams and self.facts is not None and self.state != "closed":
            return self.facts  # whether any provider answers is found out by asking them
        return await self.live_here()

    async def live_here(self) -> EngineFacts:
        """Have the model loaded by the local engine, and wait for it; errors as in `live`."""
        while self.state != "live":
            if self.state == "closed":
                raise UnavailableError("The server is stopping.", code="server_stopping")
            if self.state == "failed":
                seconds = self._retry_at - time.monotonic()
                if seconds > 0:
                    raise self._failed(seconds)
            self.wanted.set()
            try:
                await self.changed()
            except asyncio.CancelledError as error:
                nobody = None if self.spec.is_local else self.providers.nobody()
                raise nobody or self._loading() from error  # a deadline that passes here is told why
            if not self.spec.is_local and self.facts is not None:
                break
        assert self.facts is not None
        return self.facts

    def learn(self, facts: EngineFacts) -> None:
        """Take over what an upstream said of the model, before any engine of ours was loaded."""
        self.facts = facts
        if not self.spec.is_local:
            self.become("live")
        self.notify()

    def changed(self) -> Coroutine[Any, Any, object]:
        """What waits for the next change after this call: of state, or that the last request has ended."""
        return self._changed.wait()

    def reopen(self) -> None:
        """Forget an earlier event loop: an application may be started more than once."""
        self.wanted, self.unwanted, self._changed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.worker = None

    def become(self, state: State, error: Exception | None = None, retry_seconds: float = 0.0) -> None:
        """Change the state; lanes call their worker only while it is `live`."""
        self.state, self.error = state, error
        self._retry_at = time.monotonic() + retry_seconds
        for lane in self.lanes:
            if state == "live" or state == "unloading":
                lane.resume()
            else:
                lane.pause()
            if state == "failed":
                lane.refuse_waiting(partial(self._failed, retry_seconds))
        self.notify()

    async def embed_images(self, pictures: Sequence[Picture], losses: Losses | None = None) -> Vectors:
        """float32 [N, D], one unit row per picture, in order; from the provider that routing chooses.

        Args:
            losses: where given, a picture that cannot be used is noted there and has a row of zeros.

        Raises:
            RequestError: a picture cannot be used; of several the first is named.
            BusyError: a queue is full.
            UnavailableError: the model is not loaded in time, its worker died, or no provider answers.
            BatchError: the engine failed.
        """
        whole = await self._shared.fetcher.filled(pictures, self.name, losses)
        if losses is None:
            return await self._ask_for_images(whole, None)
        dim = (await self.live()).dim
        return await embed_usable(self._ask_for_images, whole, lambda picture: picture.param, dim, losses)

    async def embed_images_here(self, pictures: Sequence[Picture], losses: Losses | None = None) -> Vectors:
        """As `embed_images`, by the local engine, from pictures that are here."""
        found = await self._embed(self.images, pictures, losses)
        rows: Vectors = np.zeros((len(pictures), self.engine.dim), dtype=np.float32)
        if found:
            rows[list(found)] = np.stack(list(found.values()))
        return rows

    async def embed_patches(self, pictures: Sequence[Picture]) -> Vectors:
        """float32 [N, rows, columns, D], a unit row per patch; from the local engine, errors as above."""
        whole = await self._shared.fetcher.filled(pictures, self.name, None)
        found = await self._embed(self.patches, whole, None)
        return np.stack(list(found.values()))

    async def _embed(
        self, lane: PixelLane, pictures: Sequence[Picture], losses: Losses | None
    ) -> dict[int, Vectors]:
        """Prepare pictures and ask a lane: the place of each that could be used -> its answer."""
        shared = self._shared
        async with self._in_use() as facts:
            with lane.places(len(pictures), len(pictures) * facts.image_size**2 * 3):
                prepare = partial(prepare_picture, facts, shared.room, refuses=losses is None)
                tasks = [timed_task(prepare, one, self._watch) for one in pictures]
                stage = ("prepare", self.name, "image")
                prepared = await measured(shared.preparing.answer, tasks, shared.metrics, stage)
                pixels = {i: one for i, one in enumerate(prepared) if not isinstance(one, RequestError)}
                if losses is not None:
                    losses |= {i: one for i, one in enumerate(prepared) if isinstance(one, RequestError)}
                stage = ("inference", self.name, "image")
                asking = measured(lane.answer_placed, [*pixels.values()], shared.metrics, stage)
                return dict(zip(pixels, await answered(asking), strict=True))

    async def embed_texts(
        self, texts: Sequence[str], tokens: Tokens | None = None, losses: Losses | None = None
    ) -> Vectors:
        """float32 [N, D], one unit row per text, in order; errors as in `embed_images`.

        Args:
            tokens: what `tokenize` gives for the texts, where it is known already.
            losses: where given, a text that a provider refuses is noted there and has a row of zeros.
        """
        if not self.providers.rows:
            return await self.embed_texts_here(texts, tokens)
        if losses is None:
            return await self._ask_for_texts(texts, tokens)
        rows = await self.tokenize(texts) if tokens is None else tokens
        return await embed_usable(
            lambda some, _: self._ask_for_texts([texts[i] for i in some], rows[list(some)]),
            range(len(texts)),
            lambda _: None,
            (await self.live()).dim,
            losses,
        )

    async def embed_texts_here(self, texts: Sequence[str], tokens: Tokens | None) -> Vectors:
        """As `embed_texts`, by the local engine."""
        return await self.embed_tokens(await self.tokenize(texts) if tokens is None else tokens)

    async def tokenize(self, texts: Sequence[str]) -> Tokens:
        """The rows that `embed_tokens` reads; their number of tokens is `tokenizer.num_tokens`.

        Raises:
            BusyError: a queue is full.
            UnavailableError: the model is not loaded in time.
        """
        length = (await self.live() if self.facts is None else self.facts).context_length
        parts = [texts[start : start + _TEXTS_PER_TASK] for start in range(0, len(texts), _TEXTS_PER_TASK)]
        if not parts:
            return np.empty((0, length), dtype=np.int64)
        rows = await self._shared.preparing.answer(
            [partial(tokenize, one, context_length=length) for one in parts]
        )
        return np.concatenate(rows)

    async def embed_tokens(self, tokens: Tokens) -> Vectors:
        """float32 [N, D], one unit row per row of tokens, in order; errors as in `embed_images`."""
        async with self._in_use():
            stage = ("inference", self.name, "text")
            asking = measured(self.texts.answer, list(tokens), self._shared.metrics, stage)
            vectors = await answered(asking)
            return np.stack(vectors)

    async def label_head(self, labels: list[str], templates: list[str] | None) -> Vectors:
        """float32 [L, D], one unit row per label; kept by content. Errors as in `embed_images`.

        The prompts go through the text lane a part at a time, so that others come between them.
        """
        filled = templates or ["{}"]
        key = key_of(labels, filled)
        lock = self._building.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                head = self._heads.get(key)
                if head is None:
                    head = await self._build_head(labels, filled)
                    self._heads.put(key, head)
                return head
        finally:
            if not lock.locked():
                self._building.pop(key, None)

    async def is_ready(self, within_seconds: float = 30.0) -> bool:
        """Whether both towers answered within the last seconds, or answer now, or an upstream does."""
        if self.providers.is_answering:
            return True
        if not self.spec.is_local or self.state != "live" or self.facts is None:
            return False
        side, length = self.facts.image_size, self.facts.context_length
        blank = np.zeros((side, side, 3), dtype=np.uint8)
        empty = tokenize(["ready"], context_length=length)[0]
        return await answers_now(self.images, blank, within_seconds) and await answers_now(
            self.texts, empty, within_seconds
        )

    async def _build_head(self, labels: list[str], templates: list[str]) -> Vectors:
        prompts = [template.replace("{}", label) for label in labels for template in templates]
        parts = list[Vectors]()
        for start in range(0, len(prompts), self._prompts_per_turn):
            parts.append(await self.embed_texts(prompts[start : start + self._prompts_per_turn]))
        rows = iter(np.concatenate(parts))
        return await asyncio.to_thread(
            build_head, lambda texts: np.stack([next(rows) for _ in texts]), labels, templates
        )

    async def _ask_for_images(self, pictures: Sequence[Picture], losses: Losses | None) -> Vectors:
        if not self.providers.rows:
            return await self.embed_images_here(pictures, losses)
        facts = await self.live()
        current_trace().fingerprint = facts.fingerprint

        async def ask_upstream(upstream: "Upstream", seconds: float) -> Vectors:
            if losses is not None:
                losses.clear()  # of an engine here that failed after it had found some
            known = (facts.dim, facts.fingerprint)
            return await upstream.embed_images(pictures, dim=known[0], fingerprint=known[1], seconds=seconds)

        here = partial(self.embed_images_here, pictures, losses)
        return await self.providers.answer("image", here, ask_upstream)

    async def _ask_for_texts(self, texts: Sequence[str], tokens: Tokens | None) -> Vectors:
        facts = await self.live()
        current_trace().fingerprint = facts.fingerprint
        return await self.providers.answer(
            "text",
            partial(self.embed_texts_here, texts, tokens),
            lambda upstream, seconds: upstream.embed_texts(
                texts, dim=facts.dim, fingerprint=facts.fingerprint, seconds=seconds
            ),
        )

    @asynccontextmanager
    async def _in_use(self) -> AsyncIterator[EngineFacts]:
        facts = await self.live_here()
        current_trace().fingerprint = facts.fingerprint
        self._num_users += 1
        try:
            yield facts
        finally:
            self._num_users -= 1
            self.last_used_at = time.monotonic()
            if not self._num_users:
                self.notify()

    def _at_work(self) -> Worker:
        if self.worker is None:
            raise self._loading()
        return self.worker

    def notify(self) -> None:
        """Wake whoever waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _loading(self) -> UnavailableError:
        return UnavailableError(f"The model {self.name} is being loaded.", code="model_loading")

    def _failed(self, seconds: float) -> UnavailableError:
        return UnavailableError(
            f"The model {self.name} could not be loaded; the server's log says why.",
            "The server tries again by itself.",
            code="model_failed",
            retry_after_seconds=max(seconds, 0.1),
        )
