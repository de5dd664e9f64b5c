"""Pools of made-up metadata for the tests of curation: DataComp's columns and features beside them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TEXTS = (
    "a photo of a cat in the snow",
    "ein Hund im tiefen Schnee vor dem Haus",
    "IMG_1234.JPG",
    "red car",
    "cat",
    "the old tower of the town hall\nin the evening",
    "Dogs running over the green field in summer",
    "ネコの写真です",
    "a\u00a0b\u2003c d e",
    "une voiture rouge dans la neige",
    "buy now! best price for men's shoes",
    "\n\n x",
)


def make_pool(folder: Path, *, tables: int = 3, rows: int = 120, seed: int = 0, dim: int = 16) -> Path:
    """A folder of tables 00000000.parquet and their npz; what is random hangs on the seed."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(seed)
    for number in range(tables):
        scores = chance.normal(0.25, 0.08, (2, rows)).round(2)
        scores[chance.random((2, rows)) < 0.02] = np.nan
        sizes = chance.integers(1, 900, (2, rows))
        texts = [TEXTS[n] for n in chance.integers(0, len(TEXTS), rows)]
        columns = {
            "uid": [chance.bytes(16).hex() for _ in range(rows)],
            "url": [f"https://host{n % 7}.example.org/{number}/{n}.jpg" for n in range(rows)],
            "text": texts,
            "original_width": pa.array(sizes[0], pa.int64()),
            "original_height": pa.array(sizes[1], pa.int64()),
            "clip_b32_similarity_score": pa.array(scores[0].astype(np.float32)),
            "clip_l14_similarity_score": pa.array(scores[1]),
            "face_bboxes": [[[0.1, 0.1, 0.4, 0.5]] if n % 5 == 0 else [] for n in range(rows)],
            "sha256": [chance.bytes(32).hex() for _ in range(rows)],
        }
        pq.write_table(pa.table(columns), folder / f"{number:08}.parquet")
        arrays = {name: unit(chance, rows, dim) for name in ("b32_img", "b32_txt", "l14_img", "l14_txt")}
        np.savez(folder / f"{number:08}.npz", **{name: a.astype(np.float16) for name, a in arrays.items()})
    return folder


def unit(chance: np.random.Generator, rows: int, dim: int) -> np.ndarray:
    """Random rows of length 1, float64 [rows, dim]."""
    values = chance.standard_normal((rows, dim))
    return values / np.linalg.norm(values, axis=1, keepdims=True)
