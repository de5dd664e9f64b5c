"""How much freed memory the process keeps: set once, when a server starts.

glibc gives every thread a heap of its own, and lets what it keeps of freed memory grow with the largest
block that was ever freed: after some large pictures each thread may hold on to 64 MB that nobody uses. In
`benchmarks.fuzz` the server grew by 5 MB per thousand pictures, with the same number of objects in use.
"""

import ctypes

KEPT_BYTES = 4 << 20
"""Kept at the end of each heap; larger blocks come from the system and go back at once, bytes."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""From glibc's malloc.h."""


def limit_freed_memory() -> bool:
    """Have freed memory given back to the system; False where the C library is not glibc: nothing changes."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES) and mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES))
