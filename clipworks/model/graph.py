"""The CLIP towers as OpenVINO graphs, built op by op from the weights; `executor.py` compiles them.

Shape letters: B batch, S image side, T tokens, D width of a tower, H heads, E shared space.
Pixels go in as uint8; their normalisation is part of the patch embedding. In the last block of a tower
only the row that is read (class token, end-of-text token) is computed. A linear layer that has a scale
runs in int8. With `executor.py` this file owns OpenVINO.
"""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.model.config import Activation, ClipConfig, Tower
from clipworks.model.readings import Reading
from clipworks.model.scales import LEVELS, LinearScale, Scales, quantised_rows

# Importing openvino reports the import to Google Analytics. Without the reporter's package it uses
# a stub of its own that does nothing, so the package is hidden from it.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
# Its kernel library keeps the code made for 1,024 operations beyond what `executor.py` keeps.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")

import openvino as openvino  # noqa: E402  # what others import from here is exported
from openvino import opset13 as op  # noqa: E402

Weights = Mapping[str, NDArray[np.float32]]
Node = Any
"""An OpenVINO node; its Python classes are made at run time and have no static types."""

LAYER_NORM_EPS = 1e-5


def tower_graph(
    tower: Tower,
    config: ClipConfig,
    weights: Weights,
    scales: Scales | None = None,
    *,
    is_watched: bool = False,
) -> "openvino.Model":
    """The graph of one tower: uint8 pixels [B, S, S, 3] or int64 tokens [B, T] -> float32 [B, E].

    Args:
        tower: whose graph.
        config: shape of the model.
        weights: native float32 weights.
        scales: linear layers that run in int8; those that are not named run as they are.
        is_watched: add one output for the input of each linear layer, float32 [..., D], named after it.
    """
    layers = _Layers(config, weights, scales or {})
    inputs, pooled = _WRITERS[tower](config, layers)
    results = [op.result(layers.project(pooled, f"{tower}.projection"))]
    for name, node in layers.inputs.items() if is_watched else ():
        results.append(op.result(node))
        results[-1].get_output_tensor(0).set_names({name})
    return openvino.Model(results, [inputs], tower)


def reading_graph(config: ClipConfig, weights: Weights, reading: Reading) -> "openvino.Model":
    """What goes into a tower -> what is read inside it, float32 [B, T, D], or [B, D] where pooled."""
    layers, tower = _Layers(config, weights, {}), reading.tower
    if reading.is_pooled:
        inputs, x = _WRITERS[tower](config, layers)
        return openvino.Model([x], [inputs], "pooled")
    mask = None
    if tower == "vision":
        inputs, x = _image_rows(config, layers)
    else:
        inputs, places, x = _text_rows(config, layers)
        mask = _causal_mask(places)
    heads = config.vision.heads if tower == "vision" else config.text.heads
    for n in range(reading.layer - reading.is_by_values):
        x = layers.block(x, f"{tower}.blocks.{n}", heads, row=None, mask=mask)
    if reading.is_by_values:
        x = layers.values(x, f"{tower}.blocks.{reading.layer - 1}")
    if reading.is_normed:
        x = layers.norm(x, "vision.ln_post" if tower == "vision" else "text.ln_final")
    if reading.is_projected:
        x = layers.project(x, f"{tower}.projection")
    return openvino.Model([x], [inputs], "reading")


def largest_sum_graph(count: int) -> "openvino.Model":
    """The largest int8 products, added up: float32 [B, count] -> float32 [B, 1], `count` x 127 x input.

    Inputs are rounded to whole numbers of 0..255.
    """
    scale = LinearScale(
        smooth=np.ones(count, dtype=np.float32), low=0.0, high=LEVELS - 1.0, limit=127, error=0.0
    )
    inputs = op.parameter([-1, count], np.float32)
    rows = op.convert(op.constant(np.full((1, count), scale.limit, dtype=np.int8)), "f32")
    found = op.matmul(_rounded(inputs, scale), op.multiply(rows, _floats(np.ones((1, 1)))), False, True)
    return openvino.Model([found], [inputs], "largest_sum")


def _write_images(config: ClipConfig, layers: "_Layers") -> tuple[Node, Node]:
    """The image tower up to its projection: uint8 [B, S, S, 3] RGB -> float32 [B, D]."""
    vision = config.vision
    pixels, x = _image_rows(config, layers)
    first = _ints([0])
    for n in range(vision.layers):
        row = op.gather(x, first, _ints(1)) if n == vision.layers - 1 else None
        x = layers.block(x, f"vision.blocks.{n}", vision.heads, row=row, mask=None)
    return pixels, layers.norm(op.squeeze(x, _ints([1])), "vision.ln_post")


