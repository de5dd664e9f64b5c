"""What computes a model's vectors: an engine in a process of its own, or one in the server's process.

Pixels reach the process through shared memory, written there once; tokens and vectors go through a
pipe per tower. A process that dies fails the call that it works on and nothing else; one that does
not answer in time is killed. `served.py` starts the next one. All methods block: lanes call them in
their threads.
"""

import mmap
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from clipworks.errors import ClipworksError
from clipworks.model.heads import Vectors, softmax
from clipworks.model.preprocess import ImageInput, PreprocessMode, prepare
from clipworks.serve.filling import fill_up
from clipworks.serve.problems import UnavailableError

if TYPE_CHECKING:
    from clipworks.model.engine import Engine

Pixels = npt.NDArray[np.uint8]
"""uint8 [S, S, 3], RGB, ready for the engine."""

TokenRow = npt.NDArray[np.int64]
"""int64 [T], from `tokenizer.tokenize`."""

Loader = Callable[[], "Engine"]
"""Builds the engine; for a process it must be picklable: a function of a module, or a partial of one."""

PROGRAM = "from clipworks.serve.worker_process import main; main()"
_SOT, _WORD, _EOT = 49406, 320, 49407
"""Tokens of the texts that warm the tower: start, "a", end."""

RETRY_SECONDS = 2.0
"""What clients are told when a worker died: a new one has answered by then where models are small."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineFacts:
    """What the server must know of an engine that it does not hold."""

    fingerprint: str
    """sha256 of config and weights, 64 hex characters; empty where a server of another make does not say."""
    precision: str
    """As `Engine.precision`."""
    preprocess: PreprocessMode
    """How pictures become pixels."""
    dim: int
    """Dimensions of a vector."""
    image_size: int
    """Side of the square of pixels that the image tower reads."""
    grid: int
    """Patches along a side of that square; 0 where a server of another make does not say."""
    context_length: int
    """Tokens that the text tower reads."""
    logit_scale: float
    """What cosines are multiplied by before a softmax."""

    def prepare_image(self, image: ImageInput, name: str = "") -> Pixels:
        """As `Engine.prepare_image`.

        Raises:
            InputError: the picture cannot be used.
        """
        return prepare(image, self.image_size, mode=self.preprocess, name=name, compiled=True)

    def probabilities(self, cosines: Vectors) -> Vectors:
        """As `Engine.probabilities`."""
        return softmax(cosines, self.logit_scale)


def facts_of(engine: "Engine") -> EngineFacts:
    """What is known of an engine."""
    return EngineFacts(
        fingerprint=engine.fingerprint,
        precision=engine.precision,
        preprocess=engine.preprocess,
        dim=engine.config.embed_dim,
        image_size=engine.config.vision.image_size,
        grid=engine.config.vision.grid,
        context_length=engine.config.text.context_length,
        logit_scale=engine.logit_scale,
    )


def warm(engine: "Engine", image_batch: int, text_batch: int) -> None:
    """Let both towers compile what one item and what a full batch need."""
    side, length = engine.image_size, engine.config.text.context_length
    for num_images, num_texts in ((1, 1), (image_batch, text_batch)):
        engine.embed_pixels(np.zeros((num_images, side, side, 3), dtype=np.uint8))
        tokens = np.full((num_texts, length), _WORD, dtype=np.int64)
        tokens[:, 0], tokens[:, -1] = _SOT, _EOT
        engine.embed_tokens(tokens)


class Worker(Protocol):
    """One engine at work."""

    def start(self, on_gone: Callable[[], None], *, warms: bool = True) -> EngineFacts:
        """Load the model and warm both towers.

        Args:
            on_gone: called from another thread when the worker has died after its start.
            warms: False where requests wait already: the first of them is the sooner answered.

        Raises:
            ClipworksError: the model cannot be loaded.
        """

    def embed_pixels(self, pixels: Sequence[Pixels]) -> Vectors:
        """Squares of pixels -> float32 [N, D], unit rows.

        Raises:
            UnavailableError: the worker died or did not answer.
            RuntimeError: the engine failed.
        """

    def embed_patches(self, pixels: Sequence[Pixels]) -> Vectors:
        """Squares of pixels -> float32 [N, rows, columns, D], unit rows; errors as `embed_pixels`.

        May be called beside `embed_pixels`. The first call compiles what it needs.
        """

    def embed_tokens(self, tokens: Sequence[TokenRow]) -> Vectors:
        """Rows of tokens -> float32 [N, D], unit rows; errors as `embed_pixels`."""

    def resident_bytes(self) -> int:
        """Memory that it holds; 0 where it has none of its own."""

    def close(self) -> None:
        """End it, also in the middle of its start; may be called twice."""


class ThreadWorker:
    """An engine in the server's own process: calls run in the lanes' threads.

    Args:
        load: builds the engine, or gives one that is there.
        batches: most pictures and most texts in one call, for which the towers are warmed; None for
            an engine that was used before.
    """

    def __init__(self, load: Loader, *, batches: tuple[int, int] | None = None) -> None:
        self._load = load
        self._batches = batches
        self._engine: Engine | None = None

    def start(self, on_gone: Callable[[], None], *, warms: bool = True) -> EngineFacts:
        """Load the model; a thread does not die, so `on_gone` is not called."""
        self._engine = self._load()
        if self._batches is not None and warms:
            warm(self._engine, *self._batches)
        return facts_of(self._engine)

    def embed_pixels(self, pixels: Sequence[Pixels]) -> Vectors:
        """As `Worker.embed_pixels`."""
        assert self._engine is not None
        return self._engine.embed_pixels(self._filled(pixels, 0))[: len(pixels)]

    def embed_patches(self, pixels: Sequence[Pixels]) -> Vectors:
        """As `Worker.embed_patches`."""
        assert self._engine is not None
        return self._engine.embed_patches(np.stack(pixels))

    def embed_tokens(self, tokens: Sequence[TokenRow]) -> Vectors:
        """As `Worker.embed_tokens`."""
        assert self._engine is not None
        return self._engine.embed_tokens(self._filled(tokens, 1))[: len(tokens)]

    def resident_bytes(self) -> int:
        """Nothing that could be told from the server's own."""
        return 0

    def close(self) -> None:
        """Let go of the engine once the calls in work are finished."""

    def _filled(self, items: Sequence[npt.NDArray[Any]], tower: int) -> npt.NDArray[Any]:
        rows = np.stack(items)
        return rows if self._batches is None else fill_up(rows, self._batches[tower])


