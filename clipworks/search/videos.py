"""Names of videos and of their frames: which files are videos, and what a frame is called in an index.

A frame is a picture of the index whose id is its video's, `#` and the second: `trips/rome.mp4#12.500`.
`frames.py` opens videos; nothing here does.
"""

import os
import re
from dataclasses import dataclass

from clipworks.errors import ConfigError

EXTENSIONS = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts"),
        *(".wmv", ".flv", ".ogv"),
    }
)
"""Names that count as videos when a folder is indexed."""

MISSING = 'pip install "clipworks[video]" makes videos searchable by their frames.'

SHORTEST_SECONDS = 0.1
LONGEST_SECONDS = 3600.0

_FRAME = re.compile(r"(.+)#(\d+\.\d{3})", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """Which frames of a video are pictures of an index."""

    seconds: float | None = None
    """One every so many seconds, SHORTEST_SECONDS to LONGEST_SECONDS; None is one for each scene."""

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            ConfigError: seconds is out of range.
        """
        if self.seconds is not None and not SHORTEST_SECONDS <= self.seconds <= LONGEST_SECONDS:
            raise ConfigError(
                f"seconds is {self.seconds}; it must be {SHORTEST_SECONDS:g}..{LONGEST_SECONDS:g}.",
                "Or say `scenes` for one frame of each scene.",
            )

    @property
    def name(self) -> str:
        """`scenes`, or the seconds: what `read_sampling` reads."""
        return "scenes" if self.seconds is None else f"{self.seconds:g}"


def read_sampling(text: str) -> Sampling:
    """`scenes`, or a number of seconds.

    Raises:
        ConfigError: neither, or out of range.
    """
    if text == "scenes":
        return Sampling()
    try:
        return Sampling(seconds=float(text))
    except ValueError:
        raise ConfigError(f"frames is {text!r}.", "Say `scenes`, or a number of seconds.") from None


def is_video(name: str) -> bool:
    """Whether a file of this name counts as a video."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def frame_id(video_id: str, second: float) -> str:
    """What a frame is called."""
    return f"{video_id}#{second:.3f}"


def file_of(item_id: str) -> tuple[str, float | None]:
    """The id of the file that a picture is in, and its second where that is a video."""
    found = _FRAME.fullmatch(item_id) if "#" in item_id else None
    if found is None or not is_video(found.group(1)):
        return item_id, None
    return found.group(1), float(found.group(2))


def clock(second: float) -> str:
    """`0:07`, `1:02:45`: for people."""
    minutes, seconds = divmod(int(second), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
