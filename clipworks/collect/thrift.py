"""Memory of a fetch that runs for days: freed memory goes back to the system, garbage is looked for rarely.

Arrow's own allocator and glibc keep what was freed for later, more of it with every thread and every shard;
the system's allocator, asked to give it back, does not. Used by `fetch.py`.
"""

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

GC_THRESHOLD = 20_000
"""New objects, less those that are gone, after which Python looks for garbage; 700 by default. Each search
passes over the thousands of questions that wait, and was a quarter of all work."""

_M_ARENA_MAX = -8
"""From glibc's malloc.h."""


@contextmanager
def saving_memory() -> Iterator[None]:
    """Have Arrow use the system's allocator, and garbage searched rarely, while the block runs."""
    _limit_heaps()
    threshold, *others = gc.get_threshold()
    pool = pa.default_memory_pool()
    gc.set_threshold(GC_THRESHOLD, *others)
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        gc.set_threshold(threshold, *others)
        pa.set_memory_pool(pool)


def _limit_heaps() -> None:
    """One heap for all threads, where the C library is glibc: else each keeps what it freed."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def give_memory_back() -> bool:
    """Give freed memory to the system; False where the C library is not glibc: nothing changes."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))