class ProcessWorker:
    """An engine in a process of its own.

    Args:
        name: for messages.
        load: builds the engine, in the new process.
        image_batch: most pictures in one call.
        text_batch: most texts in one call.
        call_seconds: time for one call, after which the process is killed.
        load_seconds: time for loading.
    """

    def __init__(
        self,
        name: str,
        load: Loader,
        *,
        image_batch: int,
        text_batch: int,
        call_seconds: float,
        load_seconds: float,
    ) -> None:
        self.name = name
        self._load = load
        self._batches = (image_batch, text_batch)
        self._call_seconds = call_seconds
        self._load_seconds = load_seconds
        self._lock = threading.Lock()
        self._in_use = tuple(threading.Lock() for _ in range(3))
        """Each held while its channel is read or written: only then may it not be closed."""
        self._is_closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._channels: list[Connection] = []
        self._facts: EngineFacts | None = None
        self._pixels: Pixels = np.empty((0, 0, 0, 3), dtype=np.uint8)
        self._pixels_in_use = threading.Lock()
        """Held while a call reads the shared pixels: other threads ask for patches than for vectors."""
        self._watcher: threading.Thread | None = None

    def start(self, on_gone: Callable[[], None], *, warms: bool = True) -> EngineFacts:
        """As `Worker.start`.

        Raises:
            ClipworksError: the model cannot be loaded, or took too long.
            UnavailableError: the process died meanwhile, or was closed.
        """
        memory = os.memfd_create(f"clipworks {self.name}")
        try:
            with self._in_use[0]:
                self._spawn(memory, warms)
                self._facts = self._read_facts()
            side = self._facts.image_size
            shape = (self._batches[0], side, side, 3)
            os.ftruncate(memory, int(np.prod(shape)))
            mapped = mmap.mmap(memory, int(np.prod(shape)))
        except BaseException:
            self.close()
            raise
        finally:
            os.close(memory)
        self._pixels = np.frombuffer(mapped, dtype=np.uint8).reshape(shape)
        self._watcher = threading.Thread(target=self._watch, args=(on_gone,), name=f"{self.name} watcher")
        self._watcher.start()
        return self._facts

    @property
    def process_id(self) -> int:
        """The process, for tests and for the log."""
        assert self._process is not None
        return self._process.pid

    def embed_pixels(self, pixels: Sequence[Pixels]) -> Vectors:
        """As `Worker.embed_pixels`."""
        with self._pixels_in_use:
            np.stack(pixels, out=self._pixels[: len(pixels)])
            return self._call(1, b"v" + len(pixels).to_bytes(4, "little"))

    def embed_patches(self, pixels: Sequence[Pixels]) -> Vectors:
        """As `Worker.embed_patches`."""
        assert self._facts is not None
        with self._pixels_in_use:
            np.stack(pixels, out=self._pixels[: len(pixels)])
            rows = self._call(1, b"p" + len(pixels).to_bytes(4, "little"))
        return rows.reshape(len(pixels), self._facts.grid, self._facts.grid, self._facts.dim)

    def embed_tokens(self, tokens: Sequence[TokenRow]) -> Vectors:
        """As `Worker.embed_tokens`."""
        return self._call(2, np.stack(tokens).astype("<u2").tobytes())

    def resident_bytes(self) -> int:
        """As the system counts them; 0 when the process is gone."""
        if self._process is None:
            return 0
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii").split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> None:
        """End the process at once; the calls in work fail."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def close(self) -> None:
        """As `Worker.close`."""
        with self._lock:
            self._is_closed = True
            self.kill()
            if self._process is not None:
                self._process.wait()
        watcher = self._watcher
        if watcher is not None and watcher is not threading.current_thread():
            watcher.join()
        for in_use, channel in zip(self._in_use, self._channels, strict=False):
            with in_use:  # the process is gone, so whoever waits for its answer is on the way out
                channel.close()

    def _spawn(self, memory: int, warms: bool) -> None:
        ours, theirs = zip(*(socket.socketpair() for _ in range(3)), strict=True)
        try:
            numbers = [*(one.fileno() for one in theirs), memory]
            with self._lock:
                if self._is_closed:
                    raise self._lost("was stopped")
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-c", PROGRAM, *map(str, numbers)],
                    stdin=subprocess.DEVNULL,
                    stdout=2,
                    pass_fds=numbers,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                )
            self._channels = [Connection(one.detach()) for one in ours]
        finally:
            for one in (*ours, *theirs):
                one.close()
        try:
            self._channels[0].send_bytes(pickle.dumps((self._load, *self._batches, warms)))
        except OSError as error:
            raise self._lost("died before it began") from error

    def _read_facts(self) -> EngineFacts:
        channel = self._channels[0]
        try:
            if not channel.poll(self._load_seconds):
                raise ClipworksError(
                    f"Loading {self.name} took more than {self._load_seconds:g} seconds.",
                    "Raise CLIPWORKS_LOAD_SECONDS.",
                )
            outcome = pickle.loads(channel.recv_bytes())  # noqa: S301 - our own process wrote it
        except (EOFError, OSError) as error:
            raise self._lost("died while it was loading the model") from error
        if isinstance(outcome, EngineFacts):
            return outcome
        raise ClipworksError(*outcome)

    def _call(self, place: int, message: bytes) -> Vectors:
        assert self._facts is not None
        channel = self._channels[place]
        try:
            with self._in_use[place]:
                channel.send_bytes(message)
                has_answered = channel.poll(self._call_seconds)
                answer = channel.recv_bytes() if has_answered else b""
        except (EOFError, OSError) as error:
            raise self._gone("died during the call and is replaced") from error
        if not has_answered:
            raise self._gone(f"did not answer within {self._call_seconds:g} seconds and is replaced")
        if answer[:1] == b"e":
            raise RuntimeError(answer[1:].decode(errors="replace"))
        return np.frombuffer(answer, dtype=np.float32, offset=4).reshape(-1, self._facts.dim)

    def _gone(self, words: str) -> UnavailableError:
        """What a call without an answer raises: first of all the server hears that the process is gone.

        So it begins no further call, and what waits is answered by the next process.
        """
        self.kill()
        if self._watcher is not None:
            self._watcher.join()
        return self._lost(words)

    def _lost(self, words: str) -> UnavailableError:
        return UnavailableError(
            f"The worker of {self.name} {words}.", code="worker_lost", retry_after_seconds=RETRY_SECONDS
        )

    def _watch(self, on_gone: Callable[[], None]) -> None:
        assert self._process is not None
        self._process.wait()
        on_gone()
