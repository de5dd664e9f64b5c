"""What a place for vectors must do, and what it gives back.

`VectorStore` is the package's one Protocol: the folder of `embedded.py` meets it, servers of
later parts do too. Nothing here reads files or knows how vectors are made.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
"""float32 [N, D] with rows of unit length, or float32 [D] of unit length where said so."""

QueryKind = Literal["text", "image"]
"""What a query was made from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One picture of an index, without its vector."""

    id: str
    """Unique in the index: the path below the indexed folder, with forward slashes."""
    path: str
    """Where the picture lies: absolute, or relative to the process's working directory."""
    caption: str = ""
    """What the picture shows, in words; empty where nobody said."""
    licence: str = ""
    """SPDX id or words; empty where unknown."""
    author: str = ""
    """Who made the picture; empty where unknown."""
    source: str = ""
    """Where the picture came from; empty where unknown."""
    details: dict[str, Any] = field(default_factory=dict)
    """Every further column of the captions file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One answer of a search: an item and its score."""

    id: str
    """As in `Item`."""
    score: float
    """Cosine between the query and the picture, -1..1."""
    path: str
    """As in `Item`."""
    caption: str = ""
    """As in `Item`."""
    licence: str = ""
    """As in `Item`."""
    author: str = ""
    """As in `Item`."""
    source: str = ""
    """As in `Item`."""
    details: dict[str, Any] = field(default_factory=dict)
    """As in `Item`."""

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, `path` and `score` and `caption` among its keys."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Relevance:
    """From which best score on a search counts as found; measured per index by `relevance.py`."""

    text_threshold: float | None
    """Cosine that a text query's best hit must reach; None where it could not be measured."""
    image_threshold: float | None
    """Cosine that a picture query's best hit must reach; None where it could not be measured."""


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


class VectorStore(Protocol):
    """A searchable set of pictures, all embedded by one checkpoint."""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the checkpoint that made the vectors."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def relevance(self) -> Relevance:
        """The measured thresholds of this index."""

    def count(self) -> int:
        """How many pictures it holds."""

    def get(self, item_id: str) -> Item | None:
        """The item with this id, or None."""

    def query(self, vector: Vectors, limit: int) -> list[Hit]:
        """The `limit` items with the largest cosine to a float32 [dim] vector, best first."""


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
