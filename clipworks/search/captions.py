"""Captions to index: a library of texts, one a line of a file, to be asked with pictures.

Texts whose line and words are the same are not embedded again. `build.py` does the same for pictures.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from clipworks.errors import DataError
from clipworks.model.engine import Engine
from clipworks.search.build import Progress, require_no_other_files
from clipworks.search.build_report import BuildReport, Skipped
from clipworks.search.entries import TEXT_FILES, Entry, Failure, read_entries
from clipworks.search.exact import unit
from clipworks.search.exif import PictureFacts
from clipworks.search.maker import begin
from clipworks.search.relevance import measure
from clipworks.search.writer import Batch, Record, Writer, open_writer

TEXTS_AT_ONCE = 1024
_SAMPLE = 200_000


def is_captions_file(source: Path) -> bool:
    """Whether a source is a file of captions rather than of pictures."""
    return source.suffix.lower() in TEXT_FILES and source.is_file()


def index_captions(
    source: Path,
    out: Path,
    load_engine: Callable[[], Engine],
    *,
    model: str,
    on_progress: Progress | None = None,
) -> BuildReport:
    """Build the index of a captions file, or bring it up to date.

    Args:
        source: a .txt file with a caption a line, or a .jsonl file with one in each object.
        out: the index folder.
        load_engine: gives what makes the vectors; must be the checkpoint of the index that is there.
        model: what `clipworks.load` takes to load the engine's checkpoint again.
        on_progress: called after each thousand captions.

    Returns:
        Counts, of captions, and the lines left out. The id of a caption is its number among them.

    Raises:
        ConfigError: an index of another checkpoint is in the way.
        DataError: there is no caption, or `out` cannot be written or holds something else.
    """
    started = time.monotonic()
    require_no_other_files(out)
    records, skipped = _records(source)
    if not records:
        raise DataError(f"{source} holds no captions.", "Write one a line.")
    with open_writer(out) as writer:
        engine = load_engine()
        begin(writer, engine, model, source)
        known = writer.known()
        same = {name for name, one in known.items() if one.is_current}
        fresh = [one for one in records if one.id not in same or known[one.id].sha256 != one.sha256]
        done = 0
        for some in _cut(fresh):
            vectors = engine.embed_texts([str(one.columns["caption"]) for one in some]).astype(np.float16)
            writer.write(Batch(new=list(zip(some, vectors, strict=True))))
            done += len(some)
            if on_progress is not None:
                on_progress(done, len(fresh))
        gone = sorted(known.keys() - {one.id for one in records})
        if gone:
            writer.write(Batch(gone=gone))
        if fresh or gone:
            _measure(writer, engine)
    return BuildReport(
        out=out,
        count=len(records),
        embedded=len(fresh),
        reused=len(records) - len(fresh),
        moved=0,
        removed=len(gone),
        skipped=tuple(skipped),
        seconds=time.monotonic() - started,
        noun="caption",
    )


def _measure(writer: Writer, engine: Engine) -> None:
    measured = measure(engine, unit(writer.sample(_SAMPLE)))
    # How near pictures come to fitting texts is not how near texts come to each other.
    assert writer.header is not None
    writer.end(replace(writer.header, relevance=replace(measured, image_threshold=None)))


def _records(source: Path) -> tuple[list[Record], list[Skipped]]:
    records: list[Record] = []
    skipped: list[Skipped] = []
    for entry in read_entries([source]):
        if isinstance(entry, Failure):
            skipped.append(Skipped(path=source, reason=entry.reason))
        else:
            records.append(_record(len(records) + 1, entry))
    return records, skipped


def _record(number: int, entry: Entry) -> Record:
    return Record(
        id=str(number),
        sha256=hashlib.sha256(entry.name.encode(errors="replace")).digest(),
        size_bytes=len(entry.name),
        mtime_ns=0,
        said=0,
        facts=PictureFacts(),
        columns={"caption": entry.name},
    )


def _cut(records: list[Record]) -> Iterator[list[Record]]:
    yield from (records[start : start + TEXTS_AT_ONCE] for start in range(0, len(records), TEXTS_AT_ONCE))
