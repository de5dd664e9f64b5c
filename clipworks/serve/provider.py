"""One provider of a model as routing sees it: whether it works, how fast it is, and its figures.

A provider that fails is left alone for a while that doubles, then asked for two known items in the
background; only when these come back right does it get requests again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from clipworks.errors import ClipworksError
from clipworks.serve.batcher import BatchError
from clipworks.serve.metrics import Metrics
from clipworks.serve.problems import ClientFaultError, ProviderError
from clipworks.serve.roster import LOCAL, ProviderSpec

if TYPE_CHECKING:
    from clipworks.serve.upstream import Look, Upstream

Condition = Literal["checking", "live", "paused", "refused"]

FIRST_PAUSE_SECONDS = 0.25
MAX_PAUSE_SECONDS = 30.0
REFUSED_PAUSE_SECONDS = 30.0
"""After an answer that trying again will not change soon: a wrong key, another checkpoint."""
MAX_REFUSED_PAUSE_SECONDS = 300.0

SETTLED_SECONDS = 10.0
"""Who worked for so long begins with the first pause again."""

_STEP = 1.1
"""Each answer moves the estimate of the median by a tenth, up or down: after some dozens it is there, and
single slow answers do not move it far."""

_SHORT_SECONDS = 1.0
"""A timeout that came before this, because the request had no more time, says nothing of the provider."""

logger = logging.getLogger(__name__)


class Provider:
    """One provider of one model.

    Args:
        spec: the server's own engine (`local`) or an upstream.
        upstream: asks it; None for the server's own engine.
        model: id of the model.
        metrics: hears of every call.
    """

    def __init__(self, spec: ProviderSpec, upstream: "Upstream | None", model: str, metrics: Metrics) -> None:
        self.spec = spec
        self.name = spec.name
        self.price = Decimal(spec.usd_per_1k_images)
        self.is_local = spec.name == LOCAL
        self.upstream = upstream
        self.condition: Condition = "checking"
        self.error: ProviderError | None = None
        """Why it was left alone last."""
        self.median_seconds: dict[str, float] = {}
        """Modality -> running estimate of the median time of a call."""
        self.measured_at: dict[str, float] = {}
        self.num_calls = 0
        self.num_errors = 0
        self.retry_at = 0.0
        self._model = model
        self._figures = metrics.providers
        self._pause = 0.0
        self._live_since = 0.0
        self._has_failed = asyncio.Event()
        self._show()

    async def watch(
        self, accept: "Callable[[Provider, Look], Awaitable[None]]", tell: Callable[[], None]
    ) -> None:
        """Look at an upstream now and whenever it has failed, for ever.

        Args:
            accept: raises `ProviderError` where what was seen is not the model.
            tell: called when the condition has changed.
        """
        assert self.upstream is not None
        while True:
            try:
                await accept(self, await self.upstream.look())
            except (ClipworksError, BatchError, TimeoutError) as error:
                self._leave(_as_failure(error))
            except Exception as error:  # a fault of ours is no reason never to look at it again
                logger.exception("Looking at provider %s of %s failed.", self.name, self._model)
                self._leave(ProviderError(f"cannot be looked at: {error!r}", reason="failed"))
            else:
                self.condition, self._live_since = "live", time.monotonic()
                logger.info("provider %s of %s answers", self.name, self._model)
                self._show()
                tell()
                self._has_failed.clear()
                await self._has_failed.wait()
            tell()
            await asyncio.sleep(max(0.0, self.retry_at - time.monotonic()))

    def reopen(self) -> None:
        """Forget an earlier event loop."""
        self._has_failed = asyncio.Event()
        self.condition = "checking"
        self._pause = 0.0
        if self.upstream is not None:
            self.upstream.open()

    def succeeded(self, modality: str, seconds: float) -> None:
        """One call was answered."""
        self._count("ok", seconds)
        known = self.median_seconds.get(modality)
        if known is None:
            self.median_seconds[modality] = seconds
        else:
            self.median_seconds[modality] = known * (_STEP if seconds > known else 1 / _STEP)
        self.measured_at[modality] = now = time.monotonic()
        if now - self._live_since > SETTLED_SECONDS:
            self._pause = 0.0

    def asked_in_vain(self, error: ProviderError, started: float, given: float, modality: str) -> None:
        """One call was not answered, or not as it should be.

        Args:
            started: `time.monotonic()` when the call began.
            given: how long it might have taken, seconds.
        """
        self._count(error.reason, time.monotonic() - started)
        self.num_errors += 1
        if error.reason == "timeout":
            usual = 10 * self.median_seconds.get(modality, 0.0)
            if given < min(self.spec.timeout_seconds, max(_SHORT_SECONDS, usual)):
                return
        # A call that began before the provider was last seen well has nothing new to tell.
        if not self.is_local and self.condition == "live" and started >= self._live_since:
            self._leave(error)
            self._has_failed.set()

    def refused_items(self, started: float) -> None:
        """One call was answered by saying that the client's items are at fault."""
        self._count("client", time.monotonic() - started)

    def describe(self, condition: str) -> dict[str, Any]:
        """How it stands in the list of models: nothing of its address or key."""
        medians = {kind: round(1000 * seconds, 1) for kind, seconds in self.median_seconds.items()}
        return {
            "name": self.name,
            "status": condition,
            "latency_ms": medians,
            "usd_per_1k_images": self.spec.usd_per_1k_images,
            "calls": self.num_calls,
            "errors": self.num_errors,
        }

    def _leave(self, error: ProviderError) -> None:
        is_refused = error.reason in ("refused", "mismatch")
        first = REFUSED_PAUSE_SECONDS if is_refused else FIRST_PAUSE_SECONDS
        most = MAX_REFUSED_PAUSE_SECONDS if is_refused else MAX_PAUSE_SECONDS
        self._pause = min(max(2 * self._pause, first), most)
        pause = max(self._pause, error.retry_after_seconds or 0.0)
        self.condition, self.error = "refused" if is_refused else "paused", error
        self.retry_at = time.monotonic() + pause
        level = logging.ERROR if is_refused else logging.WARNING
        words = (self.name, self._model, error.message.rstrip("."), error.reason, pause)
        logger.log(level, "provider %s of %s: %s (%s); it is left alone for %.2f s", *words)
        self._show()

    def _count(self, outcome: str, seconds: float) -> None:
        self.num_calls += 1
        self._figures.called(self._model, self.name, outcome, seconds)

    def _show(self) -> None:
        if not self.is_local:
            self._figures.is_live(self._model, self.name, self.condition == "live")


def _as_failure(error: Exception) -> ProviderError:
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, TimeoutError):
        return ProviderError("does not answer in time", reason="timeout")
    if isinstance(error, ClientFaultError):
        return ProviderError("refuses a plain text or a plain picture", reason="refused")
    return ProviderError(f"cannot be compared now: {error}", reason="busy")
