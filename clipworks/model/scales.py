"""The numbers that int8 needs of each linear layer, and how they are found from its inputs.

A layer y = W x + b runs as (W * smooth)(x / smooth): channels whose inputs are large are made smaller
and their weights larger, which changes no result and spares the eight bits (SmoothQuant,
arXiv:2211.10438). Inputs are then rounded to 256 levels of one range, weights to 255 levels per row,
or to 129 where the processor needs that (`weight_limit` of executor.py).
Plain numpy; `graph.py` builds with these numbers, `quantize.py` decides which layers use them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

LEVELS = 256
"""Values of an int8 input."""

Floats = NDArray[np.float32]

_STRENGTHS = (0.15, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Tried shares of an outlier that move into the weights."""
_CLIPS = (0.95, 0.85, 0.7, 0.5)
"""Tried shares of the input's range; 1.0 is tried with every strength."""
_SMALLEST = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearScale:
    """How one linear layer runs in int8."""

    smooth: Floats
    """float32 [D], above 0: the inputs' channels are divided by it, the weights' columns multiplied."""
    low: float
    """Smallest smoothed input that is not clipped; a whole number of steps below zero."""
    high: float
    """Largest smoothed input that is not clipped; high - low is LEVELS - 1 steps."""
    limit: int
    """Largest absolute weight of a row after rounding, 1..127."""
    error: float
    """Root mean square error of the layer's outputs on the calibration inputs, as a share of theirs."""


Scales = Mapping[str, LinearScale]
"""Name of a linear layer, `vision.blocks.0.qkv`, -> how it runs in int8."""


def quantised_rows(weight: Floats, scale: LinearScale) -> tuple[NDArray[np.int8], Floats]:
    """A weight matrix in int8.

    Args:
        weight: float32 [N, D].
        scale: of the layer.

    Returns:
        int8 [N, D] in -limit..limit and the step of each row, float32 [N, 1]; their product is the
        smoothed weight, rounded.
    """
    smoothed = weight * scale.smooth
    steps = np.maximum(np.abs(smoothed).max(axis=1, keepdims=True), _SMALLEST) / scale.limit
    return np.round(smoothed / steps).astype(np.int8), steps.astype(np.float32)


def fit(inputs: Floats, peaks: Floats, weight: Floats, *, limit: int = 127) -> LinearScale:
    """The strength of smoothing and the range whose int8 outputs are nearest to the true ones.

    Args:
        inputs: float32 [M, D], rows that reach the layer in the calibration.
        peaks: float32 [D], largest absolute input of each channel in the whole calibration.
        weight: float32 [N, D] of the layer.
        limit: largest absolute int8 weight.
    """
    true = inputs @ weight.T
    power = float(np.sqrt(np.square(true).mean())) or 1.0
    columns = np.maximum(np.abs(weight).max(axis=0), _SMALLEST)
    peaks = np.maximum(np.maximum(peaks, np.abs(inputs).max(axis=0)), _SMALLEST)

    def attempt(smooth: Floats, clip: float) -> LinearScale:
        smoothed = inputs / smooth
        low, high = _range(clip * float(smoothed.min()), clip * float(smoothed.max()))
        scale = LinearScale(smooth=smooth, low=low, high=high, limit=limit, error=0.0)
        rows, steps = quantised_rows(weight, scale)
        found = _rounded(smoothed, scale) @ (rows * steps).T
        error = float(np.sqrt(np.square(found - true).mean())) / power
        return replace(scale, error=error)

    best = min((attempt(_smooth(peaks, columns, s), 1.0) for s in _STRENGTHS), key=lambda scale: scale.error)
    narrower = (attempt(best.smooth, clip) for clip in _CLIPS)
    return min((best, *narrower), key=lambda scale: scale.error)


def _smooth(peaks: Floats, columns: Floats, strength: float) -> Floats:
    """The divisor of each channel, geometric mean 1 over the layer so that ranges stay comparable."""
    smooth = peaks**strength / columns ** (1 - strength)
    smooth /= np.exp(np.log(smooth).mean())
    limited: Floats = smooth.clip(1e-3, 1e3).astype(np.float32)
    return limited


def _range(low: float, high: float) -> tuple[float, float]:
    """A range of LEVELS values that holds low..high, if not both ends, and has zero among its values."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < _SMALLEST:
        high = 1.0
    if -low > 0.5 * high:  # about as much below zero as above: a signed range, which needs no offset
        step = max(high / 127, -low / 128)
        return -128 * step, 127 * step
    step = (high - low) / (LEVELS - 1)
    below = round(-low / step)
    return -below * step, (LEVELS - 1 - below) * step


def _rounded(smoothed: Floats, scale: LinearScale) -> Floats:
    step = (scale.high - scale.low) / (LEVELS - 1)
    values: Floats = (np.round(smoothed.clip(scale.low, scale.high) / step) * step).astype(np.float32)
    return values
