"""What every endpoint needs: the models, the gallery, and how much is in work at the same time.

Which models there are and which of them is loaded is the fleet's business; nothing here builds or
loads an engine.
"""

import datetime
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.types import Message

from clipworks.errors import BusyError, ConfigError
from clipworks.model.tokenizer import MAX_TEXT_CHARS
from clipworks.search.library import Library
from clipworks.serve.bodies import pass_over
from clipworks.serve.inputs import Payload
from clipworks.serve.problems import RequestError, nearest, shown
from clipworks.serve.settings import ServeSettings
from clipworks.serve.traces import current_trace

if TYPE_CHECKING:
    from clipworks.serve.fleet import Fleet
    from clipworks.serve.served import ServedModel


class Service:
    """Everything an endpoint needs: settings, models by id, the gallery and its model.

    Args:
        loads_first: whether nothing is answered before all models that are loaded at start are there.
    """

    def __init__(
        self,
        settings: ServeSettings,
        fleet: "Fleet",
        gallery: Library | None,
        *,
        loads_first: bool = False,
    ) -> None:
        if settings.max_text_characters > MAX_TEXT_CHARS:
            raise ConfigError(
                f"max_text_characters is {settings.max_text_characters}; "
                f"the tokenizer takes {MAX_TEXT_CHARS}."
            )
        self.settings = settings
        self.fleet = fleet
        self.metrics = fleet.metrics
        self.is_stopping = False
        """Whether the server was told to stop; it still answers, and says that it is not ready."""
        self.models = fleet.models
        self.gallery = gallery
        self.gallery_model: ServedModel | None = None
        """Whose vectors the gallery has; None without a gallery, and until that model has been loaded."""
        self.created_at = int(time.time())
        self._num_requests = 0
        self._num_body_bytes = 0
        self._seconds_per_request = 0.1
        self._last_end = 0.0
        self._is_ready_made = all(model.facts is not None for model in self.models.values())
        self._loads_first = loads_first or self._is_ready_made
        if self._is_ready_made:
            self._find_gallery_model()

    def model(self, payload: Payload) -> "ServedModel":
        """The model that a request names; the only one when it names none.

        Raises:
            RequestError: `model` is missing although several are served, or is unknown.
        """
        name = payload.get("model")
        if name is None and len(self.models) == 1:
            return self.named(next(iter(self.models)))
        if name is None:
            raise RequestError(
                "The field 'model' is missing.",
                f"Served here: {', '.join(self.fleet.served_names())}.",
                code="missing_field",
                param="model",
            )
        return self.named(name)

    def named(self, name: object) -> "ServedModel":
        """The model with this id or alias, which is served.

        Raises:
            RequestError: there is none, and the nearest are named, or it is not served yet or any more.
        """
        model = self.listed(name)
        self._check_is_served(model)
        current_trace().asked = model.name
        return model

    def listed(self, name: object) -> "ServedModel":
        """The model with this id or alias, served or not.

        Raises:
            RequestError: there is none; the nearest names are given.
        """
        if isinstance(name, str) and name in self.fleet.ids:
            return self.models[self.fleet.ids[name]]
        raise RequestError(
            f"The model {shown(name)} is not served here.",
            nearest(str(name), list(self.fleet.ids)),
            code="model_not_found",
            param="model",
        )

    @asynccontextmanager
    async def admission(self, request: Request) -> AsyncIterator[None]:
        """A place among the requests in work; a request that gets none is read before it is refused.

        Raises:
            BusyError: all places are taken.
        """
        if self._num_requests >= self.settings.max_requests:
            error = BusyError(
                f"The server works on {self._num_requests} requests, as many as it takes.",
                "Try again later.",
                retry_after_seconds=self._seconds_until_room(),
            )
            await pass_over(request)
            raise error
        self._num_requests += 1
        try:
            yield
        finally:
            self._num_requests -= 1
            now = time.monotonic()
            apart = min(now - self._last_end, 10.0)
            self._last_end = now
            self._seconds_per_request += 0.1 * (apart - self._seconds_per_request)

    @asynccontextmanager
    async def counted(self, request: Request) -> AsyncIterator[Request]:
        """The same request, whose body counts among the bytes that all bodies may have together.

        Reading it raises a `BusyError` when they have reached the limit.
        """
        num_bytes = 0

        async def receive() -> Message:
            nonlocal num_bytes
            message = await request.receive()
            size = len(message.get("body", b""))
            if self._num_body_bytes + size > self.settings.max_bodies_bytes:
                raise BusyError(
                    f"The bodies of requests in work have {self._num_body_bytes:,} bytes; "
                    f"{self.settings.max_bodies_bytes:,} are taken.",
                    "Try again later.",
                    retry_after_seconds=self._seconds_until_room(),
                )
            num_bytes += size
            self._num_body_bytes += size
            return message

        try:
            yield Request(request.scope, receive)
        finally:
            self._num_body_bytes -= num_bytes

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The life of the server: models come and go inside."""
        async with self.fleet.running():
            if self._loads_first:
                await self.loaded()
            try:
                yield
            finally:
                self.fleet.fetcher.close()

    async def loaded(self) -> None:
        """Wait until every model that is loaded at start is there.

        Raises:
            ClipworksError: one cannot be loaded.
            ConfigError: none of the models made the gallery's vectors.
        """
        await self.fleet.loaded()
        self._find_gallery_model()

    def _find_gallery_model(self) -> None:
        if self.gallery is None or self.gallery_model is not None:
            return
        known = {model.facts.fingerprint: model for model in self.models.values() if model.facts is not None}
        self.gallery_model = known.get(self.gallery.fingerprint)
        lazy = [name for name in self.fleet.served_names() if self.models[name].facts is None]
        if self.gallery_model is None and lazy:
            raise ConfigError(
                f"The gallery was embedded by the checkpoint {self.gallery.fingerprint[:12]}, which no model "
                f"loaded at start has; what {', '.join(lazy)} would have is not known yet.",
                "Set preload = true for the gallery's model.",
            )
        if self.gallery_model is None:
            raise ConfigError(
                f"The gallery was embedded by the checkpoint {self.gallery.fingerprint[:12]}, "
                f"which is not among the models served ({', '.join(self.models)}).",
                "Serve that model too, or build the gallery's index anew with `clipworks index`.",
            )

    def _check_is_served(self, model: "ServedModel") -> None:
        words = ""
        if model.spec.status == "coming_soon":
            words = f"The model {model.name} has the status coming_soon: it is not served yet."
        elif model.spec.is_over(datetime.date.today()):
            words = f"The model {model.name} was deprecated and shut down on {model.spec.shutdown_date}."
        if words:
            raise RequestError(
                words,
                f"Served here: {', '.join(self.fleet.served_names())}.",
                code="model_not_found",
                param="model",
            )

    def _seconds_until_room(self) -> float:
        """How long half of the requests in work take at the rate of the last ones."""
        return min(max(self._num_requests * self._seconds_per_request / 2, 0.05), 30.0)
