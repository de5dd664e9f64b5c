"""Image-text retrieval with several captions per picture, both ways, in blocks of float32 scores.

Recall of pictures counts each text: is its picture among the k best. Recall of texts counts each picture: is
at least one of its captions among the k best. Of equal scores the one that stands first comes first, so that
vectors that say nothing reach chance.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import DataError
from clipworks.evaluate.classify import scores
from clipworks.evaluate.metrics import RECALL_AT
from clipworks.evaluate.store import Vectors

TEXTS = 1024
"""Texts whose scores are in memory at a time."""


def retrieval_units(
    images: Vectors, texts: Vectors, owners: NDArray[np.int64]
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """What came of each picture and its captions.

    Args:
        images: float32 [N, D].
        texts: float32 [T, D].
        owners: int64 [T], the picture of each text, rising.

    Returns:
        Columns, one value per picture: `num_texts`; `texts_at_K`, how many of its texts found it among K;
        `image_at_K`, whether it found one of its texts. And `tied_texts`, `tied_images` (how many had an
        equal score beside the best right one) and both median ranks.

    Raises:
        DataError: a picture has no caption.
    """
    counts = np.bincount(owners, minlength=len(images))
    if not counts.all():
        raise DataError(
            f"Picture number {int(np.flatnonzero(counts == 0)[0])} has no caption.",
            "Give it one, or remove it.",
        )
    image_ranks, tied_texts = _rank_images(images, texts, owners)
    text_ranks, tied_images = _rank_texts(images, texts, owners)
    units: dict[str, NDArray[Any]] = {"num_texts": counts}
    for k in RECALL_AT:
        units[f"texts_at_{k}"] = np.bincount(owners[image_ranks < k], minlength=len(images))
        units[f"image_at_{k}"] = (text_ranks < k).astype(np.int64)
    facts = {
        "tied_texts": tied_texts,
        "tied_images": tied_images,
        "median_rank_of_pictures": float(np.median(image_ranks)) + 1,
        "median_rank_of_texts": float(np.median(text_ranks)) + 1,
        "texts": len(texts),
    }
    return units, facts


def flatten(captions: Sequence[Sequence[str]]) -> tuple[list[str], NDArray[np.int64]]:
    """All captions in order, and the number of each one's picture."""
    owners = [number for number, some in enumerate(captions) for _ in some]
    return [caption for some in captions for caption in some], np.array(owners, dtype=np.int64)


def _rank_images(images: Vectors, texts: Vectors, owners: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """For each text, how many pictures come before its own, int64 [T]."""
    ranks = np.empty(len(texts), dtype=np.int64)
    num_tied = 0
    places = np.arange(len(images))[None]
    for start in range(0, len(texts), TEXTS):
        some = slice(start, start + TEXTS)
        block, own = scores(texts[some], images), owners[some]
        right = block[np.arange(len(own)), own][:, None]
        is_equal = block == right
        ranks[some] = (block > right).sum(axis=1) + (is_equal & (places < own[:, None])).sum(axis=1)
        num_tied += int((is_equal.sum(axis=1) > 1).sum())
    return ranks, num_tied


def _rank_texts(images: Vectors, texts: Vectors, owners: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """For each picture, how many texts come before the best of its own, int64 [N]."""
    best = np.full(len(images), -np.inf, dtype=np.float32)
    first = np.zeros(len(images), dtype=np.int64)
    for start in range(0, len(texts), TEXTS):
        own = owners[start : start + TEXTS]
        right = scores(texts[start : start + TEXTS], images)[np.arange(len(own)), own]
        for number, (owner, score) in enumerate(zip(own.tolist(), right.tolist(), strict=True), start=start):
            if score > best[owner]:
                best[owner], first[owner] = score, number
    ranks = np.zeros(len(images), dtype=np.int64)
    ties = np.zeros(len(images), dtype=np.int64)
    for start in range(0, len(texts), TEXTS):
        own = owners[start : start + TEXTS]
        block = scores(texts[start : start + TEXTS], images)
        is_equal = block == best[None]
        numbers = np.arange(start, start + len(own))[:, None]
        ranks += (block > best[None]).sum(axis=0) + (is_equal & (numbers < first[None])).sum(axis=0)
        ties += (is_equal & (own[:, None] != np.arange(len(images))[None])).sum(axis=0)
    return ranks, int((ties > 0).sum())
