"""A budget of bytes that threads share: who needs more than is free waits until others are done."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """So many bytes at once, over all threads of a server.

    Args:
        num_bytes: all of it.
    """

    def __init__(self, num_bytes: int) -> None:
        self._size = self._free = num_bytes
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, num_bytes: int) -> Iterator[None]:
        """So much is used inside; what is larger than all of it gets all of it, alone."""
        wanted = min(num_bytes, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()
