"""Pictures to index: embed what is new or changed, drop what is gone, keep the rest.

A picture counts as unchanged when size and time of change are the same, or else when its bytes
are (a renamed or copied file is not embedded again). What is done is committed every few seconds, so a
build that is killed loses seconds and the index opens at any time. Vectors made in another precision or
from other pixels are made anew. One bad file is noted and skipped, and tried again when it has changed.
Videos are in `video_build.py`.
"""

import json
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clipworks.errors import DataError, InputError
from clipworks.files import MANIFEST
from clipworks.model.engine import Engine
from clipworks.model.pipeline import computed_ahead, prepared_batches, require_batch_size
from clipworks.search import schema
from clipworks.search.build_report import BuildReport, Skipped
from clipworks.search.converted import import_snapshot
from clipworks.search.maker import begin, measure_anew, reads_more
from clipworks.search.pictures import read_captions
from clipworks.search.reading import Reader, Reading
from clipworks.search.store import Halves
from clipworks.search.survey import Found, survey
from clipworks.search.video_build import VideoBuild
from clipworks.search.videos import MISSING, Sampling, file_of, is_video, read_sampling
from clipworks.search.writer import Batch, Known, Record, Writer, open_writer, shown

Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all) after each picture."""

_FLUSH_PICTURES = 1024
_FLUSH_SECONDS = 3.0


def build_index(
    source: Path,
    out: Path,
    engine: Engine,
    *,
    model: str = "",
    batch_size: int = 32,
    sampling: Sampling | None = None,
    on_progress: Progress | None = None,
) -> BuildReport:
    """As `update_index`, with a model that is loaded already."""
    return update_index(
        source,
        out,
        lambda: engine,
        model=model or engine.name,
        batch_size=batch_size,
        sampling=sampling,
        on_progress=on_progress,
    )


def update_index(
    source: Path,
    out: Path,
    load_engine: Callable[[], Engine],
    *,
    model: str,
    batch_size: int = 32,
    trusts_name: bool = False,
    sampling: Sampling | None = None,
    on_progress: Progress | None = None,
) -> BuildReport:
    """Build the index of a folder, glob or file, or bring an index up to date.

    Args:
        source: a folder (searched with everything below it), a glob pattern, or one picture.
        out: the index folder; may lie inside `source`, where a hidden name keeps it out of it.
        load_engine: gives what makes the vectors; must be the checkpoint of the index that is there.
        model: what `clipworks.load` takes to load the engine's checkpoint again.
        batch_size: pictures per forward pass, 1..1024.
        trusts_name: where nothing has changed and `model` is the same, do not load it to see whether it is.
        sampling: which frames of videos are taken; None is as the run before did, at first one a scene.
        on_progress: called after each picture and each video.

    Returns:
        Counts and the files skipped.

    Raises:
        ConfigError: batch_size out of range, or an index of another checkpoint is in the way.
        InputError: source does not exist or holds no pictures.
        DataError: not one picture could be read, the captions file is wrong, or `out` cannot be
            written, is being written, or holds something else than an index.
    """
    require_batch_size(batch_size)
    started = time.monotonic()
    root, found = survey(source)
    captions = read_captions(root)
    require_no_other_files(out)
    with open_writer(out) as writer:
        if (out / MANIFEST).is_file():
            import_snapshot(writer, out)
        if sampling is None:
            sampling = read_sampling(writer.settings().get("frames", Sampling().name))
        work = _Work(writer, found, captions, sampling)
        if not (trusts_name and work.is_idle(model)):
            engine = load_engine()
            begin(writer, engine, model, root)
            writer.put({"frames": sampling.name})
            work = _Work(writer, found, captions, sampling)
            work.run(engine, batch_size, on_progress)
            measure_anew(writer, engine, work.num_changes)
        count = writer.count()
    report = work.report(out, count, time.monotonic() - started)
    if not count:
        left = f" {MISSING}" if report.videos_left else ""
        first = f" The first: {report.skipped[0].reason}" if report.skipped else left
        raise DataError(f"None of the {len(found)} files in {source} could be used.{first}")
    return report


class _Work:
    """What one run does with pictures and with videos."""

    def __init__(
        self,
        writer: Writer,
        found: Sequence[Found],
        captions: dict[str, dict[str, Any]],
        sampling: Sampling,
    ) -> None:
        frames: dict[str, Known] = {}
        known: dict[str, Known] = {}
        for name, one in writer.known().items():
            (known if file_of(name)[1] is None else frames)[name] = one
        videos = [one for one in found if one.is_folder or is_video(one.place)]
        others = [one for one in found if not is_video(one.place)]
        self.pictures = _Build(writer, others, known, captions)
        self.videos = VideoBuild(writer, videos, frames, captions, sampling)
        self._writer = writer
        self._stale = writer.failures().keys() - {one.id for one in found}

    @property
    def num_changes(self) -> int:
        """Pictures whose vectors came or went."""
        both = (self.pictures, self.videos)
        return sum(one.num_embedded + one.num_removed for one in both)

    def report(self, out: Path, count: int, seconds: float) -> BuildReport:
        """What was done."""
        build, videos = self.pictures, self.videos
        return BuildReport(
            out=out,
            count=count,
            embedded=build.num_embedded + videos.num_embedded,
            reused=count - build.num_embedded - videos.num_embedded,
            moved=build.num_moved + videos.num_moved,
            removed=build.num_removed + videos.num_removed,
            skipped=(*build.skipped, *videos.skipped),
            seconds=seconds,
            videos_left=videos.num_left,
        )

    def is_idle(self, model: str) -> bool:
        """Whether there is nothing to do, if the model is that of this name."""
        if self._stale or not self.pictures.is_idle() or not self.videos.is_idle():
            return False
        has_unread = bool(self.pictures.skipped or self.videos.skipped or self.videos.num_left)
        is_known = self._writer.settings().get("model") == model
        return is_known and not (has_unread and reads_more(self._writer))

    def run(self, engine: Engine, batch_size: int, on_progress: Progress | None) -> None:
        """Bring the library to what was found; pictures first."""
        done, total = 0, self.pictures.num_todo + self.videos.num_todo

        def on_each() -> None:
            nonlocal done
            done += 1
            if on_progress is not None:
                on_progress(done, total)

        self.pictures.run(engine, batch_size, on_each)
        self.videos.run(engine, batch_size, on_each)
        if self._stale:
            self._writer.forget_failures(self._stale)


class _Build:
    """What one run finds, does and counts of pictures."""

    def __init__(
        self,
        writer: Writer,
        found: Sequence[Found],
        known: dict[str, Known],
        captions: dict[str, dict[str, Any]],
    ) -> None:
        self.num_embedded = self.num_moved = self.num_removed = 0
        self.skipped: list[Skipped] = []
        self._writer = writer
        self._captions = captions
        self._known = known
        self._failures = writer.failures()
        self._slots = {one.sha256: one.slot for one in self._known.values() if one.is_current}
        self._gone = self._missing(found)
        self._gone_by_bytes: dict[bytes, list[str]] = {}
        for name in sorted(self._gone, reverse=True):
            if self._known[name].is_current:
                self._gone_by_bytes.setdefault(self._known[name].sha256, []).append(name)
        self._new: list[tuple[Record, Halves]] = []
        self._updated: list[tuple[int, Record]] = []
        self._moved_from: list[str] = []
        self._failed: list[tuple[str, int, int, str]] = []
        self._copies: list[tuple[Found, Reading]] = []
        self._unreadable: dict[bytes, str] = {}
        self._flushed = time.monotonic()
        self._todo = [one for one in found if self._is_work(one)]
        self._writing: Future[None] | None = None

    @property
    def num_todo(self) -> int:
        """Files to read."""
        return len(self._todo)

    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self._todo or self._gone or self._failed)

    def run(self, engine: Engine, batch_size: int, on_each: Callable[[], None]) -> None:
        """Bring the library to what was found; `on_each` is called after each file."""
        reader = Reader(engine, self._slots.__contains__, len(self._todo))
        batches = (self._todo[at : at + batch_size] for at in range(0, len(self._todo), batch_size))
        # Written in a thread: the disk is waited for while the model goes on.
        with ThreadPoolExecutor(1, thread_name_prefix="clipworks-write") as thread:
            try:
                for batch, vectors in _embedded(engine, reader, list(batches)):
                    for found, reading, vector in zip(batch[0], batch[1], vectors, strict=True):
                        self._take(found, reading, vector)
                        on_each()
                    self._flush_when_due(thread)
            finally:
                self._flush(thread)
                self._await_disk()
            for found, reading in self._copies:
                self._take_copy(found, reading)
            self._flush(thread)
            self._await_disk()
        self._remove_gone()

    def _missing(self, found: Sequence[Found]) -> set[str]:
        gone = self._known.keys() - {one.id for one in found}
        hidden = tuple(f"{one.id}/" for one in found if one.is_folder)
        return {name for name in gone if not (hidden and name.startswith(hidden))}

    def _is_work(self, one: Found) -> bool:
        """Whether a file must be read; notes those that are known to be unusable."""
        if one.trouble:
            self._fail(one, one.trouble)
            return False
        failure = self._failures.get(one.id)
        if failure is not None and failure[:2] == (one.size_bytes, one.mtime_ns):
            self.skipped.append(Skipped(path=one.path, reason=failure[2]))
            return False
        known = self._known.get(one.id)
        stamp = (one.size_bytes, one.mtime_ns, self._said(one))
        return (
            known is None or not known.is_current or (known.size_bytes, known.mtime_ns, known.said) != stamp
        )

    def _said(self, one: Found) -> int:
        columns = self._captions.get(one.id)
        said = one.said_by_sidecars()
        return said if columns is None else said ^ zlib.crc32(json.dumps(columns, sort_keys=True).encode())

    def _take(self, found: Found, reading: Reading | InputError, vector: Halves | None) -> None:
        """Take over what came of one file."""
        if isinstance(reading, InputError):
            self._fail(replace(found, mtime_ns=-1), str(reading))  # another time it may be readable
        elif reading.reason:
            self._unreadable[reading.sha256] = reading.reason
            self._fail(found, reading.reason)
        elif vector is not None:
            self.num_embedded += 1
            self._new.append((self._record(found, reading), vector))
        elif reading.sha256 in self._slots:
            self._take_known(found, reading)
        else:
            self._copies.append((found, reading))

    def _take_known(self, found: Found, reading: Reading) -> None:
        """A picture that was embedded before: touched, moved or copied."""
        known, record = self._known.get(found.id), self._record(found, reading)
        if known is not None and known.sha256 == reading.sha256 and known.is_current:
            self._updated.append((known.slot, record))
            return
        names = self._gone_by_bytes.get(reading.sha256, []) if known is None else []
        if not names:
            self._new.append((record, self._writer.rows(np.array([self._slots[reading.sha256]]))[0]))
            return
        before = names.pop()
        self._gone.discard(before)
        self._updated.append((self._known[before].slot, record))
        self.num_moved += 1

    def _take_copy(self, found: Found, reading: Reading) -> None:
        """A picture with the bytes of another one of this run."""
        if reading.sha256 in self._unreadable:
            self._fail(found, self._unreadable[reading.sha256])
            return
        slot = self._writer.slot_with(reading.sha256)
        if slot is not None:
            self._new.append((self._record(found, reading), self._writer.rows(np.array([slot]))[0]))

    def _record(self, found: Found, reading: Reading) -> Record:
        return Record(
            id=found.id,
            sha256=reading.sha256,
            size_bytes=found.size_bytes,
            mtime_ns=found.mtime_ns,
            said=self._said(found),
            facts=reading.facts,
            columns=self._captions.get(found.id, {}),
        )

    def _fail(self, found: Found, reason: str) -> None:
        self.skipped.append(Skipped(path=found.path, reason=reason))
        row = (found.id, found.size_bytes, found.mtime_ns, shown(Path(reason)))
        if self._failures.get(found.id) != row[1:]:
            self._failed.append(row)
        if found.id in self._known and not found.is_folder:
            self._gone.add(found.id)

    def _remove_gone(self) -> None:
        self.num_removed = len(self._gone)
        if self._gone:
            self._writer.write(Batch(gone=sorted(self._gone)))

    def _flush_when_due(self, thread: ThreadPoolExecutor) -> None:
        if len(self._new) >= _FLUSH_PICTURES or time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._flush(thread)

    def _flush(self, thread: ThreadPoolExecutor) -> None:
        if self._new or self._updated or self._failed:
            self._await_disk()
            batch = Batch(new=self._new, updated=self._updated, failed=self._failed)
            self._writing = thread.submit(self._writer.write, batch)
        self._new, self._updated, self._failed = [], [], []
        self._flushed = time.monotonic()

    def _await_disk(self) -> None:
        """Wait until what was handed over is written.

        Raises:
            DataError: the disk did not take it.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()


