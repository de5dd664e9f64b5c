"""Both towers over everything that a run needs and the cache lacks: pictures of all tasks, then all prompts.

Batches run across shards and tasks. What is done is kept every few thousand items, so that an interrupted run
goes on where it was.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clipworks.errors import DataError, InputError
from clipworks.evaluate.pictures import Digests, Pictures, as_digests, digest_of
from clipworks.evaluate.store import Vectors, VectorStore
from clipworks.files import cache_folder
from clipworks.model.engine import Engine
from clipworks.model.heads import build_head
from clipworks.model.pipeline import computed_ahead, prepared_batches

BATCH = 64
PART = 4096
"""Vectors of one part of the store."""
_SECONDS_PER_PART = 60.0
_TEXTS_AT_ONCE = 8192

Show = Callable[[int, int, str], None]
"""Done, in all, of what."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stores:
    """What is kept of one model with one preprocessing and precision."""

    images: VectorStore
    """Unit vectors by the digest of a picture's bytes."""
    texts: VectorStore
    """Unit vectors by the digest of a class with its templates, or of a caption."""


def open_stores(engine: Engine) -> Stores:
    """The cache of a model: by its fingerprint, preprocessing and precision, never by its name."""
    words = f"{engine.fingerprint[:32]}-{engine.preprocess}-{engine.precision.replace('/', '+')}"
    folder = cache_folder() / "evaluation" / words
    return Stores(
        images=VectorStore(folder / "images", engine.dim), texts=VectorStore(folder / "texts", engine.dim)
    )


def embed_pictures(
    engine: Engine, store: VectorStore, shards: Iterable[Pictures], *, total: int, show: Show
) -> int:
    """Embed every picture that the store lacks, each once whatever number of tasks hold it.

    Args:
        engine: the model.
        store: of its pictures.
        shards: of all tasks, read one after the other.
        total: pictures in all, for the progress.
        show: told of pictures that are done, kept ones included.

    Returns:
        How many were embedded.

    Raises:
        DataError: a picture cannot be used; those before it are kept.
    """
    stream = _Stream(store, shards)
    kept = _Keeper(store, stream.pending)
    done = -1
    try:
        with (
            prepared_batches(stream.batches(), lambda item: _pixels(engine, item)) as prepared,
            computed_ahead(
                _checked(prepared), lambda pixels: engine.embed_pixels(np.stack(pixels))
            ) as computed,
        ):
            for vectors in computed:
                kept.put(stream.taken(len(vectors)), vectors)
                done = stream.num_known + kept.num_put
                show(done, total, "pictures")
    finally:
        kept.flush()
    if done < total:  # what was known came last
        show(total, total, "pictures")
    return kept.num_put


def head_of(engine: Engine, store: VectorStore, classes: Sequence[str], templates: Sequence[str]) -> Vectors:
    """One vector per class: each filled template embedded, the mean of them, of unit length again.

    Args:
        engine: the model.
        store: of its texts.
        classes: names, some perhaps equal: their rows are then equal to the last bit.
        templates: sentences with `{c}`.

    Returns:
        float32 [len(classes), D].
    """
    embed_classes(engine, store, [(classes, templates)])
    return store.read(as_digests([_class_digest(name, templates) for name in classes]))


def embed_classes(
    engine: Engine, store: VectorStore, heads: Iterable[tuple[Sequence[str], Sequence[str]]]
) -> int:
    """Embed the classes of several heads that the store lacks, prompts of all of them in large batches.

    Returns:
        How many classes were embedded.
    """
    wanted = {
        _class_digest(name, templates): (name, tuple(templates))
        for names, templates in heads
        for name in names
    }
    lacking = store.lacks(as_digests(list(wanted)))
    missing = [item for item, lacks in zip(wanted.items(), lacking, strict=True) if lacks]
    for group in _by_templates(missing):
        templates = [template.replace("{c}", "{}") for template in group[0][1][1]]
        vectors = build_head(
            lambda texts: _embed_distinct(engine, texts), [name for _, (name, _) in group], templates
        )
        store.add([digest for digest, _ in group], vectors)
    return len(missing)


