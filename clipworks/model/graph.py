"""The CLIP towers as OpenVINO graphs: the executor for processors, built op by op from the weights.

Shape letters: B batch, S image side, T tokens, D width of a tower, H heads, E shared space.
Pixels go in as uint8 and are normalised inside the graph. In the last block of a tower only the row
that is read (class token, end-of-text token) is computed. This file is the owner of OpenVINO.
"""

import sys
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import ConfigError
from clipworks.model.config import Activation, ClipConfig
from clipworks.model.readings import Reading

# Importing openvino reports the import to Google Analytics. Without the reporter's package it uses
# a stub of its own that does nothing, so the package is hidden from it.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402
from openvino import opset13 as op  # noqa: E402

GraphPrecision = Literal["f32", "bf16"]
"""Type of the arithmetic inside a graph; inputs, outputs and stored weights do not change."""

Weights = Mapping[str, NDArray[np.float32]]
Node = Any
"""An OpenVINO node; its Python classes are made at run time and have no static types."""

LAYER_NORM_EPS = 1e-5
_DEVICE = "CPU"


class GraphExecutor:
    """Both towers on the processor; each graph is compiled when it is first used.

    Calls from several threads are safe: every call in flight has an inference request of its own.
    """

    def __init__(self, config: ClipConfig, weights: Weights, *, precision: GraphPrecision) -> None:
        """Take a config and native float32 weights; nothing is compiled yet.

        Raises:
            ConfigError: bf16 on a processor that has no bfloat16 instructions.
        """
        if precision == "bf16" and not has_bf16():
            raise ConfigError("This processor has no bfloat16 instructions.", "Use precision='f32'.")
        self._config = config
        self._weights = weights
        self._precision = precision
        self._lock = threading.Lock()
        self._pools: dict[str, _RequestPool] = {}

    def encode_images(self, pixels_BSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [B, S, S, 3] RGB -> features, float32 [B, E], not of unit length."""
        return self._pool("vision").run(pixels_BSSC)

    def encode_texts(self, tokens_BT: NDArray[np.int64]) -> NDArray[np.float32]:
        """Token ids, int64 [B, T], T up to the context length -> features, float32 [B, E]."""
        return self._pool("text").run(tokens_BT)

    def _pool(self, tower: str) -> "_RequestPool":
        with self._lock:
            if tower not in self._pools:
                build = _GRAPHS[tower]
                hints = {"INFERENCE_PRECISION_HINT": self._precision, "PERFORMANCE_HINT": "LATENCY"}
                compiled = _core().compile_model(build(self._config, self._weights), _DEVICE, hints)
                self._pools[tower] = _RequestPool(compiled)
                if len(self._pools) == len(_GRAPHS):
                    self._weights = {}
            return self._pools[tower]


class ReadingExecutor:
    """Readings of both towers on the processor; the graph of each is compiled when it is first used.

    Calls from several threads are safe.
    """

    def __init__(
        self, config: ClipConfig, open_weights: Callable[[], Weights], *, precision: GraphPrecision
    ) -> None:
        """Take a config and the way to its native float32 weights, which are not kept."""
        self._config = config
        self._open_weights = open_weights
        self._precision = precision
        self._lock = threading.Lock()
        self._pools: dict[Reading, _RequestPool] = {}

    def read(self, reading: Reading, batch: NDArray[Any]) -> NDArray[np.float32]:
        """uint8 [B, S, S, 3] RGB or int64 [B, T] -> float32 [B, T, D], or [B, D] where pooled."""
        with self._lock:
            if reading not in self._pools:
                model = reading_graph(self._config, self._open_weights(), reading)
                hints = {"INFERENCE_PRECISION_HINT": self._precision, "PERFORMANCE_HINT": "LATENCY"}
                self._pools[reading] = _RequestPool(_core().compile_model(model, _DEVICE, hints))
        return self._pools[reading].run(batch)


class _RequestPool:
    """Inference requests of one compiled graph, reused between calls."""

    def __init__(self, compiled: "openvino.CompiledModel") -> None:
        self._compiled = compiled
        self._lock = threading.Lock()
        self._idle: list[openvino.InferRequest] = []

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        with self._lock:
            request = self._idle.pop() if self._idle else self._compiled.create_infer_request()
        request.infer([np.ascontiguousarray(batch)], share_inputs=True)
        result: NDArray[np.float32] = request.get_output_tensor(0).data.astype(np.float32, copy=True)
        with self._lock:
            self._idle.append(request)
        return result


def has_bf16() -> bool:
    """Whether this machine's processor computes in bfloat16."""
    return "BF16" in _core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")


@cache
def _core() -> "openvino.Core":
    """The one core of the process.

    On processors with AMX a core lends the thread a stack for signals and takes it back when it
    goes: after that, Ctrl-C would land on freed memory and crash the interpreter.
    """
    return openvino.Core()


def image_graph(config: ClipConfig, weights: Weights) -> "openvino.Model":
    """The image tower: uint8 [B, S, S, 3] RGB -> float32 [B, E], not of unit length."""
    vision = config.vision
    pixels, x = _image_rows(config, weights)
    first = _ints([0])
    for n in range(vision.layers):
        is_last = n == vision.layers - 1
        row = op.gather(x, first, _ints(1)) if is_last else None
        x = _block(x, weights, f"vision.blocks.{n}", vision.heads, config.activation, row=row, mask=None)
    x = _layer_norm(op.squeeze(x, _ints([1])), weights, "vision.ln_post")
    return openvino.Model([_project(x, weights, "vision.projection")], [pixels], "image")


def _image_rows(config: ClipConfig, weights: Weights) -> tuple[Node, Node]:
    """Pixels, uint8 [B, S, S, 3], and what goes into the first block, float32 [B, T, D]."""
    vision = config.vision
    side = vision.image_size
    pixels = op.parameter([-1, side, side, 3], np.uint8, name="pixels")
    mean, std = (255 * np.array(values) for values in (config.preprocess.mean, config.preprocess.std))
    x = op.multiply(op.subtract(op.convert(pixels, "f32"), _floats(mean)), _floats(1 / std))
    x = op.transpose(x, _ints([0, 3, 1, 2]))
    stride = [vision.patch_size] * 2
    x = op.convolution(x, _floats(weights["vision.patch_embedding.weight"]), stride, [0, 0], [0, 0], [1, 1])
    x = op.transpose(op.reshape(x, _ints([0, 0, -1]), True), _ints([0, 2, 1]))
    batch = op.gather(op.shape_of(x), _ints([0]), _ints(0))
    class_row = op.broadcast(
        _floats(weights["vision.class_embedding"]), op.concat([batch, _ints([1, vision.width])], 0)
    )
    x = op.add(op.concat([class_row, x], 1), _floats(weights["vision.position_embedding"]))
    return pixels, _layer_norm(x, weights, "vision.ln_pre")


def text_graph(config: ClipConfig, weights: Weights) -> "openvino.Model":
    """The text tower: int64 [B, T] token ids, T up to the context length -> float32 [B, E].

    A row is read at its end-of-text token, the first place of its largest id.
    """
    text = config.text
    tokens, places, x = _text_rows(config, weights)
    length = op.gather(op.shape_of(tokens), _ints([1]), _ints(0))
    largest = op.reduce_max(tokens, _ints([1]), True)
    ends = op.reduce_min(op.select(op.equal(tokens, largest), places, length), _ints([1]), True)
    causal = _causal_mask(places)
    until_end = _mask(op.less_equal(places, op.unsqueeze(op.unsqueeze(ends, _ints([1])), _ints([1]))))
    for n in range(text.layers):
        is_last = n == text.layers - 1
        row = op.gather(x, ends, _ints(1), 1) if is_last else None
        mask = until_end if is_last else causal
        x = _block(x, weights, f"text.blocks.{n}", text.heads, config.activation, row=row, mask=mask)
    x = _layer_norm(op.squeeze(x, _ints([1])), weights, "text.ln_final")
    return openvino.Model([_project(x, weights, "text.projection")], [tokens], "text")


def _text_rows(config: ClipConfig, weights: Weights) -> tuple[Node, Node, Node]:
    """Token ids, int64 [B, T]; places, int64 [T]; what goes into the first block, float32 [B, T, D]."""
    text = config.text
    tokens = op.parameter([-1, (1, text.context_length)], np.int64, name="tokens")
    length = op.gather(op.shape_of(tokens), _ints([1]), _ints(0))
    places = op.range(_ints(0), op.squeeze(length, _ints([0])), _ints(1), "i64")
    x = op.gather(_floats(weights["text.token_embedding.weight"]), tokens, _ints(0))
    return tokens, places, op.add(x, op.gather(_floats(weights["text.position_embedding"]), places, _ints(0)))


def _causal_mask(places: Node) -> Node:
    return _mask(op.less_equal(places, op.unsqueeze(places, _ints([1]))))


def reading_graph(config: ClipConfig, weights: Weights, reading: Reading) -> "openvino.Model":
    """What goes into a tower -> what is read inside it, float32 [B, T, D], or [B, D] where pooled."""
    tower = reading.tower
    if reading.is_pooled:
        whole = _GRAPHS[tower](config, weights)
        projection = whole.get_results()[0].input_value(0).get_node()
        return openvino.Model([projection.input_value(0)], whole.get_parameters(), "pooled")
    mask = None
    if tower == "vision":
        inputs, x = _image_rows(config, weights)
    else:
        inputs, places, x = _text_rows(config, weights)
        mask = _causal_mask(places)
    heads = config.vision.heads if tower == "vision" else config.text.heads
    for n in range(reading.layer):
        x = _block(x, weights, f"{tower}.blocks.{n}", heads, config.activation, row=None, mask=mask)
    if reading.is_normed:
        x = _layer_norm(x, weights, "vision.ln_post" if tower == "vision" else "text.ln_final")
    if reading.is_projected:
        x = _project(x, weights, f"{tower}.projection")
    return openvino.Model([x], [inputs], "reading")


def _block(
    x: Node, weights: Weights, name: str, heads: int, activation: Activation, *, row: Node, mask: Node
) -> Node:
    """A pre-norm transformer block, [B, T, D] -> [B, T, D].

    Args:
        row: [B, 1, D], the only row of `x` whose result is wanted; None for all rows.
        mask: added to the attention scores, broadcast to [B, H, rows, T]; None for no mask.
    """
    normed = _layer_norm(x, weights, f"{name}.ln_1")
    asked = normed if row is None else _layer_norm(row, weights, f"{name}.ln_1")
    weight, bias = (np.split(weights[f"{name}.qkv.{part}"], 3) for part in ("weight", "bias"))
    query, key, value = (
        _split_heads(_linear(source, weight[i], bias[i]), heads)
        for i, source in enumerate((asked, normed, normed))
    )
    attended = op.scaled_dot_product_attention(query, key, value, mask)
    attended = op.reshape(op.transpose(attended, _ints([0, 2, 1, 3])), _ints([0, 0, -1]), True)
    x = op.add(x if row is None else row, _named_linear(attended, weights, f"{name}.out"))
    hidden = _named_linear(_layer_norm(x, weights, f"{name}.ln_2"), weights, f"{name}.up")
    return op.add(x, _named_linear(_activate(hidden, activation), weights, f"{name}.down"))


def _split_heads(x: Node, heads: int) -> Node:
    """[B, T, D] -> [B, H, T, D / H]."""
    return op.transpose(op.reshape(x, _ints([0, 0, heads, -1]), True), _ints([0, 2, 1, 3]))


def _activate(x: Node, activation: Activation) -> Node:
    if activation == "quick_gelu":
        return op.multiply(x, op.sigmoid(op.multiply(x, _floats(np.array(1.702)))))
    return op.gelu(x, "erf")


def _layer_norm(x: Node, weights: Weights, name: str) -> Node:
    normed = op.mvn(x, _ints([-1]), True, LAYER_NORM_EPS, "inside_sqrt")
    return op.add(op.multiply(normed, _floats(weights[f"{name}.weight"])), _floats(weights[f"{name}.bias"]))


def _linear(x: Node, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Node:
    return op.add(op.matmul(x, _floats(weight), False, True), _floats(bias))


def _named_linear(x: Node, weights: Weights, name: str) -> Node:
    return _linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _project(x: Node, weights: Weights, name: str) -> Node:
    return op.matmul(x, _floats(weights[f"{name}.weight"]), False, True)


def _mask(is_visible: Node) -> Node:
    """0 where a key may be seen and a number that softmax turns into 0 where not."""
    return op.select(is_visible, _floats(np.array(0.0)), _floats(np.array(-1e9)))


def _floats(values: NDArray[Any]) -> Node:
    return op.constant(np.ascontiguousarray(values, dtype=np.float32))


def _ints(values: int | list[int]) -> Node:
    return op.constant(np.array(values, dtype=np.int64))


_GRAPHS = {"vision": image_graph, "text": text_graph}
