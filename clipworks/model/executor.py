"""The executor for processors: both towers compiled by OpenVINO, for one input or for many.

A little work runs on all cores together, so that it is done soon. Much work is cut into pieces that
run side by side, each on one core, so that no core waits for another. The two ways are two compiled
graphs of one tower, made when they are first needed; each keeps a packed copy of the weights.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import ConfigError
from clipworks.model.config import TOWERS, ClipConfig, Tower
from clipworks.model.graph import Weights, largest_sum_graph, openvino, reading_graph, tower_graph
from clipworks.model.pipeline import num_cores
from clipworks.model.readings import Reading
from clipworks.model.scales import Scales

GraphPrecision = Literal["f32", "bf16"]
"""Type of the arithmetic outside of int8 layers; inputs, outputs and weights in memory do not change."""

Features = NDArray[np.float32]

READINGS_KEPT = 2
"""Compiled readings in memory, each with weights of its own; the ones used last."""

_DEVICE = "CPU"
_KEPT_OPERATIONS = 128
"""Machine code that a compiled graph keeps for the shapes it saw last, operations: about ten shapes. Without
a bound, texts of every length in batches of every size come to gigabytes (7 MB a shape, ViT-B/32 in int8)."""
_PIECE_TOKENS = 512
"""Tokens of a piece for one core, about; not tuned by measurement yet."""


class GraphExecutor:
    """Both towers on the processor; a graph is compiled when it is first used.

    Calls from several threads are safe: every call in flight has inference requests of its own.
    """

    def __init__(
        self, config: ClipConfig, weights: Weights, *, precision: GraphPrecision, scales: Scales | None = None
    ) -> None:
        """Take a config and native float32 weights; nothing is compiled yet.

        Args:
            config: shape of the model.
            weights: native names; kept until both ways of running are compiled for both towers.
            precision: of everything that has no scale.
            scales: linear layers that run in int8.

        Raises:
            ConfigError: bf16 on a processor that has no bfloat16 instructions.
        """
        if precision == "bf16" and not has_bf16():
            raise ConfigError("This processor has no bfloat16 instructions.", "Use precision='f32'.")
        self._config = config
        self._weights = weights
        self._precision = precision
        self._scales = scales or {}
        self._lock = threading.Lock()
        self._pools: dict[tuple[Tower, bool], _RequestPool] = {}

    def encode_images(self, pixels_BSSC: NDArray[np.uint8]) -> Features:
        """uint8 [B, S, S, 3] RGB -> features, float32 [B, E], not of unit length."""
        pieces = _cut(pixels_BSSC, self._config.vision.tokens)
        return np.concatenate(self._pool("vision", len(pieces) > 1).run(pieces))

    def encode_texts(self, tokens_BT: NDArray[np.int64]) -> Features:
        """Token ids, int64 [B, T], T up to the context length -> features, float32 [B, E]."""
        return self.encode_text_batches([tokens_BT])[0]

    def encode_text_batches(self, batches: Sequence[NDArray[np.int64]]) -> list[Features]:
        """Several batches as in `encode_texts`, computed side by side -> their features, in order."""
        if not batches:
            return []
        cut = [_cut(batch, batch.shape[1]) for batch in batches]
        pieces = [piece for parts in cut for piece in parts]
        is_much = len(pieces) > 1 and sum(piece.size for piece in pieces) >= num_cores() * _PIECE_TOKENS
        done = iter(self._pool("text", is_much).run(pieces))
        return [np.concatenate([next(done) for _ in parts]) for parts in cut]

    def _pool(self, tower: Tower, is_much: bool) -> "_RequestPool":
        with self._lock:
            key = (tower, is_much)
            if key not in self._pools:
                model = tower_graph(tower, self._config, self._weights, self._scales)
                self._pools[key] = _RequestPool(compile_graph(model, self._precision, is_much=is_much))
                if len(self._pools) == 2 * len(TOWERS):
                    self._weights = {}
            return self._pools[key]


class ReadingExecutor:
    """Readings of both towers on the processor; the graph of each is compiled when it is first used.

    The last READINGS_KEPT are kept; another one takes the place of the one not used for longest. Calls
    from several threads are safe.
    """

    def __init__(
        self, config: ClipConfig, open_weights: Callable[[], Weights], *, precision: GraphPrecision
    ) -> None:
        """Take a config and the way to its native float32 weights, which are not kept."""
        self._config = config
        self._open_weights = open_weights
        self._precision = precision
        self._lock = threading.Lock()
        self._pools: OrderedDict[Reading, _RequestPool] = OrderedDict()

    def read(self, reading: Reading, batch: NDArray[Any]) -> Features:
        """uint8 [B, S, S, 3] RGB or int64 [B, T] -> float32 [B, T, D], or [B, D] where pooled."""
        with self._lock:
            if reading not in self._pools:
                model = reading_graph(self._config, self._open_weights(), reading)
                self._pools[reading] = _RequestPool(compile_graph(model, self._precision))
            self._pools.move_to_end(reading)
            while len(self._pools) > READINGS_KEPT:
                self._pools.popitem(last=False)
            pool = self._pools[reading]
        return pool.run([batch])[0]


class _RequestPool:
    """Inference requests of one compiled graph, reused between calls."""

    def __init__(self, compiled: "openvino.CompiledModel") -> None:
        self._compiled = compiled
        self._lock = threading.Lock()
        self._idle: list[openvino.InferRequest] = []

    def run(self, batches: Sequence[NDArray[Any]]) -> list[Features]:
        """The features of each batch, in order, computed side by side."""
        limit = 2 * num_cores()
        waiting: deque[openvino.InferRequest] = deque()
        results: list[Features] = []
        for batch in batches:
            if len(waiting) == limit:
                results.append(self._finish(waiting.popleft()))
            request = self._start()
            request.start_async([np.ascontiguousarray(batch)], share_inputs=True)
            waiting.append(request)
        results += [self._finish(request) for request in waiting]
        return results

    def _start(self) -> "openvino.InferRequest":
        with self._lock:
            return self._idle.pop() if self._idle else self._compiled.create_infer_request()

    def _finish(self, request: "openvino.InferRequest") -> Features:
        request.wait()
        result: Features = request.get_output_tensor(0).data.astype(np.float32, copy=True)
        with self._lock:
            self._idle.append(request)
        return result


def compile_graph(
    model: "openvino.Model", precision: GraphPrecision, *, is_much: bool = False
) -> "openvino.CompiledModel":
    """Compile a graph for this processor.

    Args:
        model: the graph.
        precision: of everything that is not int8.
        is_much: run as many inputs side by side as there are cores, each on one, in place of one
            input on all cores.
    """
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "NUM_STREAMS": num_cores() if is_much else 1,
        "INFERENCE_NUM_THREADS": num_cores(),
        "CPU_RUNTIME_CACHE_CAPACITY": _KEPT_OPERATIONS,
    }
    return _core().compile_model(model, _DEVICE, settings)


def has_bf16() -> bool:
    """Whether this machine's processor computes in bfloat16."""
    return "BF16" in _capabilities()


