"""Ask an index with words or with a picture, and be honest about the answer.

There is always a nearest picture, also when nothing in the index fits. So a result says whether
its best hit is relevant: whether its score reaches what `relevance.py` measured for this index.
"""

from dataclasses import dataclass
from typing import Any, Literal

from clipworks.errors import ConfigError, DataError, InputError
from clipworks.model.engine import Engine
from clipworks.model.preprocess import ImageInput
from clipworks.search.store import Hit, Vectors, VectorStore

QueryKind = Literal["text", "image"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The answer to one query."""

    hits: tuple[Hit, ...]
    """Nearest first; there whether relevant or not."""
    threshold: float | None
    """Cosine from which on a hit counts as found; None where none could be measured."""

    @property
    def is_relevant(self) -> bool:
        """Whether the best hit counts as found."""
        return bool(self.hits) and self.counts(self.hits[0])

    @property
    def good(self) -> tuple[Hit, ...]:
        """The hits that count as found; scores fall, so they stand in front."""
        return tuple(hit for hit in self.hits if self.counts(hit))

    def counts(self, hit: Hit) -> bool:
        """Whether this hit reaches the threshold (or there is none)."""
        return self.threshold is None or hit.score >= self.threshold

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary: is_relevant, threshold, hits."""
        hits = [hit.to_json() for hit in self.hits]
        return {"is_relevant": self.is_relevant, "threshold": self.threshold, "hits": hits}


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
    pixels = engine.prepare_image(image, "the query")
    return search_vector(store, engine.embed_pixels(pixels[None])[0], "image", limit)


def search_vector(store: VectorStore, vector: Vectors, kind: QueryKind, limit: int) -> Result:
    """The pictures of an index nearest to a vector.

    Args:
        store: the index.
        vector: float32 [store.dim], unit length, by the checkpoint that made the index.
        kind: what the vector was made from; texts and pictures have thresholds of their own.
        limit: how many hits, at least 1.

    Raises:
        ConfigError: limit below 1, or a vector of another length.
    """
    relevance = store.relevance
    threshold = relevance.text_threshold if kind == "text" else relevance.image_threshold
    return Result(hits=tuple(store.query(vector, limit)), threshold=threshold)


def _text_vector(engine: Engine, text: str) -> Vectors:
    if not text.strip():
        raise InputError("The search text is empty.", "Say what to look for.")
    vector: Vectors = engine.embed_texts([text])[0]
    return vector
