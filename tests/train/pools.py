"""Small webdataset tars as other tools write them."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def jpeg(seed: int, width: int = 40, height: int = 30, form: str = "JPEG") -> bytes:
    """A small picture of noise in one file format."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (height // 5, width // 5, 3), dtype=np.uint8).repeat(5, 0).repeat(5, 1)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def write_tar(path: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> Path:
    """Members KEY.SUFFIX in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, parts in samples:
            for suffix, data in parts.items():
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


def sample(number: int, form: str = "JPEG", **details: Any) -> tuple[str, dict[str, bytes]]:
    """As img2dataset writes it: picture, caption, json."""
    suffix = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}[form]
    values = {"caption": f"caption {number}", "uid": f"{number:032x}", "status": "success", **details}
    return f"{number:09d}", {
        suffix: jpeg(number, form=form),
        "txt": f"caption {number}".encode(),
        "json": json.dumps(values).encode(),
    }


def write_pool(folder: Path, shards: int = 3, per_shard: int = 20) -> Path:
    """A folder of img2dataset's: tars with all three formats, and its counts."""
    forms = ("JPEG", "PNG", "WEBP")
    for shard in range(shards):
        numbers = range(shard * per_shard, (shard + 1) * per_shard)
        write_tar(folder / f"{shard:05d}.tar", (sample(n, forms[n % 3]) for n in numbers))
        stats = {"count": per_shard + 4, "successes": per_shard}
        (folder / f"{shard:05d}_stats.json").write_text(json.dumps(stats))
    return folder
