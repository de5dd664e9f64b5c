"""Label heads that were asked for before: a small cache keyed by content, for `engine.py`."""

from collections import OrderedDict
from threading import Lock

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""float32 [N, D], rows of unit L2 norm."""

MAX_HEADS = 64
MAX_BYTES = 64 * 2**20


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
