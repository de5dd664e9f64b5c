"""Small folders of fetched pictures in img2dataset's layout, as `collect fetch` writes them."""

import io
import random
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from clipworks.collect.layout import Outcome, ShardFiles

WORDS = ("red", "car", "snow", "old", "tower", "cat", "green", "field", "photo", "boat")
TEXTS = pa.list_(pa.struct([("key", pa.string()), ("text", pa.string())]))


def jpeg(number: int, size: tuple[int, int] = (48, 40)) -> bytes:
    """A picture, another one for each number."""
    draw = random.Random(number)
    small = Image.new("RGB", (6, 5))
    small.putdata([tuple(draw.randrange(256) for _ in range(3)) for _ in range(30)])
    file = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def make_fetched(
    folder: Path, *, shards: int = 3, rows: int = 12, seed: int = 0, with_texts: bool = True
) -> Path:
    """Shards with failed rows, rows of one id, pictures that come twice, and small and long pictures.

    In a shard, row 0 failed, row 1 is that of every shard, row 2 has the picture of row 3, row 4 is small,
    row 5 long, and row 6 has no text of five letters.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        chance = random.Random(f"{seed} {shard}")
        files = ShardFiles(folder, f"{shard:05d}", "jpg")
        listed, outcomes = list[dict[str, Any]](), list[Outcome]()
        for row in range(rows):
            texts = [" ".join(chance.sample(WORDS, 3)) for _ in range(chance.choice((1, 1, 2)))]
            number = 1000 * shard + row
            if row == 1:
                texts, number = ["the same photo"], 1
            if row == 6:
                texts = ["ab", "cd"]
            url = f"https://host{number % 5}.example/{number}.jpg"
            keyed = [{"key": "alt", "text": text} for text in texts]
            uid = md5((texts[0] + url).encode()).hexdigest()
            listed.append({"url": url, "caption": texts[0], "uid": uid, "texts": keyed})
            size = {4: (20, 60), 5: (240, 40)}.get(row, (48, 40))
            outcomes.append(_outcome(files, row, jpeg(1000 * shard + 3 if row == 2 else number, size), size))
        schema = pa.schema(
            [("url", pa.string()), ("caption", pa.string()), ("uid", pa.string()), ("texts", TEXTS)]
        )
        table = pa.Table.from_pylist(listed, schema=schema)
        files.write(table if with_texts else table.drop_columns(["texts"]), outcomes)
        files.close()
    return folder


def _outcome(files: ShardFiles, row: int, image: bytes, size: tuple[int, int]) -> Outcome:
    if row == 0:
        return Outcome(status="failed_to_download", error_message="No answer.", reason="timeout")
    return Outcome(
        status="success",
        width=size[0],
        height=size[1],
        original_width=size[0],
        original_height=size[1],
        sha256=sha256(image).hexdigest(),
        md5=md5(image, usedforsecurity=False).hexdigest(),
        bytes=len(image),
        place=files.put(image),
    )
