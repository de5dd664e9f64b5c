"""Parts -> `.parquet`, some thousand rows at a time; see docs/formats.md. The owner of pyarrow."""

from typing import IO, Any

import numpy as np
import pyarrow
import pyarrow.parquet

from clipworks.search.parts import Parts

ROWS_PER_GROUP = 8192
"""At least so many rows form a row group, but for the last."""


def write_parquet(file: IO[bytes], parts: Parts) -> None:
    """Write the columns `item`, `kind` and `vector`; the header's fields are the schema's metadata."""
    header = parts.header
    numbers = pyarrow.float16() if header.dtype == "f16" else pyarrow.float32()
    vector = pyarrow.list_(numbers, header.dim)
    names = ("model", "fingerprint", "precision", "preprocess")
    metadata = {name: getattr(header, name) for name in names}
    columns = [("item", pyarrow.string()), ("kind", pyarrow.string()), ("vector", vector)]
    schema = pyarrow.schema(columns, metadata=metadata)
    with pyarrow.parquet.ParquetWriter(file, schema, use_dictionary=["kind"]) as writer:
        group: list[Any] = []
        for rows, vectors in zip(parts.rows(), parts.vectors(), strict=True):
            values = pyarrow.array(np.ascontiguousarray(vectors).ravel(), numbers)
            lists = pyarrow.FixedSizeListArray.from_arrays(values, type=vector)
            texts = (pyarrow.array(values, pyarrow.string()) for values in (rows.items, rows.kinds))
            group.append(pyarrow.record_batch([*texts, lists], schema=schema))
            if sum(len(batch) for batch in group) >= ROWS_PER_GROUP:
                writer.write_table(pyarrow.Table.from_batches(group))
                group = []
        if group:
            writer.write_table(pyarrow.Table.from_batches(group))
