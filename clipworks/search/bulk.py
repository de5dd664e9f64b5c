"""Many picture files through the model, where one bad file hurts no other.

Decoding runs in threads, two batches ahead of the model. Used by `build.py` and by the commands
`embed` and `classify`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from clipworks.errors import ConfigError, InputError
from clipworks.model.engine import Engine
from clipworks.model.pipeline import Pixels, prepared_batches, stacked
from clipworks.search.store import Vectors


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
    with prepared_batches(
        paths, lambda path: engine.prepare_image(path, str(path)), batch_size=batch_size
    ) as batches:
        for number, batch in enumerate(batches):
            first = number * batch_size
            yield from zip(paths[first : first + batch_size], _embed_batch(engine, batch), strict=True)


def _embed_batch(engine: Engine, batch: Sequence[Pixels | InputError]) -> Iterator[Vectors | InputError]:
    squares = [pixels for pixels in batch if not isinstance(pixels, InputError)]
    vectors = iter(engine.embed_pixels(stacked(squares)) if squares else ())
    for pixels in batch:
        yield pixels if isinstance(pixels, InputError) else next(vectors)
