"""The providers of one model: who is asked, and who is asked instead when that one fails.

A request goes to one provider; when it fails or takes too long, to the next, within the request's time:
while others are left, a provider gets at most half of what remains. What the client did wrong is said to
the client and not tried elsewhere. All of them must hold the same checkpoint, which is checked before the
first request and by every answer that names its checkpoint.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clipworks.errors import BusyError, ConfigError
from clipworks.model.heads import Vectors
from clipworks.serve.batcher import BatchError
from clipworks.serve.inputs import Picture
from clipworks.serve.metrics import Metrics
from clipworks.serve.problems import ClientFaultError, ProviderError, UnavailableError
from clipworks.serve.provider import Provider
from clipworks.serve.roster import LOCAL, ModelSpec
from clipworks.serve.traces import current_trace
from clipworks.serve.upstream import CANARY_TEXT, Look, Upstream, canary_picture
from clipworks.serve.worker import EngineFacts

if TYPE_CHECKING:
    from clipworks.serve.served import ServedModel

Here = Callable[[], Awaitable[Vectors]]
There = Callable[[Upstream, float], Awaitable[Vectors]]
"""Asks an upstream; it has so many seconds."""

EXPLORE_SECONDS = 10.0
"""A provider that was not measured for so long gets one request, where the fastest is wanted."""

LEAST_COSINE = 0.98
"""Between vectors of one item by two providers of one model; int8 against f32 is above 0.99."""

_PATIENCE_SECONDS = 1.0
_NEVER = float("-inf")


class ProviderRouter:
    """Who answers for one model.

    Args:
        spec: names them, the first choice first.
        metrics: hears of every call.

    Raises:
        ConfigError: an address cannot be used.
    """

    def __init__(self, spec: ModelSpec, metrics: Metrics) -> None:
        self.rows = [
            Provider(one, None if one.name == LOCAL else Upstream(one, spec.id), spec.id, metrics)
            for one in spec.providers
        ]
        self.all_rows = tuple(self.rows)
        """Also those that are not asked for now, in the order of the server's start."""
        self.upstreams = [row for row in self.rows if row.upstream is not None]
        self._routing = spec.routing

    def belong_to(self, model: "ServedModel") -> None:
        """Say whose they are: it has the local engine, and its facts are what all must agree with."""
        self._model = model

    @property
    def is_answering(self) -> bool:
        """Whether an upstream works."""
        return any(row.condition == "live" for row in self.upstreams if row in self.rows)

    def arrange(self, names: Sequence[str]) -> None:
        """Ask these providers only, in this order; requests in work keep to whom they asked.

        Raises:
            ConfigError: a name is unknown, or there is none.
        """
        known = {row.name: row for row in self.all_rows}
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise ConfigError(
                f"{self._model.name} has no provider {unknown[0]!r}."
                if unknown
                else f"{self._model.name} would be left without a provider.",
                f"It has {', '.join(known)}.",
            )
        self.rows = [known[name] for name in dict.fromkeys(names)]
        self._tell()

    def start(self) -> list[Coroutine[Any, Any, None]]:
        """Open the upstreams; what must run for as long as they are to be asked."""
        for row in self.all_rows:
            row.reopen()
        return [row.watch(self._accept, self._tell) for row in self.upstreams]

    def close(self) -> None:
        """Let the connections go."""
        for row in self.upstreams:
            assert row.upstream is not None
            row.upstream.close()

    def describe(self) -> list[dict[str, object]]:
        """All of them as the list of models shows them."""
        state = self._model.state
        rows = [row.describe(state if row.is_local else row.condition) for row in self.rows]
        return rows + [row.describe("disabled") for row in self.all_rows if row not in self.rows]

    async def answer(self, modality: str, here: Here, there: There) -> Vectors:
        """The vectors of a request from whoever gives them.

        Args:
            modality: `image` or `text`; their times are kept apart.
            here: asks the local engine.
            there: asks an upstream.

        Raises:
            RequestError: an item cannot be used.
            BusyError: all of them are overloaded.
            UnavailableError: none of them answers.
        """
        failures: dict[str, ProviderError] = {}
        row = self._next(modality, failures) or await self._awaited(modality)
        while row is not None:
            try:
                vectors = await self._ask(row, modality, here, there, failures)
            except ProviderError as error:
                failures[row.name] = error
            else:
                trace = current_trace()
                if row.name not in trace.providers:
                    trace.providers.append(row.name)
                return vectors
            row = self._next(modality, failures)
        raise self._none_left(failures)

    def _next(self, modality: str, failures: dict[str, ProviderError]) -> Provider | None:
        """Who is asked now: the best that works; else the local engine, which may be being loaded."""
        left = [row for row in self.rows if row.name not in failures]
        working = [row for row in left if self._works(row)]
        local = next((row for row in left if row.is_local), None)
        if local is not None and self._model.state == "idle" and (not working or left[0] is local):
            self._model.wanted.set()
        if not working:
            return local
        if self._routing == "price":
            return min(working, key=lambda row: row.price)
        if self._routing == "latency":
            stale = time.monotonic() - EXPLORE_SECONDS
            for row in working:
                if row.measured_at.get(modality, _NEVER) < stale:
                    row.measured_at[modality] = time.monotonic()
                    return row
            return min(working, key=lambda row: row.median_seconds.get(modality, 0.0))
        return working[0]

    def _works(self, row: Provider) -> bool:
        return self._model.state == "live" if row.is_local else row.condition == "live"

    async def _awaited(self, modality: str) -> Provider | None:
        """Who works a moment later: a connection that broke is mended faster than a client comes back."""
        left = current_trace().deadline_at - time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, min(_PATIENCE_SECONDS, left / 2))):
                while (row := self._next(modality, {})) is None:
                    await self._model.changed()
                return row
        except TimeoutError:
            return None

    async def _ask(
        self, row: Provider, modality: str, here: Here, there: There, failures: dict[str, ProviderError]
    ) -> Vectors:
        started = time.monotonic()
        seconds = max(0.001, current_trace().deadline_at - started)
        others = [
            one for one in self.rows if one is not row and one.name not in failures and self._works(one)
        ]
        if others:
            seconds /= 2
        try:
            if row.upstream is None:
                async with asyncio.timeout(seconds if others else None):
                    vectors = await here()
            else:
                seconds = min(seconds, row.spec.timeout_seconds)
                vectors = await there(row.upstream, seconds)
        except ClientFaultError as error:
            row.refused_items(started)
            raise error.refusal from error
        except (ProviderError, BusyError, UnavailableError, BatchError, TimeoutError) as error:
            failure = _failure(error)
            row.asked_in_vain(failure, started, seconds, modality)
            raise failure from error
        row.succeeded(modality, time.monotonic() - started)
        return vectors

    async def _accept(self, row: Provider, look: Look) -> None:
        """Take an upstream whose vectors are those of the model; the first of all says what the model is."""
        await self._local_known()
        known = self._model.facts
        if known is None:
            await self._wait_for_another(row, look)
            known = self._model.facts
        if known is None:
            self._model.learn(_facts_of(look))
            return
        if look.vectors.shape[1] != known.dim:
            raise ProviderError(
                f"has vectors of {look.vectors.shape[1]} numbers, and the model {known.dim}",
                reason="mismatch",
            )
        if look.fingerprint and known.fingerprint:
            if look.fingerprint != known.fingerprint:
                raise ProviderError(
                    f"has the checkpoint {look.fingerprint[:12]}, and the model {known.fingerprint[:12]}",
                    reason="mismatch",
                )
            return
        await self._compare(row, look, known)

    async def _local_known(self) -> None:
        """Wait for the local engine while it is being loaded: it says first what the model is."""
        model = self._model
        while (
            model.facts is None
            and model.spec.is_local
            and model.spec.preload
            and model.state in ("idle", "loading")
        ):
            await model.changed()

    async def _wait_for_another(self, row: Provider, look: Look) -> None:
        """Where it does not say what it is, let another provider say first what the model is."""
        if look.fingerprint or len(self.rows) == 1:
            return
        others = [one for one in self.upstreams if one is not row and one.condition in ("checking", "live")]
        if self._model.facts is None and (others or self._model.spec.is_local):
            raise ProviderError(
                "does not say which checkpoint it has, and no other provider has said it yet", reason="busy"
            )

    async def _compare(self, row: Provider, look: Look, known: EngineFacts) -> None:
        """Compare vectors with another provider's, where fingerprints do not tell."""
        other = next((one for one in self.rows if one is not row and self._works(one)), None)
        if other is None:
            if len(self.rows) > 1:
                raise ProviderError("cannot be compared with another provider now", reason="busy")
            return
        if other.upstream is None:
            model = self._model
            texts = await model.embed_texts_here([CANARY_TEXT], None)
            images = await model.embed_images_here([Picture(data=canary_picture(), param="canary")])
            theirs: Vectors = np.concatenate([texts, images])
        else:
            theirs = (await other.upstream.look()).vectors
        least = float(np.min(np.sum(look.vectors * theirs, axis=1)))
        if not least >= LEAST_COSINE:
            raise ProviderError(
                f"gives other vectors than {other.name} (cosine {least:.3f} of the same item)",
                reason="mismatch",
            )

    def _tell(self) -> None:
        """Wake whoever waits; at the start, end it where nobody can ever answer."""
        model = self._model
        refused = [row for row in self.upstreams if row.condition == "refused"]
        if model.facts is None and not model.spec.is_local and len(refused) == len(self.rows):
            words = "; ".join(f"{row.name} {row.error.message}" for row in refused if row.error)
            model.become("failed", ConfigError(f"No provider of {model.name} can be used: {words}."), 30.0)
        else:
            model.notify()

    def nobody(self) -> Exception:
        """What a request hears that waited in vain for any of them."""
        return self._none_left({})

    def _none_left(self, failures: dict[str, ProviderError]) -> Exception:
        name = self._model.name
        if failures and current_trace().deadline_at <= time.monotonic() + 0.02:
            return UnavailableError(f"No provider of {name} answered in time.", code="deadline_exceeded")
        waits = [e.retry_after_seconds for e in failures.values() if e.retry_after_seconds]
        waits += [row.retry_at - time.monotonic() for row in self.upstreams if row.condition == "paused"]
        seconds = min([one for one in waits if one > 0], default=1.0)
        if failures and all(error.reason == "busy" for error in failures.values()):
            return BusyError(
                f"All providers of {name} are overloaded.", "Try again later.", retry_after_seconds=seconds
            )
        words = [f"{one}: {error.reason}" for one, error in failures.items()]
        words += [
            f"{row.name}: {row.error.reason if row.error else row.condition}, left alone for now"
            for row in self.upstreams
            if row.name not in failures
        ]
        return UnavailableError(
            f"No provider of {name} answers ({'; '.join(words)}).",
            code="providers_failed",
            retry_after_seconds=seconds,
        )


def _facts_of(look: Look) -> EngineFacts:
    return EngineFacts(
        fingerprint=look.fingerprint,
        precision=look.precision,
        preprocess="standard",
        dim=look.vectors.shape[1],
        image_size=look.image_size,
        grid=0,
        context_length=look.context_length,
        logit_scale=look.logit_scale,
    )


def _failure(error: Exception) -> ProviderError:
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, BusyError):
        return ProviderError(error.message, reason="busy", retry_after_seconds=error.retry_after_seconds)
    if isinstance(error, UnavailableError):
        return ProviderError(error.message, reason="failed", retry_after_seconds=error.retry_after_seconds)
    if isinstance(error, TimeoutError):
        return ProviderError("does not answer in time", reason="timeout")
    return ProviderError("failed", reason="failed")