def has_int8() -> bool:
    """Whether this machine's processor computes in int8."""
    return "INT8" in _capabilities()


@cache
def weight_limit() -> int:
    """Largest absolute int8 weight with which this processor's products are exact: 127 or 64.

    Processors without VNNI add each two products in sixteen bits and cut off what is over; with
    weights of at most 64 nothing is, since 2 x 255 x 64 is 32,640. Found by one product.
    """
    count = 64
    request = compile_graph(largest_sum_graph(count), "f32").create_infer_request()
    request.infer([np.full((1, count), 255, dtype=np.float32)])
    return 127 if request.get_output_tensor(0).data.item() == count * 127 * 255 else 64


def describe_processor() -> str:
    """What results depend on: OpenVINO's version, the processor's name and what it computes in."""
    name = _core().get_property(_DEVICE, "FULL_DEVICE_NAME")
    return f"OpenVINO {openvino.__version__}, {name}, {' '.join(_capabilities())}"


@cache
def _core() -> "openvino.Core":
    """The one core of the process.

    On processors with AMX a core lends the thread a stack for signals and takes it back when it
    goes: after that, Ctrl-C would land on freed memory and crash the interpreter.
    """
    return openvino.Core()


def _capabilities() -> list[str]:
    return sorted(_core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES"))


def _cut(batch: NDArray[Any], tokens_per_row: int) -> list[NDArray[Any]]:
    """A batch in as many pieces for each core, or whole where there is too little work to share."""
    cores = num_cores()
    rounds = len(batch) * tokens_per_row // (cores * _PIECE_TOKENS)
    count = min(rounds * cores, len(batch))
    return np.array_split(batch, count) if count > 1 else [batch]
