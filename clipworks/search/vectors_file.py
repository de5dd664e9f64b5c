"""Pictures and texts in any number -> one file of vectors, in bounded memory, resumed after a crash.

The input is cut into parts of 256 pictures or 4,096 texts; a part is embedded by itself and kept in
`OUT.parts/` (see `parts.py`), so a run that was killed goes on with the next part and ends with the same
bytes. The file is then put together part by part. Called by `clipworks embed`.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from clipworks.errors import ConfigError, DataError, InputError
from clipworks.model.engine import Engine
from clipworks.model.pipeline import require_batch_size
from clipworks.search.bulk import embed_groups
from clipworks.search.entries import Entry, Failure, read_entries
from clipworks.search.parts import Dtype, Header, Parts, Rows, open_parts, writing
from clipworks.search.store import Vectors

PICTURES_PER_PART = 256
TEXTS_PER_PART = 4096

Writer = Callable[[IO[bytes], Parts], None]
"""`npz.write_npz` or `parquet.write_parquet`: puts a file together from its parts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedReport:
    """What a run did; the counts are rows of the file."""

    images: int
    """Vectors of pictures."""
    texts: int
    """Vectors of texts."""
    failed: int
    """Entries and names without a vector."""
    reused: int
    """Vectors taken from a run that was interrupted."""
    failed_file: Path | None
    """Where the failures are listed, one JSON object a line; None without any."""


def embed_into(
    out: Path,
    sources: Sequence[Path],
    engine: Engine,
    *,
    write: Writer,
    dtype: Dtype = "f32",
    batch_size: int = 32,
    on_progress: Callable[[int], None] | None = None,
    on_failure: Callable[[Failure], None] | None = None,
) -> EmbedReport:
    """Embed everything behind some names and write one file, or finish a run that was interrupted.

    Args:
        out: the file; it appears whole or not at all. While the run lasts, `OUT.parts/` lies beside it.
        sources: pictures, folders, globs, tar shards and captions files, as in `entries.read_entries`.
        engine: makes the vectors.
        write: puts the file together.
        dtype: how the numbers are stored; f16 halves the file and is exact to 5e-4 per number.
        batch_size: pictures per forward pass, 1..1024.
        on_progress: called with the number of entries done, failures included.
        on_failure: called for each entry or name that gives no vector, also for those of the run before.

    Returns:
        Counts, and where failures are listed: `OUT.failed.jsonl`, with `item` and `reason` a line.

    Raises:
        ConfigError: batch_size out of range, `out` is a folder, or `OUT.parts/` was begun by another
            model or with other settings.
        DataError: nothing could be embedded, another process writes the same file, or it cannot be
            written.
    """
    require_batch_size(batch_size)
    if out.is_dir():
        raise ConfigError(f"{out} is a folder.", "Name a file.")
    header = _header(engine, dtype, batch_size)
    with open_parts(out.with_name(f"{out.name}.parts"), header) as parts:
        job = _Job(parts, on_progress, on_failure)
        job.run(read_entries(sources), engine)
        failed_file = _write_failures(out, parts) if job.num_failed else None
        if job.num_images + job.num_texts:
            with writing(out) as file:
                write(file, parts)
    if not job.num_images + job.num_texts:
        raise DataError(f"Nothing was embedded; {job.num_failed:,} failed.")
    if failed_file is None:
        _failed_file(out).unlink(missing_ok=True)
    return EmbedReport(
        images=job.num_images,
        texts=job.num_texts,
        failed=job.num_failed,
        reused=job.num_reused,
        failed_file=failed_file,
    )


