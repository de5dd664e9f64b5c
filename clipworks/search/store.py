"""What searching is about: items, hits, results; and what a place for vectors must do.

`VectorStore` is the package's one Protocol. What is true about a library stands in its folder
(`library.py`); a store only finds candidates in it fast, and can be thrown away and filled again.
Nothing here reads files or knows how vectors are made.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
"""float32 [N, D] with rows of unit length, or float32 [D] of unit length where said so."""

Halves = npt.NDArray[np.float16]
"""float16 [N, D], rows of unit length up to rounding: how vectors are kept."""

Slots = npt.NDArray[np.int64]
"""Rows of the file of vectors; a slot belongs to one picture, and to no other before that one is gone."""

Mask = npt.NDArray[np.bool_]
"""bool [number of slots]."""

QueryKind = Literal["text", "image"]
"""What a query was made from."""

NOWHERE = -1
"""Stands in answers for a hit that is not there."""


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
    taken: str = ""
    """When it was taken, `2024-05-17T14:03:59` by the camera's clock; empty where unknown."""
    camera: str = ""
    """Maker and model; empty where unknown."""
    place: str = ""
    """Name of the place, as written into the picture or beside it; empty where unknown."""
    latitude: float | None = None
    """Degrees north."""
    longitude: float | None = None
    """Degrees east."""
    width: int = 0
    """Pixels, as stored; 0 where unknown."""
    height: int = 0
    """Pixels, as stored; 0 where unknown."""
    tags: tuple[str, ...] = ()
    """Keywords written into the picture or beside it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit(Item):
    """One answer of a search: an item and its score."""

    score: float
    """Cosine between the query and the picture, -1..1; and what its words add where they count too."""
    explained: dict[str, float] = field(default_factory=dict)
    """What the score is made of: the cosine with each part of the query, and `words`."""
    alike: tuple[str, ...] = ()
    """Ids of nearly the same pictures that were found too and are not hits of their own."""
    margin: float | None = None
    """Of a question with several terms: how far it is above what one of the wanted ones asks for by itself,
    or below; None of other questions, and where that could not be measured."""

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary, `path` and `score` and `caption` among its keys."""
        return asdict(self)


