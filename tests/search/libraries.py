"""Libraries of invented pictures: vectors in clusters, with dates, folders, cameras, tags and words."""

from pathlib import Path
from typing import Any

import numpy as np

from clipworks.search.exif import PictureFacts
from clipworks.search.library import Library
from clipworks.search.opening import open_index
from clipworks.search.store import IndexHeader, Relevance, Vectors
from clipworks.search.writer import Batch, Record, open_writer

DAY = 86_400


def clustered(count: int, dim: int, seed: int = 0, num_clusters: int = 60) -> Vectors:
    """float32 [count, dim], rows of unit length around some centres."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((num_clusters, dim))
    vectors = centres[random.integers(0, num_clusters, count)] + random.standard_normal((count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def record(number: int, **columns: Any) -> Record:
    """Picture `number`: a day each, a folder of ten in turn, wide where the number is even."""
    return Record(
        id=f"trip {number % 10}/{number:06d}.jpg",
        sha256=number.to_bytes(32, "big"),
        size_bytes=1000 + number,
        mtime_ns=number,
        said=0,
        facts=PictureFacts(
            width=2000 if number % 2 == 0 else 500,
            height=800,
            taken=number * DAY,
            camera=("Canon EOS", "Apple iPhone", "")[number % 3],
            place="Rome, Italy" if number % 100 == 0 else "",
            tags=("Anna",) if number % 1000 == 0 else ("Bob", "beach") if number % 7 == 0 else (),
        ),
        columns={
            "caption": f"number {number} " + ("with a birthday cake" if number % 50 == 0 else ""),
            **columns,
        },
    )


def header(dim: int) -> IndexHeader:
    return IndexHeader(
        model="none",
        fingerprint="f" * 64,
        precision="f32",
        preprocess="standard",
        dim=dim,
        root="..",
        relevance=Relevance(text_threshold=0.2, image_threshold=0.3, alike_threshold=0.99),
    )


def write_library(folder: Path, vectors: Vectors) -> Library:
    """A library of as many invented pictures as there are vectors."""
    with open_writer(folder) as writer:
        writer.begin(header(vectors.shape[1]))
        halves = vectors.astype(np.float16)
        writer.write(Batch(new=[(record(number), half) for number, half in enumerate(halves)]))
    return open_index(folder)
