"""Pictures to index: embed what is new or changed, drop what is gone, keep the rest.

A picture counts as unchanged when size and time of change are the same, or else when its bytes
are (a renamed or copied file is not embedded again). Vectors made so far are kept in `parts/`
below the index folder while a build runs, so an interrupted build goes on where it stopped.
One bad file is reported and skipped. An index made by another checkpoint is refused.
"""

import glob
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipworks.errors import ConfigError, DataError, InputError
from clipworks.files import MANIFEST, atomic_write, sha256_file
from clipworks.model.engine import Engine
from clipworks.search.bulk import embed_files
from clipworks.search.embedded import EmbeddedStore, FileStamp, IndexHeader, open_index, write_index
from clipworks.search.pictures import find_pictures, read_captions
from clipworks.search.relevance import measure
from clipworks.search.store import Item, Vectors

PARTS = "parts"
_PICTURES_PER_PART = 256

Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all) after each picture."""


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
    """Taken from the index before it, or from an interrupted build."""
    removed: int
    """Were in the index before and are gone or unreadable now."""
    skipped: tuple[Skipped, ...]
    """Files left out, with reasons."""
    seconds: float
    """Time of the whole build."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    id: str
    path: Path
    stamp: FileStamp


def build_index(
    source: Path,
    out: Path,
    engine: Engine,
    *,
    model: str = "",
    batch_size: int = 32,
    on_progress: Progress | None = None,
) -> BuildReport:
    """Build the index of a folder, glob or file, or bring an index up to date.

    Args:
        source: a folder (searched with everything below it), a glob pattern, or one picture.
        out: the index folder; may lie inside `source`, where a hidden name keeps it out of it.
        engine: makes the vectors; must be the checkpoint of the index that is there already.
        model: what `clipworks.load` takes to load the engine's checkpoint again; its name by default.
        batch_size: pictures per forward pass, 1..1024.
        on_progress: called after each picture.

    Returns:
        Counts and the files skipped.

    Raises:
        ConfigError: batch_size out of range, or an index of another checkpoint is in the way.
        InputError: source does not exist or holds no pictures.
        DataError: not one picture could be read, or `out` holds something else than an index.
    """
    if not 1 <= batch_size <= 1024:
        raise ConfigError(f"batch_size is {batch_size}; it must be 1..1024.")
    started = time.monotonic()
    root, paths = _root_of(source), find_pictures([source])
    ledger = _Ledger(out, engine)
    skipped: list[Skipped] = []
    candidates = _stamp_all(paths, root, ledger, skipped)
    fresh = [c for c in _distinct(candidates) if c.stamp.sha256 not in ledger.vectors]
    unreadable = _embed(fresh, engine, ledger, batch_size, on_progress)
    kept = [c for c in candidates if c.stamp.sha256 not in unreadable]
    bad = [c for c in candidates if c.stamp.sha256 in unreadable]
    skipped += [Skipped(path=c.path, reason=unreadable[c.stamp.sha256]) for c in bad]
    if not kept:
        first = f" The first: {skipped[0].path}: {skipped[0].reason}" if skipped else ""
        raise DataError(f"None of the {len(paths)} files in {source} could be used.{first}")
    _write(out, root, kept, ledger, engine, model or engine.name)
    ids = {c.id for c in kept}
    return BuildReport(
        out=out,
        count=len(kept),
        embedded=len(fresh) - len(unreadable),
        reused=len(kept) - len(fresh) + len(unreadable),
        removed=sum(item_id not in ids for item_id in ledger.stamps),
        skipped=tuple(skipped),
        seconds=time.monotonic() - started,
    )


