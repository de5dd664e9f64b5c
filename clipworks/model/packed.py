"""Weights stored in eight bits: a whole number from -127 to 127 for each value, one scale for each row.

A tensor `NAME` of two or more axes becomes `NAME` (int8) and `NAME.scale` (float32, one number per index of
its first axis); value = whole number x scale. In memory weights are float32 again, so only the file is
smaller. A scale has 12 significant bits, so that 127 x scale is exact in float32 and packing what was
unpacked changes nothing.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import CheckpointError
from clipworks.model.tensorfiles import Array

SCALE = ".scale"
MIN_SIZE = 1 << 15
"""Smaller tensors gain too little: they are stored in float16."""
_LARGEST = 127


def is_packable(array: Array) -> bool:
    """Whether a tensor is stored in eight bits."""
    return bool(array.dtype == np.float32 and array.ndim > 1 and array.size >= MIN_SIZE)


def pack(name: str, array: NDArray[np.float32]) -> dict[str, Array]:
    """A tensor and its scales under their names in the file; a value is off by about half a scale at most."""
    rows = array.reshape(len(array), -1)
    scales = _short(np.abs(rows).max(axis=1) / np.float32(_LARGEST))
    divisors = np.where(scales > 0, scales, np.float32(1))[:, None]
    whole = np.clip(np.rint(rows / divisors), -_LARGEST, _LARGEST).astype(np.int8)
    return {name: whole.reshape(array.shape), name + SCALE: scales}


def unpack(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The same tensors, those in eight bits as float32 again and without scales.

    Raises:
        CheckpointError: a tensor in eight bits has no scales, or not one for each row.
    """
    found = dict(tensors)
    for name, array in tensors.items():
        if array.dtype == np.int8:
            scales = found.pop(name + SCALE, None)
            if scales is None or array.ndim < 2 or scales.shape != array.shape[:1]:
                raise CheckpointError(f"{name} is stored in eight bits without one scale for each row.")
            wide = scales.astype(np.float32).reshape(-1, *(1,) * (array.ndim - 1))
            found[name] = array.astype(np.float32) * wide
    return found


def scales_among(names: Iterable[str]) -> list[str]:
    """The names that are scales of others, where only names are known."""
    known = set(names)
    return [name for name in known if name.endswith(SCALE) and name.removesuffix(SCALE) in known]


def _short(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """To 12 significant bits."""
    mantissas, exponents = np.frexp(values)
    short: NDArray[np.float32] = np.ldexp(np.rint(mantissas * 4096) / np.float32(4096), exponents)
    return short.astype(np.float32)