def captions_of(engine: Engine, store: VectorStore, captions: Sequence[str], show: Show) -> Vectors:
    """The vectors of captions, each text embedded once; float32 [len(captions), D]."""
    digests = [digest_of(b"caption\0" + caption.encode("utf-8", "surrogatepass")) for caption in captions]
    wanted = dict(zip(digests, captions, strict=True))
    lacking = store.lacks(as_digests(list(wanted)))
    missing = [item for item, lacks in zip(wanted.items(), lacking, strict=True) if lacks]
    for start in range(0, len(missing), _TEXTS_AT_ONCE):
        some = missing[start : start + _TEXTS_AT_ONCE]
        store.add([digest for digest, _ in some], engine.embed_texts([text for _, text in some]))
        show(min(start + _TEXTS_AT_ONCE, len(missing)), len(missing), "captions")
    return store.read(as_digests(digests))


def _class_digest(name: str, templates: Sequence[str]) -> bytes:
    return digest_of(json.dumps([name, list(templates)], ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _by_templates(
    missing: Sequence[tuple[bytes, tuple[str, tuple[str, ...]]]],
) -> Iterator[list[tuple[bytes, tuple[str, tuple[str, ...]]]]]:
    groups: dict[tuple[str, ...], list[tuple[bytes, tuple[str, tuple[str, ...]]]]] = {}
    for item in missing:
        groups.setdefault(item[1][1], []).append(item)
    yield from groups.values()


def _embed_distinct(engine: Engine, texts: list[str]) -> Vectors:
    """Equal texts once: templates of several tasks share sentences."""
    distinct = list(dict.fromkeys(texts))
    numbers = {text: number for number, text in enumerate(distinct)}
    vectors = engine.embed_texts(distinct, batch_size=2 * BATCH)
    return vectors[[numbers[text] for text in texts]]


Item = tuple[bytes, str, bytes]
"""Digest, name for messages, encoded picture."""


class _Stream:
    """Pictures that the store lacks, in batches; remembers which went by."""

    def __init__(self, store: VectorStore, shards: Iterable[Pictures]) -> None:
        self._store = store
        self._shards = shards
        self._queue: list[bytes] = []
        self.pending: set[bytes] = set()
        self.num_known = 0

    def batches(self) -> Iterator[list[Item]]:
        """Lists of at most BATCH pictures."""
        batch: list[Item] = []
        for shard in self._shards:
            rows = []
            lacking = self._store.lacks(shard.digests)
            digests = _bytes_of(shard.digests)
            for row, digest in enumerate(digests):
                if lacking[row] and digest not in self.pending:
                    rows.append(row)
                    self.pending.add(digest)
            self.num_known += len(shard) - len(rows)
            for row, data in zip(rows, shard.read(rows), strict=True):
                batch.append((digests[row], f"{shard.keys[row]} in {shard.path}", data))
                if len(batch) == BATCH:
                    self._queue += [digest for digest, _, _ in batch]
                    yield batch
                    batch = []
        if batch:
            self._queue += [digest for digest, _, _ in batch]
            yield batch

    def taken(self, count: int) -> list[bytes]:
        """The digests of the next `count` pictures."""
        some, self._queue = self._queue[:count], self._queue[count:]
        return some


class _Keeper:
    """Collects vectors and keeps them in parts."""

    def __init__(self, store: VectorStore, pending: set[bytes]) -> None:
        self._store = store
        self._pending = pending
        self._digests: list[bytes] = []
        self._vectors: list[Vectors] = []
        self._since = time.monotonic()
        self.num_put = 0

    def put(self, digests: Sequence[bytes], vectors: Vectors) -> None:
        """Take a batch."""
        self._digests += digests
        self._vectors.append(vectors)
        self.num_put += len(digests)
        if len(self._digests) >= PART or time.monotonic() - self._since > _SECONDS_PER_PART:
            self.flush()

    def flush(self) -> None:
        """Keep what is here."""
        if self._digests:
            self._store.add(self._digests, np.concatenate(self._vectors))
            self._pending.difference_update(self._digests)
        self._digests, self._vectors, self._since = [], [], time.monotonic()


def _bytes_of(digests: Digests) -> list[bytes]:
    data = digests.tobytes()  # as it is: numpy's own items lose zeros at their ends
    return [data[at : at + 16] for at in range(0, len(data), 16)]


def _pixels(engine: Engine, item: Item) -> NDArray[np.uint8]:
    return engine.prepare_image(item[2], item[1], compiled=True)


def _checked(batches: Iterable[list[NDArray[np.uint8] | InputError]]) -> Iterator[list[NDArray[np.uint8]]]:
    for batch in batches:
        for pixels in batch:
            if isinstance(pixels, InputError):
                raise DataError(
                    f"A picture cannot be used: {pixels.message}", "Nothing was counted; copy the data again."
                ) from pixels
        yield [pixels for pixels in batch if not isinstance(pixels, InputError)]
