"""Many pictures and texts through the model, where one bad item hurts no other.

Decoding runs in threads, two batches ahead of the model. Used by `build.py` and `vectors_file.py`,
and by the command `classify`.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path

from clipworks.errors import InputError
from clipworks.model.bicubic import WORTH_COMPILING
from clipworks.model.engine import Engine
from clipworks.model.pipeline import Pixels, computed_ahead, prepared_batches, require_batch_size, stacked
from clipworks.model.tokenizer import MAX_TEXT_CHARS
from clipworks.search.entries import Entry
from clipworks.search.store import Vectors


@dataclass(frozen=True, kw_only=True, slots=True)
class _Batch:
    """Entries of one kind that go through the model together."""

    entries: list[Entry]
    is_last: bool
    """Of its group."""


def embed_files(
    engine: Engine, paths: Sequence[Path], *, batch_size: int = 32
) -> Iterator[tuple[Path, Vectors | InputError]]:
    """Embed picture files one batch after the other.

    Args:
        engine: decodes and embeds.
        paths: files, in any number; each is opened only when its turn comes.
        batch_size: pictures per forward pass, 1..1024.

    Yields:
        Each path in order, with its float32 [D] vector of unit length, or with the error that
        says why that file cannot be used.

    Raises:
        ConfigError: batch_size out of range.
    """
    entries = (Entry(kind="image", name=str(path), file=str(path)) for path in paths)
    groups = embed_groups(engine, _cut(entries, batch_size), batch_size=batch_size)
    yield from zip(paths, (result for group in groups for result in group), strict=True)


def embed_groups(
    engine: Engine, groups: Iterable[Sequence[Entry]], *, batch_size: int = 32
) -> Iterator[list[Vectors | InputError]]:
    """Embed groups of entries; no batch reaches over the end of a group.

    What a group gives thus depends on that group alone, while decoding runs ahead into the next one.

    Args:
        engine: decodes and embeds.
        groups: entries in any number, taken when their turn comes; texts next to each other in a
            group are embedded together.
        batch_size: pictures per forward pass, 1..1024.

    Yields:
        For each group, in order, a float32 [D] vector of unit length per entry, or the error that
        says why that entry cannot be used.

    Raises:
        ConfigError: batch_size out of range.
    """
    require_batch_size(batch_size)
    waiting: deque[_Batch] = deque()
    numbers = count()

    def pictures() -> Iterator[list[Entry]]:
        for batch in (batch for group in groups for batch in _batches(group, batch_size)):
            waiting.append(batch)
            yield [entry for entry in batch.entries if entry.kind == "image"]

    results: list[Vectors | InputError] = []
    with (
        prepared_batches(
            pictures(), lambda entry: _decode(engine, entry, next(numbers) >= WORTH_COMPILING)
        ) as prepared,
        computed_ahead(
            ((waiting.popleft(), pixels) for pixels in prepared),
            lambda job: (job[0].is_last, _embed_batch(engine, *job)),
        ) as computed,
    ):
        for is_last, vectors in computed:
            results += vectors
            if is_last:
                yield results
                results = []


def _batches(group: Sequence[Entry], batch_size: int) -> Iterator[_Batch]:
    """A group in batches of one kind; at least one, if an empty one."""
    runs = [(kind, list(run)) for kind, run in groupby(group, key=lambda entry: entry.kind)]
    batches = [b for kind, run in runs for b in _cut(run, batch_size if kind == "image" else len(run))]
    for number, entries in enumerate(batches or [[]], start=1):
        yield _Batch(entries=entries, is_last=number >= len(batches))


def _decode(engine: Engine, entry: Entry, compiled: bool) -> Pixels:
    if entry.offset < 0:
        return engine.prepare_image(Path(entry.file), entry.name, compiled=compiled)
    try:
        with open(entry.file, "rb") as file:
            file.seek(entry.offset)
            content = file.read(entry.size_bytes)
    except OSError as error:
        raise InputError(f"{entry.name} cannot be read: {error.strerror}.", code="not_found") from error
    return engine.prepare_image(content, entry.name, compiled=compiled)


def _embed_batch(
    engine: Engine, batch: _Batch, pixels: Sequence[Pixels | InputError]
) -> list[Vectors | InputError]:
    if not pixels:
        return _embed_texts(engine, [entry.name for entry in batch.entries])
    squares = [one for one in pixels if not isinstance(one, InputError)]
    vectors = iter(engine.embed_pixels(stacked(squares)) if squares else ())
    return [one if isinstance(one, InputError) else next(vectors) for one in pixels]


def _embed_texts(engine: Engine, texts: list[str]) -> list[Vectors | InputError]:
    good = [text for text in texts if len(text) <= MAX_TEXT_CHARS]
    vectors = iter(engine.embed_texts(good) if good else ())
    return [next(vectors) if len(text) <= MAX_TEXT_CHARS else _too_long(text) for text in texts]


def _too_long(text: str) -> InputError:
    return InputError(
        f"The text {text[:40]!r} ... has {len(text):,} characters; the limit is {MAX_TEXT_CHARS:,}.",
        "Shorten it; a model reads the first few dozen words.",
    )


def _cut(entries: Iterable[Entry], size: int) -> Iterator[list[Entry]]:
    """Neighbours, `size` at a time; the last ones may be fewer."""
    some: list[Entry] = []
    for entry in entries:
        some.append(entry)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
