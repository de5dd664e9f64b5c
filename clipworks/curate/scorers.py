"""Scores that a small network gives to CLIP features: safety, watermarks, beauty, whatever was trained.

A head is a `.safetensors` file with `N.weight` [out, in] and `N.bias` [out] in ascending N (any prefix),
and optionally `mean` and `variance` [in] by which features are normalised first. Its metadata says
`features` (the array of the npz, default l14_img), `activation` between layers (relu, none; default relu),
`output` (sigmoid, softmax, none; default sigmoid) and `unit` (1: features are scaled to length 1 first;
default 1). No head is shipped; LAION's are converted once.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import CheckpointError, DataError
from clipworks.model.tensorfiles import read_safetensors

_LAYER = re.compile(r"(?:.*\.)?(\d+)\.(weight|bias)")
_EPSILON = 1e-7
_CHOICES = {"activation": ("relu", "none"), "output": ("sigmoid", "softmax", "none"), "unit": ("1", "0")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scorer:
    """A network of layers over features."""

    weights: tuple[NDArray[np.float32], ...]
    """float32 [out, in] each"""
    biases: tuple[NDArray[np.float32], ...]
    """float32 [out] each"""
    mean: NDArray[np.float32] | None
    variance: NDArray[np.float32] | None
    features: str
    activation: str
    output: str
    is_unit: bool

    def score(self, features_ND: NDArray[Any]) -> NDArray[np.float64]:
        """A number for each row, float64 [N]; of several outputs (softmax) the last.

        Raises:
            DataError: the features have another width.
        """
        x: NDArray[Any] = features_ND.astype(np.float32)
        if x.shape[1] != self.weights[0].shape[1]:
            raise DataError(f"The head reads {self.weights[0].shape[1]} features; a row has {x.shape[1]}.")
        if self.is_unit:
            x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), _EPSILON)
        if self.mean is not None and self.variance is not None:
            x = (x - self.mean) / np.sqrt(np.maximum(self.variance, _EPSILON))
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if layer and self.activation == "relu":
                x = np.maximum(x, 0)
            x = x @ weight.T + bias
        last = x.astype(np.float64)
        if self.output == "softmax":
            last = np.exp(last - last.max(axis=1, keepdims=True))
            last /= last.sum(axis=1, keepdims=True)
        values: NDArray[np.float64] = last[:, -1]
        return 1 / (1 + np.exp(-values)) if self.output == "sigmoid" else values


@lru_cache(maxsize=4)
def open_scorer(path: Path) -> Scorer:
    """Read a head.

    Raises:
        CheckpointError: the file is missing or damaged, or its layers do not fit each other.
    """
    if not path.is_file():
        raise CheckpointError(f"The head {path} does not exist.")
    tensors = read_safetensors(path)
    words = _metadata(path)
    for name, choices in _CHOICES.items():
        if words.get(name, choices[0]) not in choices:
            raise CheckpointError(f"{path} has the {name} {words[name]!r}; known: {', '.join(choices)}.")
    found: dict[int, dict[str, NDArray[np.float32]]] = {}
    for name, tensor in tensors.items():
        if layer := _LAYER.fullmatch(name):
            found.setdefault(int(layer[1]), {})[layer[2]] = tensor.astype(np.float32)
    layers = [found[number] for number in sorted(found)]
    weights = [layer.get("weight", np.empty((0, 0), np.float32)) for layer in layers]
    biases = [
        layer.get("bias", np.zeros(len(w), np.float32)) for layer, w in zip(layers, weights, strict=True)
    ]
    fits = weights and all(
        w.ndim == 2 and w.shape[0] == len(b) > 0 for w, b in zip(weights, biases, strict=True)
    )
    if not fits or any(b.shape[1] != a.shape[0] for a, b in zip(weights, weights[1:], strict=False)):
        raise CheckpointError(f"{path} is no head: its layers do not fit each other.")
    return Scorer(
        weights=tuple(weights),
        biases=tuple(biases),
        mean=tensors["mean"].astype(np.float32) if "mean" in tensors else None,
        variance=tensors["variance"].astype(np.float32) if "variance" in tensors else None,
        features=words.get("features", "l14_img"),
        activation=words.get("activation", "relu"),
        output=words.get("output", "sigmoid"),
        is_unit=words.get("unit", "1") == "1",
    )


def _metadata(path: Path) -> dict[str, str]:
    """The words in a safetensors header, whose length is the file's first 8 bytes."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        values = json.loads(file.read(size)).get("__metadata__", {})
    return {str(name): str(value) for name, value in values.items()}
