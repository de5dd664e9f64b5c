"""How a vector leaves the server: as numbers or base64, in full or in fewer bits.

    float     float32, unit length
    int8      round(127 x / m), m the largest magnitude in this vector: -127..127
    uint8     int8 + 128: 1..255
    ubinary   one bit per number, 1 where it is above 0, eight to a byte, the first in the highest bit
    binary    ubinary - 128, as int8

The scale of int8 is the vector's own, since the numbers of a CLIP vector are small and a few are large: a
range for all would spend most steps on what no vector has. So rows are compared by cosine, which a scale
does not change, not by bare inner product. base64 holds the same numbers, little-endian.
"""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from clipworks.serve.inputs import Payload, read_choice
from clipworks.serve.problems import RequestError, shown

DTYPES = ("float", "int8", "uint8", "binary", "ubinary")


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """The form of a vector in a response."""

    dtype: str = "float"
    """One of `DTYPES`."""
    is_base64: bool = False
    """Whether the numbers are sent as base64 of their bytes."""

    @property
    def name(self) -> str:
        """What Cohere and Jina call it."""
        return "base64" if self.is_base64 and self.dtype == "float" else self.dtype


def encode(vectors: npt.NDArray[np.float32], form: Form) -> list[Any]:
    """One list of numbers, or one base64 text, per vector.

    Args:
        vectors: float32 [N, D].
    """
    rows_NK = to_dtype(vectors, form.dtype)
    if form.is_base64:
        return [base64.b64encode(row.tobytes()).decode("ascii") for row in rows_NK]
    rows: list[Any] = rows_NK.tolist()
    return rows


def to_dtype(vectors: npt.NDArray[np.float32], dtype: str) -> npt.NDArray[Any]:
    """Vectors in fewer bits, as the top of this file says.

    Args:
        vectors: float32 [N, D].
        dtype: one of `DTYPES`.

    Returns:
        Little-endian float32, int8 or uint8 [N, D]; for the binary ones uint8 or int8 [N, ceil(D / 8)], the
        last byte filled with zeros.
    """
    if dtype == "float":
        return vectors.astype("<f4", copy=False)
    if dtype in ("binary", "ubinary"):
        bits: npt.NDArray[np.uint8] = np.packbits(vectors > 0, axis=1)
        return bits if dtype == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)
    wide = vectors.astype(np.float64)  # in which 127 / m is finite for the smallest m
    largest = np.abs(wide).max(axis=1, keepdims=True, initial=0.0)
    steps = np.rint(wide * (127 / np.where(largest > 0, largest, 1.0)))
    return steps.astype(np.int8) if dtype == "int8" else (steps + 128).astype(np.uint8)


def read_forms(payload: Payload, field: str) -> list[Form]:
    """A field that names one form or a list of them: `float`, `base64` (of float32), `int8` and so on.

    Returns:
        At least one; float where the field is missing.

    Raises:
        RequestError: a name is unknown.
    """
    value = payload.get(field)
    names = ["float"] if value is None or value == [] else value if isinstance(value, list) else [value]
    for name in names:
        if name not in (*DTYPES, "base64"):
            raise RequestError(
                f"{field} names {shown(name)}; a form is {', '.join(DTYPES)} or base64.", param=field
            )
    return [Form(is_base64=True) if name == "base64" else Form(dtype=name) for name in dict.fromkeys(names)]


def read_form(payload: Payload) -> Form:
    """The fields `output_dtype` and `encoding_format`.

    Raises:
        RequestError: one of them has a value that does not exist.
    """
    dtype = read_choice(payload, "output_dtype", DTYPES) or "float"
    return Form(
        dtype=dtype, is_base64=read_choice(payload, "encoding_format", ("float", "base64")) == "base64"
    )


def check_dimensions(payload: Payload, field: str, dim: int) -> None:
    """Whether as many numbers are asked for as the model's vectors have; 0 and null mean all of them.

    Raises:
        RequestError: another number; no CLIP served here was trained to have its vectors cut.
    """
    value = payload.get(field)
    if isinstance(value, bool) or value not in (None, 0, dim, str(dim)):
        raise RequestError(
            f"{field} is {shown(value)}; vectors of this model have {dim} numbers, and it was not trained "
            "so that fewer of them mean anything (it is no matryoshka model).",
            f"Leave the field out, or say {dim}.",
            param=field,
        )
