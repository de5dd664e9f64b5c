"""Videos to index: the frames that stand for each are pictures of the index.

A video is written in one transaction, all of its frames or none. It is unchanged when size and time are, or
else when its bytes are and frames are chosen in the same way; a renamed or copied one is not embedded again.
One that is cut off gives the frames before, and is noted.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clipworks.errors import InputError
from clipworks.files import sha256_file
from clipworks.model.pipeline import Pixels, computed_ahead
from clipworks.search.build_report import Skipped
from clipworks.search.exif import PictureFacts
from clipworks.search.frames import CutOffError, Frame, read_frames, read_video_facts, reads_videos
from clipworks.search.sidecars import read_sidecars
from clipworks.search.store import Halves
from clipworks.search.survey import Found
from clipworks.search.videos import MISSING, Sampling, file_of, frame_id
from clipworks.search.writer import Batch, Known, Record, Writer, shown

if TYPE_CHECKING:
    from clipworks.model.engine import Engine


class VideoBuild:
    """What one run finds, does and counts of videos."""

    def __init__(
        self,
        writer: Writer,
        found: Sequence[Found],
        frames: dict[str, Known],
        captions: dict[str, dict[str, Any]],
        sampling: Sampling,
    ) -> None:
        """Compare.

        Args:
            writer: of the library.
            found: the videos, and folders that cannot be read.
            frames: what the library knows, by their ids.
            captions: rows of the captions file by the id of a video.
            sampling: which frames are wanted.
        """
        self.num_embedded = self.num_moved = self.num_removed = 0
        self.skipped: list[Skipped] = []
        self.num_left = 0
        """Videos that are not opened, since the extra is not installed."""
        self._writer = writer
        self._captions = captions
        self._sampling = sampling
        self._failures = writer.failures()
        self._known: dict[str, dict[str, Known]] = {}
        for name, one in frames.items():
            self._known.setdefault(file_of(name)[0], {})[name] = one
        hidden = tuple(f"{one.id}/" for one in found if one.is_folder)
        there = {one.id for one in found}
        self._gone = {
            name for name in self._known if name not in there and not (hidden and name.startswith(hidden))
        }
        self._noted: list[tuple[str, int, int, str]] = []
        self._todo = [one for one in found if not one.is_folder and self._is_work(one)]

    @property
    def num_todo(self) -> int:
        """Videos to read."""
        return len(self._todo)

    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self._todo or self._gone or self._noted)

    def run(self, engine: "Engine", batch_size: int, on_each: Callable[[], None]) -> None:
        """Bring the library to what was found; `on_each` is called after each video."""
        if self._noted:
            self._writer.write(Batch(failed=self._noted))
        for one in self._todo:
            try:
                self._take(one, engine, batch_size)
            except InputError as error:
                is_away = error.code == "not_found"  # another time it may be there
                self._fail(replace(one, mtime_ns=-1) if is_away else one, str(error))
            except OSError as error:
                reason = f"Video {one.place!r} cannot be read: {error.strerror}."
                self._fail(replace(one, mtime_ns=-1), reason)
            on_each()
        gone = sorted(name for video in self._gone for name in self._known[video])
        self.num_removed += len(gone)
        if gone:
            self._writer.write(Batch(gone=gone))

    def _is_work(self, one: Found) -> bool:
        if one.trouble:
            self._note(one, one.trouble)
            return False
        if not reads_videos():
            self.num_left += 1
            self._note(one, f"Video {one.place!r} is not opened: {MISSING}", is_skipped=False)
            return False
        failure = self._failures.get(one.id)
        if failure is not None and failure[:2] == (one.size_bytes, one.mtime_ns):
            self.skipped.append(Skipped(path=one.path, reason=failure[2]))
            return False
        stamp = (one.size_bytes, one.mtime_ns, self._said(one))
        known = self._known.get(one.id, {}).values()
        return not known or any(
            not frame.is_current or (frame.size_bytes, frame.mtime_ns, frame.said) != stamp for frame in known
        )

    def _said(self, one: Found) -> int:
        """A number that changes with the files beside it, its row of the captions file and the sampling."""
        row = json.dumps(self._captions.get(one.id, {}), sort_keys=True)
        return one.said_by_sidecars() ^ zlib.crc32(f"{self._sampling.name} {row}".encode())

    def _take(self, one: Found, engine: "Engine", batch_size: int) -> None:
        facts = read_sidecars(one.sidecars, read_video_facts(one.path))
        sha256 = bytes.fromhex(sha256_file(one.path))
        same = self._same(one, sha256)
        if same is not None:
            self._reuse(one, facts, *same)
            return
        new: list[tuple[Record, Halves]] = []
        reason = ""
        try:
            for frame, vector in self._embedded(one, engine, batch_size):
                new.append((self._record(one, sha256, facts, frame.second, frame.scene), vector))
        except CutOffError as error:
            reason = str(error)
        self.num_embedded += len(new)
        failed = [self._row(one, reason)] if reason else []
        if reason:
            self.skipped.append(Skipped(path=one.path, reason=reason))
        kept = {record.id for record, _ in new}
        gone = [name for name in self._known.get(one.id, {}) if name not in kept]
        # A note of an earlier failure goes with the batch that makes it untrue.
        self._writer.write(Batch(new=new, gone=[*gone, one.id], failed=failed))

    def _same(self, one: Found, sha256: bytes) -> tuple[str, dict[str, Known]] | None:
        """A video of the library with these bytes, whose frames are what would be made now."""
        for video in (one.id, *sorted(self._gone), *self._known):
            frames = self._known.get(video, {})
            if frames and all(frame.sha256 == sha256 and frame.is_current for frame in frames.values()):
                details = self._writer.details([next(iter(frames.values())).slot])
                if all(row.get("frames") == self._sampling.name for row in details.values()):
                    return video, frames
        return None

    def _reuse(self, one: Found, facts: PictureFacts, video: str, frames: dict[str, Known]) -> None:
        """Take the vectors of a video that was moved, copied or touched."""
        details = self._writer.details([frame.slot for frame in frames.values()])
        sha256 = next(iter(frames.values())).sha256
        records = {
            frame.slot: self._record(
                one, sha256, facts, file_of(name)[1] or 0.0, int(details[frame.slot].get("scene", 0))
            )
            for name, frame in frames.items()
        }
        # A note of an earlier failure goes, and what another file of this name had.
        gone = [one.id] if video == one.id else [one.id, *self._known.get(one.id, {})]
        if video == one.id or video in self._gone:
            self._writer.write(Batch(updated=list(records.items()), gone=gone))
            if video != one.id:
                self._gone.discard(video)
                self.num_moved += len(records)
        else:
            vectors = self._writer.rows(np.array(sorted(records), dtype=np.int64))
            new = [(records[slot], vector) for slot, vector in zip(sorted(records), vectors, strict=True)]
            self._writer.write(Batch(new=new, gone=gone))

    def _embedded(self, one: Found, engine: "Engine", batch_size: int) -> Iterator[tuple[Frame, Halves]]:
        """Frames with their vectors; frames are decoded while the model runs on those before."""
        batches = _Batches(read_frames(one.path, self._sampling, engine.image_size), engine, batch_size)
        with computed_ahead(
            batches, lambda batch: (batch[0], engine.embed_pixels(np.stack(batch[1])))
        ) as computed:
            for frames, vectors in computed:
                yield from zip(frames, vectors.astype(np.float16), strict=True)
        if batches.trouble is not None:
            raise batches.trouble

    def _record(self, one: Found, sha256: bytes, facts: PictureFacts, second: float, scene: int) -> Record:
        columns = self._captions.get(one.id, {})
        details = {"second": round(second, 3), "scene": scene, "frames": self._sampling.name}
        taken = None if facts.taken is None else facts.taken + int(second)
        return Record(
            id=frame_id(one.id, second),
            sha256=sha256,
            size_bytes=one.size_bytes,
            mtime_ns=one.mtime_ns,
            said=self._said(one),
            facts=replace(facts, taken=taken),
            columns={**columns, "details": {**columns.get("details", {}), **details}},
        )

    def _fail(self, one: Found, reason: str) -> None:
        """Note a video that gave nothing; frames that it had before are no more."""
        self.skipped.append(Skipped(path=one.path, reason=reason))
        gone = list(self._known.get(one.id, {}))
        self.num_removed += len(gone)
        self._writer.write(Batch(gone=gone, failed=[self._row(one, reason)]))

    def _note(self, one: Found, reason: str, *, is_skipped: bool = True) -> None:
        """Note a video that is not opened; frames that it had before stay."""
        if is_skipped:
            self.skipped.append(Skipped(path=one.path, reason=reason))
        row = self._row(one, reason)
        if self._failures.get(one.id) != row[1:]:
            self._noted.append(row)

    def _row(self, one: Found, reason: str) -> tuple[str, int, int, str]:
        return (one.id, one.size_bytes, one.mtime_ns, shown(Path(reason)))


class _Batches:
    """Frames in batches with the squares that the model reads; keeps what ended them too early."""

    def __init__(self, frames: Iterator[Frame], engine: "Engine", batch_size: int) -> None:
        self.trouble: CutOffError | None = None
        self._frames = frames
        self._engine = engine
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[tuple[list[Frame], list[Pixels]]]:
        some: list[Frame] = []
        squares: list[Pixels] = []
        try:
            for frame in self._frames:
                squares.append(self._engine.prepare_image(frame.pixels))
                some.append(replace(frame, pixels=squares[-1]))
                if len(some) == self._batch_size:
                    yield some, squares
                    some, squares = [], []
        except CutOffError as error:
            self.trouble = error
        if some:
            yield some, squares
