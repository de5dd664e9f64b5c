"""Who makes the vectors of a library: checkpoint, precision, what reads files, and the thresholds.

An index made by another checkpoint is refused. Files that could not be read are tried again where another
version of what reads them is installed.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clipworks.errors import ConfigError
from clipworks.model import decoder
from clipworks.search.exact import unit
from clipworks.search.frames import reader_version
from clipworks.search.relevance import measure
from clipworks.search.snapshot import root_from
from clipworks.search.store import IndexHeader, Relevance
from clipworks.search.writer import Writer

if TYPE_CHECKING:
    from clipworks.model.engine import Engine

_MEASURED_ANEW = 0.02
"""Share of the pictures that may change before the thresholds are measured again."""
_SAMPLE = 200_000


def version() -> str:
    """Changes where files that could not be read before may be now."""
    return decoder.version() + reader_version()


def begin(writer: Writer, engine: "Engine", model: str, root: Path) -> None:
    """Say in the library who makes its vectors.

    Raises:
        ConfigError: it is another checkpoint's.
    """
    before = writer.header
    if before is not None and before.fingerprint != engine.fingerprint:
        raise ConfigError(
            f"The index {writer.folder} was made by the checkpoint {before.fingerprint[:12]}, "
            f"not by {engine.name} ({engine.fingerprint[:12]}).",
            "Use that model, choose another folder with --out, or delete the index.",
        )
    header = IndexHeader(
        model=model,
        fingerprint=engine.fingerprint,
        precision=engine.precision,
        preprocess=engine.preprocess,
        dim=engine.dim,
        root=root_from(writer.folder, root),
        relevance=before.relevance if before is not None else Relevance(),
    )
    writer.begin(header)
    if reads_more(writer):
        writer.forget_failures(writer.failures())
    writer.put({"model": model, "decoder": version()})


def reads_more(writer: Writer) -> bool:
    """Whether another version opens the pictures now, which may read what the one before could not."""
    return bool(writer.settings().get("decoder") != version())


def measure_anew(writer: Writer, engine: "Engine", num_changes: int) -> None:
    """Measure the thresholds where enough has changed, and end the writing."""
    header = writer.header
    assert header is not None
    late = writer.settings().get("unmeasured", 0) + num_changes
    count = writer.count()
    if count and (late > _MEASURED_ANEW * count or (late and header.relevance.text_threshold is None)):
        relevance = measure(engine, unit(writer.sample(_SAMPLE)))
        header, late = replace(header, relevance=relevance), 0
    writer.put({"unmeasured": late})
    writer.end(header)
