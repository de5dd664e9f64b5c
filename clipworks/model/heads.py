"""Label heads for `engine.py`: how one is built from prompts, and a small cache of those asked for before."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import InputError

Vectors = NDArray[np.float32]
"""float32 [N, D], rows of unit L2 norm."""

MAX_HEADS = 64
MAX_BYTES = 64 * 2**20

_PROMPTS_PER_CALL = 8192


def check_prompts(labels: Sequence[str], templates: Sequence[str]) -> tuple[list[str], list[str]]:
    """Labels and templates as lists.

    Raises:
        InputError: no labels, no templates, a template without `{}`, or an item that is no string.
    """
    prompts = _require_strings("templates", templates)
    names = _require_strings("labels", labels)
    for template in prompts:
        if "{}" not in template:
            raise InputError(f"The template {template[:80]!r} has no '{{}}' for the label.")
    return names, prompts


def build_head(
    embed_texts: Callable[[list[str]], Vectors],
    labels: Sequence[str],
    templates: Sequence[str],
    on_progress: Callable[[int, int], None] | None = None,
) -> Vectors:
    """One vector per label: the mean over its filled templates, each of unit length, and then itself so.

    At most 8,192 prompts, or those of one label, are in memory at a time.

    Args:
        embed_texts: texts -> float32 [N, D], rows of unit L2 norm.
        labels: class names, at least one.
        templates: sentences with `{}` where the label goes, at least one.
        on_progress: called with (labels done, labels in all).

    Returns:
        float32 [len(labels), D], rows of unit L2 norm.
    """
    step = max(1, _PROMPTS_PER_CALL // len(templates))
    parts = list[Vectors]()
    for start in range(0, len(labels), step):
        some = labels[start : start + step]
        texts = [template.replace("{}", label) for label in some for template in templates]
        means = embed_texts(texts).reshape(len(some), len(templates), -1).mean(axis=1)
        # Opposite vectors can cancel out; such a mean has no direction and stays zero.
        norms = np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.float32(1e-12))
        parts.append(means / norms)
        if on_progress is not None:
            on_progress(start + len(some), len(labels))
    return np.concatenate(parts)


def key_of(labels: Sequence[str], templates: Sequence[str]) -> str:
    """What a head is kept under: the sha256 of its labels and templates."""
    return hashlib.sha256(json.dumps([list(labels), list(templates)]).encode()).hexdigest()


def softmax(cosines: NDArray[np.float32], logit_scale: float) -> NDArray[np.float32]:
    """Softmax over the last axis of scaled cosines, float32 [..., L] -> float32 [..., L]."""
    logits = logit_scale * cosines.astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scores: NDArray[np.float64] = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return scores.astype(np.float32)


def heat_maps(patches_NRCD: Vectors, head_LD: Vectors) -> NDArray[np.float32]:
    """Cosine of each patch with each label, float32 [N, L, rows, columns], in -1..1."""
    cosines: NDArray[np.float32] = np.moveaxis(patches_NRCD @ head_LD.T, -1, 1)
    return np.ascontiguousarray(cosines.clip(-1.0, 1.0))


class HeadCache:
    """The heads used last, at most MAX_HEADS and at most MAX_BYTES together; safe between threads."""

    def __init__(self, *, max_heads: int = MAX_HEADS, max_bytes: int = MAX_BYTES) -> None:
        self._max_heads = max_heads
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._heads: OrderedDict[str, Vectors] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._heads)

    def get(self, key: str) -> Vectors | None:
        """The head kept under `key`, which then counts as just used, or None."""
        with self._lock:
            if key in self._heads:
                self._heads.move_to_end(key)
            return self._heads.get(key)

    def put(self, key: str, head: Vectors) -> None:
        """Keep a head; the ones not used for longest give way."""
        with self._lock:
            if key in self._heads:
                return
            self._heads[key] = head
            self._bytes += head.nbytes
            while len(self._heads) > self._max_heads or self._bytes > self._max_bytes:
                _, oldest = self._heads.popitem(last=False)
                self._bytes -= oldest.nbytes


def _require_strings(name: str, values: Sequence[str]) -> list[str]:
    if isinstance(values, str):
        raise InputError(f"{name} is the single string {values[:40]!r}.", "Give a list: [text].")
    if not values:
        raise InputError(f"{name} is empty.", "Give at least one.")
    for i, value in enumerate(values):
        if not isinstance(value, str):
            raise InputError(f"{name}[{i}] is {type(value).__name__}; it must be a string.")
    return list(values)
