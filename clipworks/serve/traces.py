"""What one request did, gathered while it is answered, for its log line, headers, metrics and span.

`edge.py` opens a trace per request; what works on the request writes into the current one. It holds
counts, times and names that are ours, never a text, a picture, a key or a query string.
"""

import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

FINGERPRINT_HEADER = "x-model-fingerprint"
"""Which checkpoint made the vectors of an answer."""


class Trace:
    """One request."""

    def __init__(self, request_id: str, caller: str = "") -> None:
        self.request_id = request_id
        self.caller = caller
        """Who asks, as far as fair shares go: the id of the key or the peer's address."""
        self.started_at = time.monotonic()
        self.started_ns = time.time_ns()
        self.status = 0
        """Status of the answer, 0 before there is one."""
        self.route = "unmatched"
        """Template such as `/v1/models/{id}`."""
        self.model = ""
        """Id of a model that is served here, or nothing."""
        self.asked = ""
        """The same as soon as the request has named it, also where no item of it was worked on."""
        self.code = ""
        """Error code of the answer, or nothing."""
        self.num_images = 0
        self.num_texts = 0
        self.num_bytes_in = 0
        self.cost_micro_usd = 0
        self.deadline_at = float("inf")
        """`time.monotonic()` when its time is over."""
        self.fingerprint = ""
        """Of the checkpoint that made its vectors."""
        self.providers: list[str] = []
        """Who made them, where the model has several providers."""
        self.seconds: dict[str, float] = {}
        """Stage (`fetch`, `prepare`, `queue`, `inference`) -> longest wait of an item, summed over steps."""

    def charged(self, model: str, num_images: int, num_texts: int, cost_micro_usd: int) -> None:
        """Items that a model is about to work on."""
        self.model = model
        self.num_images += num_images
        self.num_texts += num_texts
        self.cost_micro_usd += cost_micro_usd

    def discharged(self) -> None:
        """What was charged is given back; other items are charged in its place."""
        self.num_images = self.num_texts = self.cost_micro_usd = 0

    def took(self, stage: str, seconds: float) -> None:
        """One step of a stage is done."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a request ended."""

    method: str
    status: int
    started_ns: int
    """When its head had arrived, nanoseconds since 1970."""
    seconds: float
    traceparent: str
    """The header of that name (W3C trace context), or nothing."""


class SpanSink(Protocol):
    """What hears of every request that is over."""

    def ended(self, trace: Trace, ended: Ended) -> None:
        """One request is over."""

    def close(self) -> None:
        """The server stops."""


TRACE: ContextVar[Trace] = ContextVar("clipworks_trace")
"""The trace of the request that the running task works on."""


def current_trace() -> Trace:
    """The trace of this request; outside of one, a trace that nobody reads."""
    return TRACE.get(None) or Trace("")
