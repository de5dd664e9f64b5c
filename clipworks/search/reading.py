"""One picture file, read once: its hash, what it says of itself, and pixels where they are wanted."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from clipworks.errors import InputError
from clipworks.model.bicubic import WORTH_COMPILING
from clipworks.model.engine import Engine
from clipworks.model.pipeline import Pixels
from clipworks.search.exif import PictureFacts, read_facts
from clipworks.search.sidecars import read_sidecars
from clipworks.search.survey import Found

MAX_FILE_BYTES = 512 << 20
"""A larger file holds more pixels than are decoded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A picture file that was read."""

    sha256: bytes
    facts: PictureFacts
    pixels: Pixels | None
    """uint8 [S, S, 3]; None where the vector of these bytes is known, or will be from another file."""
    reason: str = ""
    """Why there are no pixels, where they were wanted: a sentence for people."""


class Reader:
    """Reads files for one engine; may be called from several threads at once."""

    def __init__(self, engine: Engine, is_known: Callable[[bytes], bool], num_files: int) -> None:
        """Begin; `is_known` says of a sha256 whether its vector is there; `num_files` will be read."""
        self._is_compiled = num_files >= WORTH_COMPILING
        self._engine = engine
        self._is_known = is_known
        self._claimed: set[bytes] = set()
        self._lock = Lock()

    def read(self, found: Found) -> Reading:
        """Read a file.

        Raises:
            InputError: it cannot be read at all; another time it may.
        """
        if found.size_bytes > MAX_FILE_BYTES:
            raise InputError(
                f"Image {str(found.path)!r} has {found.size_bytes:,} bytes; the limit is {MAX_FILE_BYTES:,}."
            )
        try:
            content = found.path.read_bytes()
        except OSError as error:
            raise InputError(f"{found.path} cannot be read: {error.strerror}.", code="not_found") from error
        sha256 = hashlib.sha256(content).digest()
        with self._lock:
            is_wanted = not self._is_known(sha256) and sha256 not in self._claimed
            self._claimed.add(sha256)
        facts = read_sidecars(found.sidecars, read_facts(content))
        if not is_wanted:
            return Reading(sha256=sha256, facts=facts, pixels=None)
        try:
            pixels = self._engine.prepare_image(content, str(found.path), compiled=self._is_compiled)
        except InputError as error:
            return Reading(sha256=sha256, facts=facts, pixels=None, reason=str(error))
        return Reading(sha256=sha256, facts=facts, pixels=pixels)
