"""The suites that `pictogram` is scored on: pictures, texts and truth, and the scores of a model on them."""

import gzip
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.model.decoder import ImageInput
from clipworks.model.engine import Engine

Scores = dict[str, Any]
Kind = str
"""`classes`: which of L labels; `names`: which of N texts, the one of its own place."""

PHOTO_TEMPLATES = ("{}", "a photo of a {}")
NAME_TEMPLATES = ("{}",)

FASHION_CLASSES = (
    *("t-shirt", "trousers", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)

LANGUAGES = ("en", "de", "fr", "es", "ja", "zh")
"""Whose emoji names are asked for, by emojibase's folders."""

_VARIATION = ("FE0F", "FE0E")


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """Pictures and a question about them."""

    name: str
    """Key in the results."""
    kind: Kind
    pictures: Sequence[ImageInput]
    texts: tuple[str, ...]
    """Labels, or a name for each picture."""
    truth: NDArray[np.intp]
    """The right text of each picture."""
    templates: tuple[str, ...]


def score_suite(engine: Engine, suite: Suite, vectors: NDArray[np.float32] | None = None) -> Scores:
    """Accuracy or recall of a model on a suite, under the suite's name.

    Args:
        engine: the model.
        suite: what is asked.
        vectors: float32 [N, dim], of its pictures, if they are known already.
    """
    if vectors is None:
        vectors = engine.embed_images(list(suite.pictures))
    head = engine.label_head(list(suite.texts), list(suite.templates))
    cosines = vectors @ head.T
    score = accuracy(cosines, suite.truth) if suite.kind == "classes" else recalls(cosines, suite.truth)
    return {suite.name: score | {"templates": suite.templates}}


def fashion_suite(folder: Path, count: int | None = None) -> Suite:
    """The test pictures of Fashion-MNIST, dark on light, of Debian's `dataset-fashion-mnist`, unpacked."""
    pictures, truth = read_fashion(folder, "t10k", count)
    return Suite(
        name="fashion_mnist_zero_shot",
        kind="classes",
        pictures=pictures,
        texts=FASHION_CLASSES,
        truth=truth,
        templates=PHOTO_TEMPLATES,
    )


def read_fashion(
    folder: Path, split: str, count: int | None = None
) -> tuple[list[NDArray[np.uint8]], NDArray[np.intp]]:
    """The first pictures of a split, `train` or `t10k`, dark on light, and their labels."""
    pixels = _read_idx(folder, f"{split}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)[:count]
    labels = _read_idx(folder, f"{split}-labels-idx1-ubyte.gz", 8)[:count].astype(np.intp)
    return [np.repeat(255 - one[:, :, None], 3, axis=2) for one in pixels], labels


def photograph_suite(folder: Path, *, without: Callable[[dict[str, str]], bool] | None = None) -> Suite:
    """Zero-shot on the test split of a folder with metadata.jsonl, over its labels.

    Args:
        folder: of the photographs.
        without: rows that are left out, labels too; the suite's name says `seen`.
    """
    lines = (folder / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["split"] == "test"]
    rows = [row for row in rows if without is None or not without(row)]
    labels = sorted({row["label"] for row in rows})
    return Suite(
        name="photographs_zero_shot" if without is None else "photographs_seen_zero_shot",
        kind="classes",
        pictures=[folder / row["file"] for row in rows],
        texts=tuple(labels),
        truth=np.array([labels.index(row["label"]) for row in rows]),
        templates=PHOTO_TEMPLATES,
    )


def is_flower(row: dict[str, str]) -> bool:
    """Whether a photograph is of a class that no training set of ours holds (credits are missing)."""
    return "flower" in row["source"].lower()


def emoji_names(folder: Path, codes: Sequence[str], language: str) -> dict[str, str]:
    """The name of each emoji of a list of code points, `1f98a`, in a language of emojibase-data."""
    rows = json.loads((folder / language / "data.json").read_bytes())
    names = {_plain(row["hexcode"]): row["label"].lower() for row in rows if "group" in row}
    return {code: names[_plain(code)] for code in codes if _plain(code) in names}


def accuracy(cosines: NDArray[np.float32], truth: NDArray[np.intp]) -> Scores:
    """cosines float32 [N, L], truth [N] in 0..L-1."""
    hits = int((cosines.argmax(axis=1) == truth).sum())
    chance = round(100 / cosines.shape[1], 1)
    return {"classes": cosines.shape[1], "chance": chance, "n": len(truth), "top1": _share(hits, len(truth))}


def recalls(cosines: NDArray[np.float32], truth: NDArray[np.intp] | None = None) -> Scores:
    """cosines float32 [N, M], the true text of picture i at truth[i], or i; an equal cosine is ahead."""
    places = np.arange(len(cosines)) if truth is None else truth
    own = cosines[np.arange(len(cosines)), places]
    ahead = (cosines >= own[:, None]).sum(axis=1) - 1
    count = len(ahead)
    return {
        "n": count,
        "of": cosines.shape[1],
        **{f"recall_at_{k}": _share(int((ahead < k).sum()), count) for k in (1, 10)},
        "median_rank": int(np.median(ahead)) + 1,
    }


def wilson(successes: int, count: int) -> list[float]:
    """95 % interval of a share, in per cent, after Wilson (1927)."""
    z = 1.96
    share = successes / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 100 / (1 + z * z / count)
    return [round((middle - half) * scale, 1), round((middle + half) * scale, 1)]


def _share(hits: int, count: int) -> Scores:
    return {"unit": "%", "value": round(100 * hits / count, 1), "interval_95": wilson(hits, count)}


def _read_idx(folder: Path, name: str, header_bytes: int) -> NDArray[np.uint8]:
    path = next(folder.rglob(name), None)
    if path is None:
        sys.exit(f"{folder} holds no {name}; give Debian's package dataset-fashion-mnist, unpacked.")
    return np.frombuffer(gzip.decompress(path.read_bytes()), dtype=np.uint8)[header_bytes:]


def _plain(code: str) -> str:
    return "-".join(part for part in code.upper().split("-") if part not in _VARIATION)
