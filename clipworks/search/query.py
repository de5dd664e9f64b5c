"""Ask an index with words or with a picture, and be honest about the answer.

There is always a nearest picture, also when nothing in the index fits. So a result says whether
its best hit is relevant: whether its score reaches what `relevance.py` measured for this index.
"""

from pathlib import Path

from clipworks.errors import ConfigError, DataError, InputError
from clipworks.model.engine import Engine
from clipworks.model.preprocess import ImageInput
from clipworks.search.store import Result, Vectors, VectorStore, search_vector


def search(
    store: VectorStore,
    engine: Engine,
    *,
    text: str | None = None,
    image: ImageInput | None = None,
    limit: int = 10,
) -> Result:
    """The pictures of an index nearest to a text or to a picture.

    Args:
        store: the index.
        engine: the checkpoint that made the index.
        text: what to look for, in words; this or `image`.
        image: a picture to find similar ones to; this or `text`.
        limit: how many hits, 1..1000.

    Raises:
        ConfigError: both or neither of text and image, or limit out of range.
        InputError: the text is blank or the picture cannot be read.
        DataError: the index was made by another checkpoint.
    """
    if (text is None) == (image is None):
        raise ConfigError("A search needs either a text or a picture.", "Give one of the two.")
    if not 1 <= limit <= 1000:
        raise ConfigError(f"limit is {limit}; it must be 1..1000.")
    if store.fingerprint != engine.fingerprint:
        raise DataError(
            f"The index was made by the checkpoint {store.fingerprint[:12]}, "
            f"not by {engine.name} ({engine.fingerprint[:12]}).",
            "Search with the model that made it, or build it anew with `clipworks index`.",
        )
    if text is not None:
        return search_vector(store, _text_vector(engine, text), "text", limit)
    assert image is not None
    pixels = engine.prepare_image(image, "" if isinstance(image, str | Path) else "the query")
    return search_vector(store, engine.embed_pixels(pixels[None])[0], "image", limit)


def _text_vector(engine: Engine, text: str) -> Vectors:
    if not text.strip():
        raise InputError("The search text is empty.", "Say what to look for.")
    vector: Vectors = engine.embed_texts([text])[0]
    return vector
