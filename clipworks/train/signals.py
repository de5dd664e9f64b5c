"""Ctrl-C and SIGTERM, which a run ends with its last step whole and saved."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PATIENCE_SECONDS = 2.0
"""From the first Ctrl-C on, in which another one is a part of it: torchrun sends its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caught:
    """Signals that ask to stop; the step they fall into ends whole."""

    numbers: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When each came, seconds of `time.monotonic`."""

    def note(self, number: int, _: object) -> None:
        """Take in a signal; a second Ctrl-C ends the run at once, for a step that does not end."""
        self.numbers.append(number)
        self.times.append(time.monotonic())
        if number == signal.SIGINT and self.times[-1] - self.times[0] > PATIENCE_SECONDS:
            raise KeyboardInterrupt

    def stop(self) -> None:
        """End the run as the first signal wants it.

        Raises:
            KeyboardInterrupt: it was Ctrl-C.
            SystemExit: it was SIGTERM; the code is 143.
        """
        if self.numbers and self.numbers[0] == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt


@contextmanager
def catch_signals() -> Iterator[Caught]:
    """Within: Ctrl-C and SIGTERM are only noted, where this is the main thread."""
    caught = Caught()
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, caught.note) for number in numbers]
    try:
        yield caught
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
