"""Safetensors files in and out; this file and the training state own the safetensors package.

What the names of the tensors mean is the work of `formats.py`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from clipworks.errors import CheckpointError

Array = NDArray[Any]

_TYPES = {
    "BOOL": np.bool_,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "I8": np.int8,
    "U8": np.uint8,
}


def read_safetensors(file: Path) -> dict[str, Array]:
    """Read a safetensors file; bfloat16, which numpy lacks, becomes float32.

    Raises:
        CheckpointError: the file is damaged, cut short, or of a type of numbers that no CLIP uses.
    """
    try:
        with safetensors.safe_open(file, framework="np") as opened:
            names = opened.keys()
            if all(opened.get_slice(name).get_dtype() != "BF16" for name in names):
                return {name: opened.get_tensor(name) for name in names}
        views = safetensors.deserialize(file.read_bytes())  # type: ignore[no-untyped-call]
        return {name: _from_view(view) for name, view in views}
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{file} is damaged or no safetensors file: {error}.", "Fetch or copy it again."
        ) from error


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a safetensors file; the tensors themselves are not read.

    Raises:
        CheckpointError: the file is damaged or no safetensors file.
    """
    try:
        with safetensors.safe_open(file, framework="np") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is damaged or no safetensors file: {error}.") from error


def safetensors_bytes(tensors: Mapping[str, Array]) -> bytes:
    """The content of a safetensors file; equal tensors give equal bytes."""
    content: bytes = safetensors.numpy.save(dict(tensors), metadata={"format": "pt"})
    return content


def _from_view(view: dict[str, Any]) -> Array:
    """A tensor of a file that has bfloat16 in it: the upper half of a float32."""
    shape, data = view["shape"], view["data"]
    if view["dtype"] == "BF16":
        wide = np.frombuffer(data, dtype=np.uint16).astype(np.uint32) << 16
        return wide.view(np.float32).reshape(shape)
    return np.frombuffer(data, dtype=_TYPES[view["dtype"]]).reshape(shape)
