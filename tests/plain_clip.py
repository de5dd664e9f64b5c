"""CLIP written out in numpy as its paper has it, with a switch for each mistake that is known to be made.

An oracle for tests: float64, no speed, no sharing with the package but the names of the weights. Without a
switch it gives what transformers and open_clip give (tests/golden/); with one, what a wrong port gives.

Shape letters: B batch, T tokens, D width of a tower, E shared space.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clipworks.model.config import ClipConfig

Array = NDArray[Any]
Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """How the towers are computed; the defaults are right."""

    activation: Literal["as configured", "gelu", "quick_gelu", "tanh_gelu"] = "as configured"
    layer_norm_eps: float = 1e-5
    is_layer_norm_half: bool = False
    """Statistics in float16, as a tower that was turned to half as a whole computes them."""
    has_ln_pre: bool = True
    qkv_order: str = "qkv"
    """The order in which the thirds of the fused attention input are taken to come."""
    is_causal: bool = True
    masked_id: int | None = None
    """Tokens of this id are hidden as padding."""
    reading: Literal["first end", "last place", "first 2", "before first 0"] = "first end"
    """Where a text is read."""
    is_projection_transposed: bool = True
    """Whether `x @ W` is written with W as [D, E]; kept as [E, D], it must be turned."""
    is_projected: bool = True


RIGHT = Port()


def plain_images(config: ClipConfig, weights: Weights, pixels: Array, port: Port = RIGHT) -> Array:
    """Prepared pixels, uint8 [B, S, S, 3], or float [B, S, S, 3] already normalised -> [B, E], not unit."""
    vision = config.vision
    x_BTD = _image_rows(config, weights, pixels, port)
    for n in range(vision.layers):
        x_BTD = _block(
            x_BTD, weights, f"vision.blocks.{n}", vision.heads, config.activation, port, hidden=None
        )
    return _project(_layer_norm(x_BTD[:, 0], weights, "vision.ln_post", port), weights, "vision", port)


def plain_patch_values(config: ClipConfig, weights: Weights, pixels: Array) -> Array:
    """Prepared pixels, uint8 [B, S, S, 3] -> [B, patches, E], unit rows: as MaskCLIP reads patches.

    The last block's attention is replaced by the identity: each patch's value, through the output layer,
    the last norm and the projection (arXiv:2112.01071, section 3.2; without stream and MLP).
    """
    vision, last = config.vision, f"vision.blocks.{config.vision.layers - 1}"
    x_BTD = _image_rows(config, weights, pixels, RIGHT)
    for n in range(vision.layers - 1):
        x_BTD = _block(
            x_BTD, weights, f"vision.blocks.{n}", vision.heads, config.activation, RIGHT, hidden=None
        )
    normed = _layer_norm(x_BTD[:, 1:], weights, f"{last}.ln_1", RIGHT)
    width = vision.width
    value = (
        normed @ weights[f"{last}.qkv.weight"][-width:].T.astype(float) + weights[f"{last}.qkv.bias"][-width:]
    )
    own = value @ weights[f"{last}.out.weight"].T.astype(float) + weights[f"{last}.out.bias"]
    return unit(_project(_layer_norm(own, weights, "vision.ln_post", RIGHT), weights, "vision", RIGHT))


def _image_rows(config: ClipConfig, weights: Weights, pixels: Array, port: Port) -> Array:
    """What goes into the first block, [B, T, D]."""
    vision = config.vision
    if pixels.dtype == np.uint8:
        mean, std = (np.array(values) for values in (config.preprocess.mean, config.preprocess.std))
        pixels = (pixels / 255 - mean) / std
    grid, side = vision.grid, vision.patch_size
    patches = pixels.reshape(-1, grid, side, grid, side, 3).transpose(0, 1, 3, 5, 2, 4)
    kernel = weights["vision.patch_embedding.weight"].reshape(vision.width, -1)
    x_BTD = patches.reshape(len(pixels), grid * grid, -1) @ kernel.T.astype(float)
    first = np.broadcast_to(weights["vision.class_embedding"], (len(x_BTD), 1, vision.width))
    x_BTD = np.concatenate([first, x_BTD], axis=1) + weights["vision.position_embedding"]
    if port.has_ln_pre:
        x_BTD = _layer_norm(x_BTD, weights, "vision.ln_pre", port)
    return x_BTD


def plain_texts(config: ClipConfig, weights: Weights, tokens: NDArray[np.int64], port: Port = RIGHT) -> Array:
    """Token ids, int64 [B, T] -> [B, E], not of unit length."""
    length = tokens.shape[1]
    x_BTD = weights["text.token_embedding.weight"][tokens].astype(float)
    x_BTD = x_BTD + weights["text.position_embedding"][:length]
    hidden = np.zeros((len(tokens), 1, length, length), dtype=bool)
    if port.is_causal:
        hidden |= np.triu(np.ones((length, length), dtype=bool), 1)
    if port.masked_id is not None:
        hidden |= (tokens == port.masked_id)[:, None, None, :]
    for n in range(config.text.layers):
        x_BTD = _block(
            x_BTD, weights, f"text.blocks.{n}", config.text.heads, config.activation, port, hidden=hidden
        )
    places = {
        "first end": tokens.argmax(axis=1),
        "last place": np.full(len(tokens), length - 1),
        "first 2": (tokens == 2).argmax(axis=1),
        "before first 0": (tokens == 0).argmax(axis=1) - 1,
    }[port.reading]
    x_BD = _layer_norm(x_BTD, weights, "text.ln_final", port)[np.arange(len(tokens)), places]
    return _project(x_BD, weights, "text", port)


def unit(features: Array) -> Array:
    """The same rows at length 1."""
    rows: Array = features / np.linalg.norm(features, axis=-1, keepdims=True)
    return rows


def _block(
    x_BTD: Array,
    weights: Weights,
    name: str,
    heads: int,
    activation: str,
    port: Port,
    *,
    hidden: Array | None,
) -> Array:
    def linear(x: Array, part: str) -> Array:
        result: Array = x @ weights[f"{name}.{part}.weight"].T.astype(float) + weights[f"{name}.{part}.bias"]
        return result

    thirds = np.split(linear(_layer_norm(x_BTD, weights, f"{name}.ln_1", port), "qkv"), 3, axis=-1)
    batch, length, width = x_BTD.shape
    by_name = {
        part: third.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)
        for part, third in zip(port.qkv_order, thirds, strict=True)
    }
    scores = by_name["q"] @ by_name["k"].swapaxes(-1, -2) / math.sqrt(width // heads)
    if hidden is not None:
        scores = np.where(hidden, -1e30, scores)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    x_BTD = x_BTD + linear((shares @ by_name["v"]).transpose(0, 2, 1, 3).reshape(x_BTD.shape), "out")
    chosen = activation if port.activation == "as configured" else port.activation
    up = linear(_layer_norm(x_BTD, weights, f"{name}.ln_2", port), "up")
    return x_BTD + linear(_activate(up, chosen), "down")


def _activate(x: Array, activation: str) -> Array:
    if activation == "quick_gelu":
        return x / (1 + np.exp(-1.702 * x))
    if activation == "tanh_gelu":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    error_function = np.frompyfunc(math.erf, 1, 1)
    return 0.5 * x * (1 + error_function(x / math.sqrt(2)).astype(float))


def _layer_norm(x: Array, weights: Weights, name: str, port: Port) -> Array:
    kind = np.float16 if port.is_layer_norm_half else np.float64
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        x = x.astype(kind)
        centred = x - x.mean(axis=-1, keepdims=True, dtype=kind)
        variance = (centred**2).mean(axis=-1, keepdims=True, dtype=kind)
        normed = (centred / np.sqrt(variance + kind(port.layer_norm_eps))).astype(float)
    return normed * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _project(x_BD: Array, weights: Weights, tower: str, port: Port) -> Array:
    if not port.is_projected:
        return x_BD
    kernel = weights[f"{tower}.projection.weight"]
    return x_BD @ (kernel.T if port.is_projection_transposed else kernel).astype(float)
