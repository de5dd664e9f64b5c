"""What a build did."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """A file that could not be used."""

    path: Path
    reason: str
    """One sentence for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildReport:
    """What a build did; the counts are pictures."""

    out: Path
    count: int
    """In the index now."""
    embedded: int
    """Sent through the model by this build."""
    reused: int
    """Were embedded before."""
    moved: int
    """Have another name than before, of those reused."""
    removed: int
    """Were in the index before and are gone or unreadable now; moved ones are not among them."""
    skipped: tuple[Skipped, ...]
    """Files left out, with reasons."""
    seconds: float
    """Time of the whole build."""
    noun: str = "picture"
    """What was counted."""
    videos_left: int = 0
    """Videos that were not opened, since the extra `video` is not installed."""
