"""Pictures to index: embed what is new or changed, drop what is gone, keep the rest.

A picture counts as unchanged when size and time of change are the same, or else when its bytes
are (a renamed or copied file is not embedded again). Vectors made so far are kept in `parts/`
below the index folder while a build runs, so an interrupted build goes on where it stopped, and an
index that was there stays readable meanwhile. Vectors made in another precision or from other
pixels are made anew. One bad file is reported and skipped. An index made by another checkpoint is
refused.
"""

import glob
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipworks.errors import ConfigError, DataError, InputError
from clipworks.files import MANIFEST, atomic_write
from clipworks.model.engine import Engine
from clipworks.model.pipeline import require_batch_size
from clipworks.search.bulk import embed_files
from clipworks.search.embedded import (
    EmbeddedStore,
    FileStamp,
    IndexHeader,
    open_index,
    stamp_of,
    write_index,
)
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
        DataError: not one picture could be read, the captions file is wrong, or `out` cannot be
            written or holds something else than an index.
    """
    require_batch_size(batch_size)
    started = time.monotonic()
    root, paths = _root_of(source), find_pictures([source])
    captions = read_captions(root)
    _require_writable(out)
    ledger = _Ledger(out, engine)
    skipped: list[Skipped] = []
    candidates = _stamp_all(paths, root, ledger, skipped)
    fresh = [c for c in _distinct(candidates) if c.stamp.sha256 not in ledger.vectors]
    unreadable = _embed(fresh, engine, ledger, batch_size, on_progress)
    kept = [c for c in candidates if c.stamp.sha256 not in unreadable]
    bad = [c for c in candidates if c.stamp.sha256 in unreadable]
    skipped += [Skipped(path=c.path, reason=unreadable[c.stamp.sha256]) for c in bad]
    if not kept:
        first = f" The first: {skipped[0].reason}" if skipped else ""
        raise DataError(f"None of the {len(paths)} files in {source} could be used.{first}")
    entries = [(_item(c, captions.get(c.id, {})), c.stamp) for c in kept]
    _write(out, root, entries, ledger, engine, model or engine.name)
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
    """Vectors that are known and as this engine would make them, by the sha256 of the picture."""

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
        engine = self._engine
        with _write_errors_named(self.parts.parent), atomic_write(path) as file:
            np.savez(
                file,
                fingerprint=np.array(engine.fingerprint),
                precision=np.array(engine.precision),
                preprocess=np.array(engine.preprocess),
                keys=keys,
                vectors=vectors,
            )
        self._pending.clear()

    def _read_index(self, store: EmbeddedStore) -> None:
        is_alike = self._is_alike(asdict(store.header), store.folder)
        for (item, stamp), vector in zip(store.entries(), store.vectors, strict=True):
            self.stamps[item.id] = stamp
            if is_alike:
                self.vectors[stamp.sha256] = vector

    def _read_parts(self) -> None:
        for path in sorted(self.parts.glob("*.npz")):
            with np.load(path, allow_pickle=False) as part:
                if self._is_alike(part, self.parts.parent):
                    self.vectors.update(zip(part["keys"].tolist(), part["vectors"], strict=True))

    def _is_alike(self, said: Mapping[str, Any], folder: Path) -> bool:
        """Whether vectors, of which a header or a part says this, are as the engine would make them."""
        fingerprint = str(said["fingerprint"])
        if fingerprint != self._engine.fingerprint:
            raise ConfigError(
                f"The index {folder} was made by the checkpoint {fingerprint[:12]}, "
                f"not by {self._engine.name} ({self._engine.fingerprint[:12]}).",
                "Use that model, choose another folder with --out, or delete the index.",
            )
        made = (str(said.get("precision", "")), str(said.get("preprocess", "")))
        return made == (self._engine.precision, self._engine.preprocess)


def _require_writable(out: Path) -> None:
    """Find out before the work that its result can be kept."""
    with _write_errors_named(out):
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()


@contextmanager
def _write_errors_named(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"The index {_shown(out)} cannot be written: {error.strerror or error}.",
            "Choose another folder with --out.",
        ) from error


def _stamp_all(
    paths: Sequence[Path], root: Path, ledger: _Ledger, skipped: list[Skipped]
) -> list[_Candidate]:
    candidates = []
    for path in paths:
        item_id = Path(os.path.relpath(path, root)).as_posix()
        try:
            item_id.encode()
            stamp = stamp_of(path, ledger.stamps.get(item_id))
        except UnicodeEncodeError:
            skipped.append(Skipped(path=path, reason=f"The name of {_shown(path)} is not UTF-8; rename it."))
            continue
        except OSError as error:
            skipped.append(Skipped(path=path, reason=f"{path} cannot be read: {error.strerror}."))
            continue
        candidates.append(_Candidate(id=item_id, path=path, stamp=stamp))
    return candidates


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
    out: Path,
    root: Path,
    entries: Sequence[tuple[Item, FileStamp]],
    ledger: _Ledger,
    engine: Engine,
    model: str,
) -> None:
    vectors = np.stack([ledger.vectors[stamp.sha256] for _, stamp in entries]).astype(np.float32)
    header = IndexHeader(
        model=model,
        fingerprint=engine.fingerprint,
        precision=engine.precision,
        preprocess=engine.preprocess,
        dim=engine.dim,
        root=_root_from(out, root),
        relevance=measure(engine, vectors),
    )
    with _write_errors_named(out):
        write_index(out, header, entries, vectors)
    shutil.rmtree(ledger.parts, ignore_errors=True)


def _item(candidate: _Candidate, columns: dict[str, Any]) -> Item:
    return Item(id=candidate.id, path=str(candidate.path), **columns)


def _shown(path: Path) -> str:
    """A path for people: bytes that are not UTF-8 as `\\xe9`."""
    return os.fsencode(path).decode(errors="backslashreplace")


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
