"""The end of the server's process, which comes in time whatever hangs in it.

A thread cannot be ended from outside, and Python waits for its threads: a call of a model that never
returns, a loading that takes minutes or an exporter without a network would keep the process for as long.
"""

import logging
import os
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

GRACE_SECONDS = 5.0
"""What the end may take beyond the time of the requests in work: models and databases are closed."""

logger = logging.getLogger(__name__)


def leave(abandoned: Sequence[str], status: int = 0) -> NoReturn:
    """End this process at once; with 1 and a line in the log where something is left undone.

    Nothing in it is taken apart: threads, modules and engines go with the process, which takes a second
    less, and longer than that where a thread hangs.

    Args:
        abandoned: what was still in work.
        status: of the process, where nothing was.
    """
    if abandoned:
        logger.error("The server ends without having finished: %s.", ", ".join(abandoned))
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody reads it any more
            continue
    os._exit(1 if abandoned else status)


def leave_within(seconds: float) -> threading.Timer:
    """End this process after some seconds if it has not ended until then; what is in work is named."""

    def end() -> None:
        here = threading.current_thread()
        names = [one.name for one in threading.enumerate() if one is not here and not one.daemon]
        leave(sorted(set(names)) or ["the end itself"])

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.name = "ending"
    timer.start()
    return timer
