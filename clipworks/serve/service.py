"""The models and the gallery that a server was given, with the lanes in front of each engine.

A picture goes decode lane -> image lane: a file that cannot be read fails alone, before it meets
others. Texts and label heads have lanes of their own, so that a burst of pictures does not hold up
a search. The engines are given; nothing here builds or loads one.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from clipworks.errors import BusyError, ConfigError, InputError
from clipworks.model.tokenizer import MAX_TEXT_CHARS, tokenize
from clipworks.search.store import VectorStore
from clipworks.serve.batcher import Lane
from clipworks.serve.inputs import Payload, Picture, file_bytes
from clipworks.serve.problems import RequestError, nearest, shown
from clipworks.serve.settings import ServeSettings

if TYPE_CHECKING:
    from clipworks.model.engine import Engine

Vectors = npt.NDArray[np.float32]
"""float32 [N, D], rows of unit length."""

Pixels = npt.NDArray[np.uint8]
"""uint8 [S, S, 3], RGB, ready for the engine."""

Item = TypeVar("Item")

CANARY_SECONDS = 10.0
_HEAD_QUEUE = 32


class ServedModel:
    """One engine and its lanes. All methods run in the event loop; the work is done in threads."""

    def __init__(self, name: str, engine: "Engine", settings: ServeSettings) -> None:
        self.name = name
        self.engine = engine
        self.decoding = Lane[Picture, Pixels](
            f"{name} decoding",
            lambda pictures: [self._prepare(pictures[0])],
            max_batch=1,
            capacity=settings.max_requests * settings.max_images,
            threads=settings.decode_threads,
        )
        self.images = Lane[Pixels, Vectors](
            f"{name} images",
            lambda pixels: list(engine.embed_pixels(np.stack(pixels))),
            max_batch=settings.image_batch,
            capacity=settings.max_image_queue,
        )
        self.texts = Lane[str, Vectors](
            f"{name} texts",
            lambda texts: list(engine.embed_texts(texts)),
            max_batch=settings.text_batch,
            capacity=settings.max_text_queue,
        )
        self.heads = Lane[tuple[list[str], list[str] | None], Vectors](
            f"{name} labels",
            lambda heads: [engine.label_head(*heads[0])],
            max_batch=1,
            capacity=_HEAD_QUEUE,
        )
        self._lanes = (self.decoding, self.images, self.texts, self.heads)

    def start(self) -> None:
        """Begin to take work; called inside the event loop."""
        for lane in self._lanes:
            lane.start()

    async def close(self) -> None:
        """Finish the calls in work and refuse what still waits."""
        await asyncio.gather(*(lane.close() for lane in self._lanes))

    async def embed_images(self, pictures: Sequence[Picture]) -> Vectors:
        """float32 [N, D], one unit row per picture, in order.

        Raises:
            RequestError: a picture cannot be used; of several the first is named.
            BusyError: a queue is full.
            BatchError: the engine failed.
        """
        pixels = await self.decoding.answer(pictures)
        return np.stack(await self.images.answer(pixels))

    async def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """float32 [N, D], one unit row per text, in order.

        Raises:
            BusyError: the queue is full.
            BatchError: the engine failed.
        """
        return np.stack(await self.texts.answer(texts))

    async def label_head(self, labels: list[str], templates: list[str] | None) -> Vectors:
        """float32 [L, D], one unit row per label; the engine keeps it by content.

        Raises:
            BusyError: the queue is full.
        """
        (head,) = await self.heads.answer([(labels, templates)])
        return head

    async def is_ready(self, within_seconds: float = 30.0) -> bool:
        """Whether both towers answered within the last seconds, or answer now."""
        side = self.engine.image_size
        blank = np.zeros((side, side, 3), dtype=np.uint8)
        return await _answers(self.images, blank, within_seconds) and await _answers(
            self.texts, "ready", within_seconds
        )

    def _prepare(self, picture: Picture) -> Pixels:
        data = file_bytes(picture)
        try:
            return self.engine.prepare_image(data, name=picture.param)
        except RequestError:
            raise
        except InputError as error:
            raise RequestError(error.message, error.remedy, code=error.code, param=picture.param) from error


class Service:
    """Everything an endpoint needs: settings, models by id, the gallery and its model."""

    def __init__(
        self, settings: ServeSettings, engines: "Mapping[str, Engine]", gallery: VectorStore | None
    ) -> None:
        if not engines:
            raise ConfigError("The server was given no model.", "Name one with --model.")
        if settings.max_text_characters > MAX_TEXT_CHARS:
            raise ConfigError(
                f"max_text_characters is {settings.max_text_characters}; "
                f"the tokenizer takes {MAX_TEXT_CHARS}."
            )
        self.settings = settings
        self.models = {name: ServedModel(name, engine, settings) for name, engine in engines.items()}
        self.gallery = gallery
        self.gallery_model = _model_of(gallery, self.models)
        self.created_at = int(time.time())
        self._num_requests = 0

    def model(self, payload: Payload) -> ServedModel:
        """The model that a request names; the only one when it names none.

        Raises:
            RequestError: `model` is missing although several are served, or is unknown.
        """
        name = payload.get("model")
        if name is None and len(self.models) == 1:
            return next(iter(self.models.values()))
        if name is None:
            raise RequestError(
                "The field 'model' is missing.",
                f"Served here: {', '.join(self.models)}.",
                code="missing_field",
                param="model",
            )
        return self.named(name)

    def named(self, name: object) -> ServedModel:
        """The model with this id.

        Raises:
            RequestError: there is none; the nearest ids are named.
        """
        if isinstance(name, str) and name in self.models:
            return self.models[name]
        raise RequestError(
            f"The model {shown(name)} is not served here.",
            nearest(str(name)[:200], list(self.models)),
            code="model_not_found",
            param="model",
        )

    @asynccontextmanager
    async def admission(self) -> AsyncIterator[None]:
        """A place among the requests in work.

        Raises:
            BusyError: all places are taken.
        """
        if self._num_requests >= self.settings.max_requests:
            raise BusyError(
                f"The server works on {self._num_requests} requests, as many as it takes.", "Try again later."
            )
        self._num_requests += 1
        try:
            yield
        finally:
            self._num_requests -= 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The life of the server: lanes are open inside."""
        for model in self.models.values():
            model.start()
        try:
            yield
        finally:
            await asyncio.gather(*(model.close() for model in self.models.values()))


def count_tokens(texts: Sequence[str], context_length: int) -> int:
    """Tokens of the texts as the model reads them, without start and end marks and what is cut off."""
    tokens_NT = tokenize(texts, context_length=context_length)
    return int((tokens_NT.argmax(axis=1) - 1).sum())  # the end mark is the largest id


def _model_of(gallery: VectorStore | None, models: Mapping[str, ServedModel]) -> ServedModel | None:
    if gallery is None:
        return None
    for model in models.values():
        if model.engine.fingerprint == gallery.fingerprint:
            return model
    raise ConfigError(
        f"The gallery was embedded by the checkpoint {gallery.fingerprint[:12]}, "
        f"which is not among the models served ({', '.join(models)}).",
        "Serve that model too, or build the gallery's index anew with `clipworks index`.",
    )


async def _answers(lane: Lane[Item, Vectors], item: Item, within_seconds: float) -> bool:
    if time.monotonic() - lane.last_answer_at < within_seconds:
        return True
    try:
        async with asyncio.timeout(CANARY_SECONDS):
            await lane.answer([item])
    except (TimeoutError, RuntimeError, BusyError):
        return False
    return True
