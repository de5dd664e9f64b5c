"""The server's log on stderr: lines for people, or one JSON object per line for machines.

A request's line has method, path, status, time, sizes and ids. Nothing writes a query string, a
header, a text, a picture or a key; `edge.py` and `net.py` say what they log.
"""

import json
import logging
import sys
import time
from typing import TextIO

FIELDS = "request"
"""Name of the attribute of a log record that holds a request's figures."""


class JsonLines(logging.Formatter):
    """One object per line: time (UTC), level, logger, message; a request's figures beside them."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as one line of JSON."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        row = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            row["error"] = self.formatException(record.exc_info)
        return json.dumps(row)


def start_logging(log_format: str, stream: TextIO | None = None) -> None:
    """Send the log of this process to a stream, stderr if None.

    Args:
        log_format: `text` or `json`.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    is_json = log_format == "json"
    handler.setFormatter(
        JsonLines() if is_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of every part of itself
