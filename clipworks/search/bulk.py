"""Many picture files through the model, where one bad file hurts no other.

Decoding runs in threads, one batch ahead of the model. Used by `build.py` and by the commands
`embed` and `classify`.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clipworks.errors import ConfigError, InputError
from clipworks.model.engine import Engine
from clipworks.search.store import Vectors

_DECODERS = 4
_BATCHES_AHEAD = 2

_Pixels = npt.NDArray[np.uint8]
_Decoded = list[tuple[Path, "Future[_Pixels]"]]


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
    if not 1 <= batch_size <= 1024:
        raise ConfigError(f"batch_size is {batch_size}; it must be 1..1024.")
    with ThreadPoolExecutor(_DECODERS) as pool:
        try:
            for batch in _decode_ahead(pool, engine, paths, batch_size):
                yield from _embed_batch(engine, batch)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _decode_ahead(
    pool: ThreadPoolExecutor, engine: Engine, paths: Sequence[Path], batch_size: int
) -> Iterator[_Decoded]:
    waiting: deque[_Decoded] = deque()
    for start in range(0, len(paths), batch_size):
        batch = paths[start : start + batch_size]
        waiting.append([(path, pool.submit(engine.prepare_image, path, str(path))) for path in batch])
        if len(waiting) > _BATCHES_AHEAD:
            yield waiting.popleft()
    yield from waiting


def _embed_batch(engine: Engine, batch: _Decoded) -> Iterator[tuple[Path, Vectors | InputError]]:
    results: dict[int, Vectors | InputError] = {}
    pixels: dict[int, _Pixels] = {}
    for place, (_, future) in enumerate(batch):
        try:
            pixels[place] = future.result()
        except InputError as error:
            results[place] = error
    if pixels:
        vectors = engine.embed_pixels(np.stack(list(pixels.values())))
        results.update(zip(pixels, vectors, strict=True))
    for place, (path, _) in enumerate(batch):
        yield path, results[place]
