"""Parts -> `.npz`: numpy arrays in a zip, written one part at a time; see docs/formats.md."""

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import IO

import numpy as np

from clipworks.search.parts import Parts

BYTES_AT_ONCE = 1 << 20
"""Of padded texts in memory."""


def write_npz(file: IO[bytes], parts: Parts) -> None:
    """Write `vectors`, `items`, `kinds` and the fields of the header; equal parts give equal bytes."""
    lengths = [max(map(len, rows.items), default=0) for rows in parts.rows()]
    count = sum(len(rows.items) for rows in parts.rows())
    text = f"<U{max(lengths, default=1)}"
    header = parts.header
    with zipfile.ZipFile(file, "w") as archive:
        number = "<f2" if header.dtype == "f16" else "<f4"
        numbers = (vectors.tobytes() for vectors in parts.vectors())
        _add(archive, "vectors", number, (count, header.dim), numbers)
        for name, dtype in (("items", text), ("kinds", "<U5")):
            values = (value for rows in parts.rows() for value in getattr(rows, name))
            _add(archive, name, dtype, (count,), _texts(values, dtype), is_packed=True)
        for name in ("model", "fingerprint", "precision", "preprocess"):
            value = np.array(getattr(header, name))
            _add(archive, name, value.dtype.str, (), [value.tobytes()])


def _texts(values: Iterator[str], dtype: str) -> Iterator[bytes]:
    """Padded texts, some at a time: each takes as much as the longest."""
    step = max(1, BYTES_AT_ONCE // np.dtype(dtype).itemsize)
    while some := list(islice(values, step)):
        yield np.array(some, dtype=dtype).tobytes()


def _add(
    archive: zipfile.ZipFile,
    name: str,
    dtype: str,
    shape: Sequence[int],
    chunks: Iterable[bytes],
    *,
    is_packed: bool = False,
) -> None:
    """One array whose bytes come in pieces; padded texts are packed, vectors would not get smaller."""
    member = zipfile.ZipInfo(f"{name}.npy")
    member.compress_type = zipfile.ZIP_DEFLATED if is_packed else zipfile.ZIP_STORED
    with archive.open(member, "w", force_zip64=True) as stream:
        values = {"descr": dtype, "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(stream, values)
        for chunk in chunks:
            stream.write(chunk)