class _Job:
    """The loop over all parts, and its counts."""

    def __init__(
        self,
        parts: Parts,
        on_progress: Callable[[int], None] | None,
        on_failure: Callable[[Failure], None] | None,
    ) -> None:
        self.num_images = self.num_texts = self.num_failed = self.num_reused = 0
        self._parts = parts
        self._on_progress = on_progress
        self._on_failure = on_failure
        self._begun: deque[tuple[int, str, list[Entry | Failure]]] = deque()

    def run(self, entries: Iterable[Entry | Failure], engine: Engine) -> None:
        todo = self._todo(_split(entries))
        for results in embed_groups(engine, todo, batch_size=self._parts.header.batch_size):
            number, digest, members = self._begun.popleft()
            rows, vectors = _join(digest, members, results)
            self._parts.write(number, rows, vectors)
            self._count(rows)

    def _todo(self, groups: Iterable[list[Entry | Failure]]) -> Iterator[list[Entry]]:
        """The entries of each part that is not there yet; counts those that are."""
        for number, members in enumerate(groups):
            self._parts.num_parts = number + 1
            digest = _digest(members)
            rows = self._parts.find(number, digest)
            if rows is None:
                self._begun.append((number, digest, members))
                yield [member for member in members if isinstance(member, Entry)]
            else:
                self.num_reused += len(rows.items)
                self._count(rows)

    def _count(self, rows: Rows) -> None:
        num_images = rows.kinds.count("image")
        self.num_images += num_images
        self.num_texts += len(rows.kinds) - num_images
        self.num_failed += len(rows.failures)
        if self._on_failure is not None:
            for failure in rows.failures:
                self._on_failure(failure)
        if self._on_progress is not None:
            self._on_progress(self.num_images + self.num_texts + self.num_failed)


def _header(engine: Engine, dtype: Dtype, batch_size: int) -> Header:
    return Header(
        model=engine.name,
        fingerprint=engine.fingerprint,
        precision=engine.precision,
        preprocess=engine.preprocess,
        dim=engine.dim,
        dtype=dtype,
        batch_size=batch_size,
    )


def _split(entries: Iterable[Entry | Failure]) -> Iterator[list[Entry | Failure]]:
    """Cut the input into parts; where, depends on nothing but the entries before."""
    members: list[Entry | Failure] = []
    share = 0.0
    for entry in entries:
        members.append(entry)
        is_picture = isinstance(entry, Entry) and entry.kind == "image"
        share += 1 / (PICTURES_PER_PART if is_picture else TEXTS_PER_PART)
        if share >= 1 - 1e-9:
            yield members
            members, share = [], 0.0
    if members:
        yield members


def _digest(members: list[Entry | Failure]) -> str:
    return hashlib.sha256("\n".join(map(repr, members)).encode(errors="surrogatepass")).hexdigest()


def _join(
    digest: str, members: list[Entry | Failure], results: list[Vectors | InputError]
) -> tuple[Rows, list[Vectors]]:
    """Sort the members of a part into rows with their vectors and failures."""
    found = iter(results)
    kept: list[Entry] = []
    vectors: list[Vectors] = []
    failures: list[Failure] = []
    for member in members:
        if isinstance(member, Failure):
            failures.append(_sound(member))
        elif isinstance(result := next(found), InputError):
            failures.append(_sound(Failure(name=member.name, reason=str(result))))
        else:
            kept.append(member)
            vectors.append(result)
    items = [_in_utf8(entry.name) for entry in kept]
    kinds = [entry.kind for entry in kept]
    return Rows(digest=digest, items=items, kinds=kinds, failures=failures), vectors


def _sound(failure: Failure) -> Failure:
    return Failure(name=_in_utf8(failure.name), reason=_in_utf8(failure.reason))


def _in_utf8(text: str) -> str:
    """File names and JSON may hold halves of characters, which no file format takes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _failed_file(out: Path) -> Path:
    return out.with_name(f"{out.name}.failed.jsonl")


def _write_failures(out: Path, parts: Parts) -> Path:
    with writing(_failed_file(out)) as file:
        for rows in parts.rows():
            for failure in rows.failures:
                row = {"item": failure.name, "reason": failure.reason}
                file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
    return _failed_file(out)