def _image_rows(config: ClipConfig, layers: "_Layers") -> tuple[Node, Node]:
    """Pixels, uint8 [B, S, S, 3], and what goes into the first block, float32 [B, T, D]."""
    vision, weights = config.vision, layers.weights
    side, patch, grid = vision.image_size, vision.patch_size, vision.grid
    pixels = op.parameter([-1, side, side, 3], np.uint8, name="pixels")
    x = op.reshape(pixels, _ints([0, grid, patch, grid, patch * 3]), True)
    x = op.reshape(op.transpose(x, _ints([0, 1, 3, 2, 4])), _ints([0, grid**2, patch**2 * 3]), True)
    # A whole number of -128..127 has a bfloat16 of its own, a normalised pixel has not.
    matrix, bias = _patch_embedding(config, weights["vision.patch_embedding.weight"], centre=128)
    x = op.subtract(op.convert(x, "f32"), _floats(np.array(128)))
    x = op.add(op.matmul(x, _floats(matrix), False, True), _floats(bias))
    batch = op.gather(op.shape_of(x), _ints([0]), _ints(0))
    class_row = op.broadcast(
        _floats(weights["vision.class_embedding"]), op.concat([batch, _ints([1, vision.width])], 0)
    )
    x = op.add(op.concat([class_row, x], 1), _floats(weights["vision.position_embedding"]))
    return pixels, layers.norm(x, "vision.ln_pre")