class _Ledger:
    """Vectors that are known before a build, by the sha256 of the picture."""

    def __init__(self, out: Path, engine: Engine) -> None:
        self.vectors: dict[str, Vectors] = {}
        self.stamps: dict[str, FileStamp] = {}
        self.parts = out / PARTS
        self._engine = engine
        self._pending: list[tuple[str, Vectors]] = []
        self._num_parts = 0
        if (out / MANIFEST).exists():
            self._read_index(open_index(out))
        elif out.exists() and not self.parts.exists() and any(out.iterdir()):
            raise DataError(f"{out} holds other files and no index.", "Choose another folder with --out.")
        if self.parts.exists():
            self._read_parts()

    def keep(self, sha256: str, vector: Vectors) -> None:
        self.vectors[sha256] = vector
        self._pending.append((sha256, vector))

    def save(self) -> None:
        """Write what was added since the last call as one more part."""
        if not self._pending:
            return
        keys = np.array([sha256 for sha256, _ in self._pending])
        vectors = np.stack([vector for _, vector in self._pending])
        while (path := self.parts / f"{self._num_parts:05d}.npz").exists():
            self._num_parts += 1
        with atomic_write(path) as file:
            np.savez(file, fingerprint=np.array(self._engine.fingerprint), keys=keys, vectors=vectors)
        self._pending.clear()

    def _read_index(self, store: EmbeddedStore) -> None:
        self._check(store.fingerprint, store.folder)
        for (item, stamp), vector in zip(store.entries(), store.vectors, strict=True):
            self.stamps[item.id] = stamp
            self.vectors[stamp.sha256] = vector

    def _read_parts(self) -> None:
        for path in sorted(self.parts.glob("*.npz")):
            with np.load(path, allow_pickle=False) as part:
                self._check(str(part["fingerprint"]), self.parts.parent)
                self.vectors.update(zip(part["keys"].tolist(), part["vectors"], strict=True))

    def _check(self, fingerprint: str, folder: Path) -> None:
        if fingerprint != self._engine.fingerprint:
            raise ConfigError(
                f"The index {folder} was made by the checkpoint {fingerprint[:12]}, "
                f"not by {self._engine.name} ({self._engine.fingerprint[:12]}).",
                "Use that model, choose another folder with --out, or delete the index.",
            )


def _stamp_all(
    paths: Sequence[Path], root: Path, ledger: _Ledger, skipped: list[Skipped]
) -> list[_Candidate]:
    candidates = []
    for path in paths:
        item_id = Path(os.path.relpath(path, root)).as_posix()
        try:
            stamp = _stamp(path, ledger.stamps.get(item_id))
        except OSError as error:
            skipped.append(Skipped(path=path, reason=f"{path} cannot be read: {error.strerror}."))
            continue
        candidates.append(_Candidate(id=item_id, path=path, stamp=stamp))
    return candidates


def _stamp(path: Path, known: FileStamp | None) -> FileStamp:
    status = path.stat()
    size, mtime = status.st_size, status.st_mtime_ns
    same = known is not None and (known.size_bytes, known.mtime_ns) == (size, mtime)
    digest = known.sha256 if known is not None and same else sha256_file(path)
    return FileStamp(size_bytes=size, mtime_ns=mtime, sha256=digest)


def _distinct(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    return list({c.stamp.sha256: c for c in candidates}.values())


def _embed(
    fresh: Sequence[_Candidate],
    engine: Engine,
    ledger: _Ledger,
    batch_size: int,
    on_progress: Progress | None,
) -> dict[str, str]:
    """Embed pictures into the ledger; sha256 -> reason of those that cannot be read."""
    unreadable: dict[str, str] = {}
    results = embed_files(engine, [c.path for c in fresh], batch_size=batch_size)
    try:
        for done, (candidate, (_, result)) in enumerate(zip(fresh, results, strict=True), start=1):
            if isinstance(result, InputError):
                unreadable[candidate.stamp.sha256] = str(result)
            else:
                ledger.keep(candidate.stamp.sha256, result)
            if done % _PICTURES_PER_PART == 0:
                ledger.save()
            if on_progress is not None:
                on_progress(done, len(fresh))
    finally:
        ledger.save()
    return unreadable


def _write(
    out: Path, root: Path, kept: Sequence[_Candidate], ledger: _Ledger, engine: Engine, model: str
) -> None:
    captions = read_captions(root)
    entries = [(_item(c, captions.get(c.id, {})), c.stamp) for c in kept]
    vectors = np.stack([ledger.vectors[c.stamp.sha256] for c in kept]).astype(np.float32)
    header = IndexHeader(
        model=model,
        fingerprint=engine.fingerprint,
        precision=engine.precision,
        dim=engine.dim,
        root=_root_from(out, root),
        relevance=measure(engine, vectors),
    )
    write_index(out, header, entries, vectors)
    shutil.rmtree(ledger.parts, ignore_errors=True)


def _item(candidate: _Candidate, columns: dict[str, Any]) -> Item:
    return Item(id=candidate.id, path=str(candidate.path), **columns)


def _root_of(source: Path) -> Path:
    """The folder that ids are relative to: the source itself, or what stands before a pattern."""
    if source.is_dir():
        return source
    parent = source.parent
    while glob.has_magic(str(parent)):
        parent = parent.parent
    return parent


def _root_from(out: Path, root: Path) -> str:
    try:
        return Path(os.path.relpath(root, out)).as_posix()
    except ValueError:  # another drive on Windows
        return str(root.resolve())
