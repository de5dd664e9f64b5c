"""Compose published rules and your own over a made-up pool, and count what each rule keeps."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from clipworks.curate.baselines import BASELINES
from clipworks.curate.filters import run_filter
from clipworks.curate.pool import open_pool
from clipworks.curate.settings import FilterConfig

TEXTS = ["a photo of a cat in the snow", "ein Hund im tiefen Schnee", "the old tower of the town", "IMG_2041"]

with TemporaryDirectory() as folder:
    pool = Path(folder) / "pool"
    pool.mkdir()
    rows = range(400)
    table = {
        "uid": [f"{n:032x}" for n in rows],
        "url": [f"https://example.org/{n}.jpg" for n in rows],
        "text": [TEXTS[n % 4] for n in rows],
        "original_width": [150 + n for n in rows],
        "original_height": [300 for _ in rows],
        "clip_l14_similarity_score": [n % 100 / 200 for n in rows],
    }
    pq.write_table(pa.table(table), pool / "00000000.parquet")
    keep = f"({BASELINES['basic_filter']}) and (top(l14, 0.3) or not aspect > 1.2)"
    manifest = run_filter(open_pool(pool), FilterConfig(keep=keep), Path(folder) / "kept")
    for rule, count in manifest["counts"].items():
        print(f"{count:5}  {rule}")