_Read = tuple[Sequence[Found], list[Reading | InputError]]


def _embedded(
    engine: Engine, reader: Reader, batches: list[Sequence[Found]]
) -> Iterator[tuple[_Read, list[Halves | None]]]:
    """Files read ahead in threads, and the vectors of those whose pixels are wanted."""
    with (
        prepared_batches(batches, reader.read) as prepared,
        computed_ahead(
            zip(batches, prepared, strict=True), lambda read: (read, _vectors(engine, read[1]))
        ) as computed,
    ):
        yield from computed


def _vectors(engine: Engine, readings: list[Reading | InputError]) -> list[Halves | None]:
    squares = [one.pixels for one in readings if isinstance(one, Reading) and one.pixels is not None]
    vectors = iter(engine.embed_pixels(np.stack(squares)).astype(np.float16) if squares else ())
    return [
        next(vectors) if isinstance(one, Reading) and one.pixels is not None else None for one in readings
    ]


def require_no_other_files(out: Path) -> None:
    """Refuse a folder that holds something else than an index.

    Raises:
        DataError: it does.
    """
    if (
        out.is_dir()
        and not (out / schema.NAME).exists()
        and not (out / MANIFEST).exists()
        and any(out.iterdir())
    ):
        raise DataError(f"{out} holds other files and no index.", "Choose another folder with --out.")