def hit_of(
    item: Item,
    score: float,
    explained: dict[str, float] | None = None,
    alike: tuple[str, ...] = (),
    margin: float | None = None,
) -> Hit:
    """An item with its score."""
    values = {name: getattr(item, name) for name in Item.__dataclass_fields__}
    return Hit(score=score, explained=explained or {}, alike=alike, margin=margin, **values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Relevance:
    """From which best score on a search counts as found; measured per index by `relevance.py`."""

    text_threshold: float | None = None
    """Cosine from which on the best hit of a text query counts; None where it could not be measured."""
    text_margin: float | None = None
    """By how much above the query's mean cosine it counts as well; None where it was not measured."""
    image_threshold: float | None = None
    """Cosine that a picture query's best hit must reach; None where it could not be measured."""
    alike_threshold: float | None = None
    """Cosine from which on two pictures are nearly the same; None where it was not measured."""
    mean: tuple[float, ...] = ()
    """Mean of the vectors, D numbers; empty where `text_margin` is None."""

    def level(self, kind: QueryKind, vector: Vectors) -> float | None:
        """The cosine that the best hit of one query must reach, where it was measured.

        Args:
            kind: what the query was made from.
            vector: float32 [D], unit length.
        """
        if kind == "image":
            return self.image_threshold
        if self.text_threshold is None or self.text_margin is None:
            return self.text_threshold
        above_mean = self.text_margin + float(vector @ np.array(self.mean, dtype=np.float32))
        return min(self.text_threshold, above_mean)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileStamp:
    """What tells whether a picture file changed since it was embedded."""

    size_bytes: int
    """Length of the file."""
    mtime_ns: int
    """Time of its last change, nanoseconds since 1970."""
    sha256: str
    """Hex digest of its bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexHeader:
    """What an index says of itself in its manifest."""

    model: str
    """What `clipworks.load` takes to load the checkpoint again."""
    fingerprint: str
    """Fingerprint of the checkpoint; queries by any other are refused."""
    precision: str
    """Precision of the executor that made the vectors."""
    preprocess: str
    """How pictures became pixels; empty in an index of version 1, which does not say."""
    dim: int
    """Length of a vector."""
    root: str
    """The indexed folder, relative to the index folder, or absolute where that cannot be said."""
    relevance: Relevance
    """Thresholds measured when the index was built."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "IndexHeader":
        """Of what `asdict` made of one.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        thresholds = values["relevance"]
        if not isinstance(thresholds, dict) or type(values["dim"]) is not int:
            raise TypeError("relevance has to be an object, dim a whole number")
        for name in ("model", "fingerprint", "precision", "preprocess", "root"):
            if not isinstance(values[name], str):
                raise TypeError(f"{name} has to be a text, not {values[name]!r}")
        mean = thresholds.get("mean", [])
        for name, value in thresholds.items():
            if name != "mean" and value is not None and not _is_finite(value):
                raise ValueError(f"relevance.{name} has to be a finite number or null, not {value!r}")
        length = 0 if thresholds.get("text_margin") is None else values["dim"]
        if not isinstance(mean, list | tuple) or len(mean) != length or not all(map(_is_finite, mean)):
            raise ValueError(f"relevance.mean has to be a list of {length} finite numbers")
        return cls(**{**values, "relevance": Relevance(**{**thresholds, "mean": tuple(mean)})})


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The answer to one query."""

    hits: tuple[Hit, ...]
    """Nearest first, unless they were asked for by date; there whether relevant or not."""
    threshold: float | None
    """Cosine from which on a hit counts as found, of several wanted terms the lowest; None where none could
    be measured."""

    @property
    def is_relevant(self) -> bool:
        """Whether a hit counts as found."""
        return any(self.counts(hit) for hit in self.hits)

    @property
    def good(self) -> tuple[Hit, ...]:
        """The hits that count as found."""
        return tuple(hit for hit in self.hits if self.counts(hit))

    def counts(self, hit: Hit) -> bool:
        """Whether this hit reaches the threshold, or that of a wanted term (or there is none)."""
        if self.threshold is None:
            return True
        return hit.score >= self.threshold if hit.margin is None else hit.margin >= 0

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary: is_relevant, threshold, hits."""
        hits = [{**hit.to_json(), "is_relevant": self.counts(hit)} for hit in self.hits]
        return {"is_relevant": self.is_relevant, "threshold": self.threshold, "hits": hits}


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """One condition on the facts of a picture, in the form that every store can answer."""

    column: str
    """One of `FACTS`, or `slot`."""
    low: float | None = None
    """The fact is at least this."""
    high: float | None = None
    """The fact is below this."""
    values: tuple[str, ...] | None = None
    """The fact is one of these; of a folder: it is one of these or lies in one."""
    slots: Slots | None = None
    """Of `slot`: one of these, in rising order."""
    is_negated: bool = False
    """Whether it must not hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """The pictures among which is searched."""

    mask: Mask
    """Whether a slot is among them; shorter than the file of vectors where later slots are not."""
    conditions: tuple[Condition, ...] = ()
    """The same for stores that keep facts; all must hold. None where all pictures are."""


FACTS = ("taken", "width", "height", "size_bytes", "folder", "camera", "place", "tags")
"""Facts that a store is told with each vector: numbers but for the last four."""

Facts = Sequence[tuple[Any, ...]]
"""One row per vector, in the order of `FACTS`; `taken` in seconds since 1970 or None, tags a tuple."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What became of a library between two of its revisions."""

    revision: int
    """The later one."""
    slots: Slots
    """New, or with other facts; in rising order."""
    vectors: Halves
    """A row for each of them."""
    facts: Facts
    """A row for each of them."""
    gone: Slots
    """Pictures that are no more."""


class VectorStore(Protocol):
    """Finds the nearest of many vectors; follows a library and can be made anew from it."""

    def revision(self) -> int:
        """The revision of the library that it has followed up to; 0 where it is empty."""

    def apply(self, change: Change) -> None:
        """Take over a change, all of it or nothing; one that it has already makes no difference."""

    def nearest(self, queries: Vectors, limit: int, within: Selection | None = None) -> tuple[Slots, Vectors]:
        """The slots with the largest cosines to each query, best first, and these cosines.

        Args:
            queries: float32 [Q, D], rows of unit length.
            limit: how many, at least 1.
            within: among which pictures; None is all of them.

        Returns:
            int64 and float32 [Q, limit]; `NOWHERE` and -2 where there are no more.
        """

    def count(self) -> int:
        """How many vectors it holds."""

    def close(self) -> None:
        """Let go of files and connections."""