def _patch_embedding(
    config: ClipConfig, kernel: NDArray[np.float32], *, centre: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The patch convolution and the normalisation of pixels as one linear layer on pixels minus `centre`.

    Args:
        config: whose normalisation.
        kernel: float32 [D, 3, P, P].
        centre: what was subtracted from the pixels.

    Returns:
        Matrix float64 [D, P * P * 3] and bias float64 [D].
    """
    mean, std = (
        np.array(values)[:, None, None] for values in (config.preprocess.mean, config.preprocess.std)
    )
    scaled = kernel / (255 * std)
    bias = (scaled * (centre - 255 * mean)).sum(axis=(1, 2, 3))
    return scaled.transpose(0, 2, 3, 1).reshape(len(kernel), -1), bias


def _write_texts(config: ClipConfig, layers: "_Layers") -> tuple[Node, Node]:
    """The text tower up to its projection: int64 [B, T] token ids -> float32 [B, D].

    A row is read at its end-of-text token, the first place of its largest id.
    """
    text = config.text
    tokens, places, x = _text_rows(config, layers)
    length = op.gather(op.shape_of(tokens), _ints([1]), _ints(0))
    largest = op.reduce_max(tokens, _ints([1]), True)
    ends = op.reduce_min(op.select(op.equal(tokens, largest), places, length), _ints([1]), True)
    causal = _causal_mask(places)
    until_end = _mask(op.less_equal(places, op.unsqueeze(op.unsqueeze(ends, _ints([1])), _ints([1]))))
    for n in range(text.layers):
        is_last = n == text.layers - 1
        row = op.gather(x, ends, _ints(1), 1) if is_last else None
        mask = until_end if is_last else causal
        x = layers.block(x, f"text.blocks.{n}", text.heads, row=row, mask=mask)
    return tokens, layers.norm(op.squeeze(x, _ints([1])), "text.ln_final")


def _text_rows(config: ClipConfig, layers: "_Layers") -> tuple[Node, Node, Node]:
    """Token ids, int64 [B, T]; places, int64 [T]; what goes into the first block, float32 [B, T, D].

    T is at most the context length.
    """
    weights = layers.weights
    tokens = op.parameter([-1, (1, config.text.context_length)], np.int64, name="tokens")
    length = op.gather(op.shape_of(tokens), _ints([1]), _ints(0))
    places = op.range(_ints(0), op.squeeze(length, _ints([0])), _ints(1), "i64")
    x = op.gather(_floats(weights["text.token_embedding.weight"]), tokens, _ints(0))
    return tokens, places, op.add(x, op.gather(_floats(weights["text.position_embedding"]), places, _ints(0)))


_WRITERS: dict[Tower, Callable[[ClipConfig, "_Layers"], tuple[Node, Node]]] = {
    "vision": _write_images,
    "text": _write_texts,
}


class _Layers:
    """Writes the layers of a tower into a graph."""

    def __init__(self, config: ClipConfig, weights: Weights, scales: Scales) -> None:
        self.weights = weights
        self.inputs: dict[str, Node] = {}
        """Linear layer -> the node that it reads."""
        self._activation: Activation = config.activation
        self._scales = scales

    def block(self, x: Node, name: str, heads: int, *, row: Node, mask: Node) -> Node:
        """A pre-norm transformer block, [B, T, D] -> [B, T, D].

        Args:
            row: [B, 1, D], the only row of `x` whose result is wanted; None for all rows.
            mask: added to the attention scores, broadcast to [B, H, rows, T]; None for no mask.
        """
        normed = self._norm_for(x, f"{name}.ln_1", f"{name}.qkv")
        asked = normed if row is None else self._norm_for(row, f"{name}.ln_1", f"{name}.qkv")
        self.inputs[f"{name}.qkv"] = normed
        weight, bias = (np.split(self.weights[f"{name}.qkv.{part}"], 3) for part in ("weight", "bias"))
        query, key, value = (
            _split_heads(self._linear(source, f"{name}.qkv", weight[i], bias[i]), heads)
            for i, source in enumerate((asked, normed, normed))
        )
        attended = op.scaled_dot_product_attention(query, key, value, mask)
        attended = op.reshape(op.transpose(attended, _ints([0, 2, 1, 3])), _ints([0, 0, -1]), True)
        x = op.add(x if row is None else row, self._smoothed_linear(attended, f"{name}.out"))
        normed = self._norm_for(x, f"{name}.ln_2", f"{name}.up")
        self.inputs[f"{name}.up"] = normed
        hidden = self._activate(self._named_linear(normed, f"{name}.up"))
        return op.add(x, self._smoothed_linear(hidden, f"{name}.down"))

    def values(self, x: Node, name: str) -> Node:
        """What a block's attention gives if each row attends to itself alone, [B, T, D] -> [B, T, D]."""
        weight, bias = (np.split(self.weights[f"{name}.qkv.{part}"], 3)[2] for part in ("weight", "bias"))
        value = self._linear(self.norm(x, f"{name}.ln_1"), f"{name}.qkv", weight, bias)
        return self._named_linear(value, f"{name}.out")

    def norm(self, x: Node, name: str, divisor: float | NDArray[np.float32] = 1.0) -> Node:
        """A layer norm whose results are divided, by way of its gain and bias."""
        normed = op.mvn(x, _ints([-1]), True, LAYER_NORM_EPS, "inside_sqrt")
        gain, bias = (_floats(self.weights[f"{name}.{part}"] / divisor) for part in ("weight", "bias"))
        return op.add(op.multiply(normed, gain), bias)

    def project(self, x: Node, name: str) -> Node:
        """A matrix product without bias."""
        return op.matmul(x, _floats(self.weights[f"{name}.weight"]), False, True)

    def _norm_for(self, x: Node, name: str, linear: str) -> Node:
        """The layer norm in front of a linear layer: smoothed and rounded for it."""
        scale = self._scales.get(linear)
        if scale is None:
            return self.norm(x, name)
        return _rounded(self.norm(x, name, scale.smooth), scale)

    def _smoothed_linear(self, x: Node, name: str) -> Node:
        """A linear layer whose inputs come from no layer norm."""
        self.inputs[name] = x
        scale = self._scales.get(name)
        if scale is not None:
            # The product and the rounding are one pass over the memory; a rounding alone would be two.
            x = _rounded(op.multiply(x, _floats(1 / scale.smooth)), scale)
        return self._named_linear(x, name)

    def _named_linear(self, x: Node, name: str) -> Node:
        return self._linear(x, name, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _linear(self, x: Node, name: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> Node:
        """`x` is rounded and smoothed already where layer `name` has a scale."""
        scale = self._scales.get(name)
        if scale is None:
            matrix = _floats(weight)
        else:
            rows, steps = quantised_rows(weight, scale)
            matrix = op.multiply(op.convert(op.constant(rows), "f32"), _floats(steps))
        return op.add(op.matmul(x, matrix, False, True), _floats(bias))

    def _activate(self, x: Node) -> Node:
        if self._activation == "quick_gelu":
            return op.multiply(x, op.sigmoid(op.multiply(x, _floats(np.array(1.702)))))
        return op.gelu(x, "erf")


def _rounded(x: Node, scale: LinearScale) -> Node:
    """Rounds to the LEVELS values of a scale; OpenVINO turns this and the product behind it into int8."""
    low, high = (_floats(np.array(value)) for value in (scale.low, scale.high))
    return op.fake_quantize(x, low, high, low, high, LEVELS)


def _split_heads(x: Node, heads: int) -> Node:
    """[B, T, D] -> [B, H, T, D / H]."""
    return op.transpose(op.reshape(x, _ints([0, 0, heads, -1]), True), _ints([0, 2, 1, 3]))


def _causal_mask(places: Node) -> Node:
    return _mask(op.less_equal(places, op.unsqueeze(places, _ints([1]))))


def _mask(is_visible: Node) -> Node:
    """0 where a key may be seen and a number that softmax turns into 0 where not."""
    return op.select(is_visible, _floats(np.array(0.0)), _floats(np.array(-1e9)))


def _floats(values: NDArray[Any]) -> Node:
    return op.constant(np.ascontiguousarray(values, dtype=np.float32))


def _ints(values: int | list[int]) -> Node:
    return op.constant(np.array(values, dtype=np.int64))
