"""Workers for tests: loaders that a worker process can import, and a worker that the test holds."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clipworks.errors import CheckpointError
from clipworks.model.heads import Vectors
from clipworks.model.tokenizer import decode, tokenize
from clipworks.serve.problems import UnavailableError
from clipworks.serve.worker import EngineFacts, Pixels, TokenRow, facts_of
from tests.serve.colours import ColourEngine

STOP = "stop here"
"""A text at which the engine of `stopping` says that it has begun, and stays."""


def colours() -> Any:
    return ColourEngine()


def refusing() -> Any:
    raise CheckpointError("The weights are torn.", "Mend them.")


def broken() -> Any:
    raise ValueError("a bug of the loader")


def dying() -> Any:
    os._exit(3)


def stuck(pipe: Path) -> Any:
    """A load that says that it has begun, and stays."""
    _say(pipe)
    threading.Event().wait()


def stopping(pipe: Path) -> Any:
    """An engine that fails on the text "fail" and stays in the text STOP."""

    class Stopping(ColourEngine):
        def embed_tokens(self, tokens: npt.NDArray[np.int64], *, batch_size: int = 64) -> Vectors:
            texts = [decode(row.tolist()) for row in tokens]
            if "fail" in texts:
                raise ValueError("the engine's own words")
            if STOP in texts:
                _say(pipe)
                threading.Event().wait()
            return super().embed_tokens(tokens)

    return Stopping()


def _say(pipe: Path) -> None:
    with pipe.open("w") as line:
        line.write("begun")


class HeldWorker:
    """A worker in threads that loads, fails, dies and grows when the test says so."""

    def __init__(self, engine: Any, *, num_bytes: int = 0) -> None:
        self.engine = engine
        self.num_bytes = num_bytes
        self.may_load = threading.Event()
        self.may_load.set()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.has_begun_loading = threading.Event()
        self.has_begun_call = threading.Event()
        self.failure: Exception | None = None
        self.warms = False
        self.is_dead = False
        self.is_closed = False
        self.calls: list[tuple[str, int]] = []
        self._on_gone: Callable[[], None] | None = None

    def start(self, on_gone: Callable[[], None], *, warms: bool = True) -> EngineFacts:
        self._on_gone = on_gone
        self.warms = warms
        self.has_begun_loading.set()
        assert self.may_load.wait(10)
        if self.is_closed:
            raise UnavailableError("It was stopped.", code="worker_lost")
        if self.failure is not None:
            raise self.failure
        return facts_of(self.engine)

    def embed_pixels(self, pixels: Sequence[Pixels]) -> Vectors:
        self._pass("images", len(pixels))
        vectors: Vectors = self.engine.embed_pixels(np.stack(pixels))
        return vectors

    def embed_patches(self, pixels: Sequence[Pixels]) -> Vectors:
        self._pass("patches", len(pixels))
        vectors: Vectors = self.engine.embed_patches(np.stack(pixels))
        return vectors

    def embed_tokens(self, tokens: Sequence[TokenRow]) -> Vectors:
        self._pass("texts", len(tokens))
        vectors: Vectors = self.engine.embed_tokens(np.stack(tokens))
        return vectors

    def resident_bytes(self) -> int:
        return self.num_bytes

    def close(self) -> None:
        self.is_closed = True
        self.may_load.set()
        self.may_answer.set()

    def die(self) -> None:
        self.is_dead = True
        assert self._on_gone is not None
        self._on_gone()
        self.may_answer.set()

    def _pass(self, kind: str, count: int) -> None:
        self.calls.append((kind, count))
        self.has_begun_call.set()
        assert self.may_answer.wait(10)
        if self.is_dead or self.is_closed:
            raise UnavailableError("The worker died.", code="worker_lost", retry_after_seconds=2.0)


def rows(*texts: str) -> list[TokenRow]:
    return list(tokenize(texts))
