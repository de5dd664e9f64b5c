"""Small folders of pairs, made as `collect pairs` makes them, for the tests of curation."""

import random
from collections.abc import Sequence
from hashlib import md5
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipworks.curate.metadata import build_entries, write_entries
from clipworks.stage import Made, Source, run_stage
from clipworks.tables import write_table

TEXTS = pa.list_(pa.struct([("key", pa.string()), ("text", pa.string())]))
SCHEMA = pa.schema([("uid", pa.string()), ("image_url", pa.string()), ("texts", TEXTS)])
HEAD = ("photo", "image", "the", "of")
TAIL = tuple(f"thing{n}" for n in range(60))


def make_rows(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Pairs with one to three texts of a few head words and now and then a rare one."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        texts = []
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            words = chance.choices(HEAD, k=chance.randint(0, 3))
            words += chance.choices(TAIL, k=chance.random() < 0.2)
            texts.append(" ".join([*words, "xyz"]))
        url = f"https://example.org/{seed}/{number}.jpg"
        keyed = [{"key": "alt", "text": text} for text in texts]
        rows.append({"uid": md5((texts[0] + url).encode()).hexdigest(), "image_url": url, "texts": keyed})
    return rows


def write_pairs(
    folder: Path, rows: Sequence[dict[str, Any]], *, parts: int = 3, schema: pa.Schema = SCHEMA
) -> Path:
    """A finished folder of pairs in some parts."""

    def work(source: Source, out: Path) -> Made:
        number = int(source.path)
        begin, end = (len(rows) * n // parts for n in (number, number + 1))
        write_table(
            out / f"{source.name}.parquet", pa.Table.from_pylist(list(rows[begin:end]), schema=schema)
        )
        return Made(rows=end - begin, files=[f"{source.name}.parquet"])

    sources = [Source(name=f"{n:05}", path=str(n), digest=f"{n} of {parts}") for n in range(parts)]
    run_stage(work, sources, folder, stage="pairs", config={})
    return folder


def write_metadata(path: Path, texts: Sequence[str] = (*HEAD, *TAIL, "never"), language: str = "") -> Path:
    """An entry list with some strings after the numbers."""
    write_entries(path, build_entries({"words": texts}, language=language))
    return path
